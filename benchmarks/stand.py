"""A Kafka, a PostgreSQL and, when asked for, services: for a benchmark's own use, on free ports.

The same parts start them as in `casebus up`, with the same settings.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydantic import SecretStr
from rich.console import Console

from benchmarks.contenders.rules import city_release
from catalogue import load_catalogue
from deploy import topics as topics_of_city
from deploy.local import plan
from deploy.local.cluster import kafka_answers
from deploy.local.jars import classpath
from deploy.local.kafka import Broker
from deploy.local.ports import choose
from deploy.local.postgres import Server
from deploy.local.state import Secrets
from deploy.local.supervisor import Program, Supervisor
from deploy.local.up import is_healthy
from shared.contract import topics
from shared.contract.wire import encode
from shared.runtime import kafka, migrations
from shared.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
CITY = (*plan.SERVICES, "mailbox", "sms")
_STORES = ("kafka", "postgres")
_READY_S = 60.0


class StandError(Exception):
    """Something did not come up, or ended by itself while it was measured."""


@dataclass(slots=True)
class Stand:
    """`ended` tells of programs that ended although nobody stopped them."""

    folder: Path
    ports: Mapping[str, int]
    secrets: Secrets
    database: Server
    broker: Broker
    supervisor: Supervisor
    ended: list[str] = field(default_factory=list)

    def kafka(self, user: str = "admin") -> Settings:
        return Settings(
            kafka=self.broker.address,
            kafka_security="SASL_PLAINTEXT",
            kafka_username=user,
            kafka_password=SecretStr(self.secrets.kafka[user]),
        )

    async def start(self, *names: str, only: str | None = None) -> None:
        """Start services, or one part of them, and wait until they are healthy."""
        programs = {
            program.name: program
            for program in plan.programs(self.ports, self.secrets, self.database, self.folder)
        }
        for name in names:
            program = programs[name]
            command = [*program.command, *(["--only", only] if only else [])]
            self.supervisor.start(Program(name, command, program.environment))
        deadline = time.monotonic() + _READY_S
        async with httpx.AsyncClient(timeout=2) as client:
            for name in names:
                while not await is_healthy(client, plan.health(self.ports)[name]):
                    if time.monotonic() > deadline:
                        log = self.supervisor.log_of(name).read_text()[-2000:]
                        raise StandError(f"{name} does not become ready: {log}")
                    await asyncio.sleep(0.1)

    async def stop(self, *names: str) -> None:
        await self.supervisor.stop(names, 6)

    def check(self) -> None:
        """Raises StandError when a program ended by itself since the start."""
        if self.ended:
            raise StandError("\n".join(self.ended))


@contextlib.asynccontextmanager
async def stand(console: Console) -> AsyncIterator[Stand]:
    """Kafka and PostgreSQL with the city's topics, users, tables and rules; removed afterwards."""
    # It tells of every try while the broker starts.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="casebus-bench-"))
    try:
        jars = tuple(await asyncio.to_thread(classpath))
        secrets = Secrets.of(folder)
        # Not the usual ones: another city may be about to take them.
        ports = choose(dict.fromkeys(plan.PORTS, 0), lambda line: None)
        database = Server(folder / "postgres", ports["postgres"], secrets.postgres["postgres"])
        broker = Broker(
            folder / "kafka",
            jars,
            ports["kafka"],
            ports["kafka-controller"],
            secrets.kafka["admin"],
        )
        ended: list[str] = []

        def told(line: str) -> None:
            ended.append(line)
            console.print(line, style="red", markup=False)

        supervisor = Supervisor(folder / "logs", told, lambda pids: None)
        found = Stand(folder, ports, secrets, database, broker, supervisor, ended)
        try:
            with console.status("Kafka and PostgreSQL ..."):
                await _stores(found)
            yield found
        finally:
            await supervisor.stop(CITY, 6)
            await supervisor.stop(_STORES, 20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _stores(stand: Stand) -> None:
    await asyncio.gather(
        asyncio.to_thread(stand.broker.prepare), asyncio.to_thread(stand.database.prepare)
    )
    environment = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"}
    database, secrets = stand.database, stand.secrets
    stand.supervisor.start(
        Program("postgres", database.command(), environment, signal.SIGINT, database.identity)
    )
    stand.supervisor.start(Program("kafka", stand.broker.command(), environment))
    await database.wait(30)
    await kafka_answers(stand.kafka(), 60)
    await migrations.apply(database.admin_uri, secrets.postgres)
    passwords = {user: word for user, word in secrets.kafka.items() if user != "admin"}
    await asyncio.to_thread(
        topics_of_city.apply, stand.kafka(), load_catalogue(), passwords, topics_of_city.Shape()
    )
    await _release_rules(stand.kafka())


async def _release_rules(settings: Settings) -> None:
    """As the console's relay would, so that a router needs no console beside it."""
    out = encode(topics.RULES, city_release())
    producer = kafka.producer(settings)
    await producer.start()
    try:
        await producer.send_and_wait(out.topic, out.value, key=out.key, headers=list(out.headers))
    finally:
        await producer.stop()
