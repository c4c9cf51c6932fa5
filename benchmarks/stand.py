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
from deploy.local.cluster import Cluster, kafka_answers
from deploy.local.cluster import brokers as brokers_of
from deploy.local.jars import classpath
from deploy.local.kafka import Broker, new_cluster_id
from deploy.local.ports import choose
from deploy.local.postgres import Server
from deploy.local.state import Secrets
from deploy.local.supervisor import Program, Supervisor
from deploy.local.up import is_healthy
from deploy.own_rules import city_names
from shared.contract import topics
from shared.contract.wire import encode
from shared.runtime import kafka, migrations
from shared.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
CITY = (*plan.PROCESSES, "mailbox", "sms")
# Runs only where a router is killed.
SECOND_ROUTER = "router-2"
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
    brokers: Mapping[str, Broker]
    supervisor: Supervisor
    ended: list[str] = field(default_factory=list)
    pids: dict[str, int] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)

    @property
    def address(self) -> str:
        return plan.kafka(self.ports)

    def kafka(self, user: str = "admin") -> Settings:
        return Settings(
            kafka=self.address,
            kafka_security="SASL_PLAINTEXT",
            kafka_username=user,
            kafka_password=SecretStr(self.secrets.kafka[user]),
        )

    async def start(
        self, *names: str, only: str | None = None, changes: Mapping[str, str] | None = None
    ) -> None:
        """Start services, or one part of them, and wait until they are healthy. `changes` are
        settings other than the city's."""
        programs = self._services()
        for name in names:
            program = programs[name]
            command = [*program.command, *(["--only", only] if only else [])]
            environment = {**program.environment, **(changes or {})}
            self.supervisor.start(Program(name, command, environment))
        await self.ready(*names)

    async def ready(self, *names: str) -> None:
        """Until these services are healthy. Raises StandError."""
        health = {name: f"http://127.0.0.1:{self.ports[name]}/health" for name in names}
        deadline = time.monotonic() + _READY_S
        async with httpx.AsyncClient(timeout=2) as client:
            for name in names:
                while not await is_healthy(client, health[name]):
                    if time.monotonic() > deadline:
                        log = self.supervisor.log_of(name).read_text()[-2000:]
                        raise StandError(f"{name} does not become ready: {log}")
                    await asyncio.sleep(0.1)

    async def stop(self, *names: str) -> None:
        await self.supervisor.stop(names, 6)

    async def kill(self, name: str) -> None:
        """kill -9 a program that runs, and leave it so; `again` starts it."""
        self.killed.add(name)
        os.kill(self.pids[name], signal.SIGKILL)
        # Ends its keeper too, who would wait longer each time before he starts it again.
        await self.supervisor.stop([name], 6)

    def again(self, name: str) -> None:
        """Start what was killed."""
        self.killed.discard(name)
        self.supervisor.start({**self._services(), **self._stores()}[name])

    def _services(self) -> dict[str, Program]:
        programs = plan.programs(self.ports, self.secrets, self.database, self.folder)
        found = {program.name: program for program in programs}
        second = found["router"]
        environment = {**second.environment, "CASEBUS_PORT": str(self.ports[SECOND_ROUTER])}
        found[SECOND_ROUTER] = Program(SECOND_ROUTER, second.command, environment)
        return found

    def _stores(self) -> dict[str, Program]:
        environment = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"}
        database = self.database
        found = {name: Program(name, b.command(), environment) for name, b in self.brokers.items()}
        found["postgres"] = Program(
            "postgres", database.command(), environment, signal.SIGINT, database.identity
        )
        return found

    async def start_stores(self) -> None:
        """Kafka and PostgreSQL, empty as they are, until both answer."""
        prepares = [self.database.prepare, *(broker.prepare for broker in self.brokers.values())]
        await asyncio.gather(*(asyncio.to_thread(prepare) for prepare in prepares))
        for program in self._stores().values():
            self.supervisor.start(program)
        await self.database.wait(30)
        await kafka_answers(self.kafka(), 60, len(self.brokers))

    async def stop_stores(self) -> None:
        await self.supervisor.stop((*self.brokers, "postgres"), 20)

    def check(self) -> None:
        """Raises StandError when a program ended by itself since the start."""
        if self.ended:
            raise StandError("\n".join(self.ended))


@contextlib.asynccontextmanager
async def stand(console: Console, brokers: int = 1) -> AsyncIterator[Stand]:
    """Kafka and PostgreSQL with the city's topics, users, tables and rules; removed afterwards."""
    # It tells of every try while the broker starts.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="casebus-bench-"))
    try:
        jars = tuple(await asyncio.to_thread(classpath))
        secrets = Secrets.of(folder)
        # Not the usual ones: another city may be about to take them.
        names = (*plan.usual_ports(brokers), SECOND_ROUTER)
        ports = choose(dict.fromkeys(names, 0), lambda line: None)
        database = Server(folder / "postgres", ports["postgres"], secrets.postgres["postgres"])
        kafkas = brokers_of(
            Cluster(new_cluster_id(), brokers), folder, ports, jars, secrets.kafka["admin"]
        )
        ended: list[str] = []

        def told(line: str) -> None:
            if line.split()[0] in found.killed:
                return
            ended.append(line)
            console.print(line, style="red", markup=False)

        def changed(pids: dict[str, int]) -> None:
            found.pids = pids

        supervisor = Supervisor(folder / "logs", told, changed)
        found = Stand(folder, ports, secrets, database, kafkas, supervisor, ended)
        try:
            with console.status("Kafka and PostgreSQL ..."):
                await found.start_stores()
                await _furnish(found)
            yield found
        finally:
            await supervisor.stop((*CITY, SECOND_ROUTER), 6)
            await found.stop_stores()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _furnish(stand: Stand) -> None:
    """The city's tables, users, topics and rules."""
    database, secrets = stand.database, stand.secrets
    await migrations.apply(database.admin_uri, secrets.postgres)
    passwords = {user: word for user, word in secrets.kafka.items() if user != "admin"}
    await asyncio.to_thread(
        topics_of_city.apply,
        stand.kafka(),
        load_catalogue(),
        passwords,
        topics_of_city.Shape(replication=len(stand.brokers)),
    )
    await _release_rules(stand.kafka())


async def _release_rules(settings: Settings) -> None:
    """As the console's relay would, so that a router needs no console beside it."""
    out = encode(topics.RULES, city_release(city_names(load_catalogue())))
    producer = kafka.producer(settings)
    await producer.start()
    try:
        await producer.send_and_wait(out.topic, out.value, key=out.key, headers=list(out.headers))
    finally:
        await producer.stop()
