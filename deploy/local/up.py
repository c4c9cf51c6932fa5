"""The whole city on one machine: Kafka, PostgreSQL, all services, and sample traffic."""

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from catalogue import load_catalogue
from deploy import topics
from deploy.access import passwords_needed
from deploy.local import plan
from deploy.local.cluster import Cluster, brokers, kafka_answers, preparing
from deploy.local.jars import classpath
from deploy.local.kafka import Broker
from deploy.local.ports import choose
from deploy.local.postgres import Server
from deploy.local.state import Running, Secrets, hold, write_running
from deploy.local.supervisor import Program, Supervisor
from deploy.own_rules import OwnRulesError, release_own_rules
from shared.runtime import migrations
from shared.runtime.settings import Settings

_CITY = ZoneInfo("Asia/Taipei")
_READY_S = 90


class StartError(Exception):
    """Something did not come up; the message says what, and where its log is."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person may choose. `rate` is sample applications a second; 0 is none. `brokers` is
    1 or 3; None: as many as the data folder has, one in a new one."""

    folder: Path
    fresh: bool = False
    rate: float = 1.0
    brokers: int | None = None


async def up(wishes: Wishes, console: Console) -> None:
    """Start everything, say where it is, and stay until SIGINT or SIGTERM."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    with hold(wishes.folder):
        if wishes.fresh:
            _clear(wishes.folder)
        cluster = _cluster(wishes)
        secrets = Secrets.of(wishes.folder)
        began = time.monotonic()
        jars = tuple(await asyncio.to_thread(_jars, console))
        ports = choose(
            plan.usual_ports(cluster.brokers),
            lambda line: console.print(f"[yellow]{line}[/yellow]"),
        )
        running = Running(
            os.getpid(),
            plan.kafka(ports),
            ports["postgres"],
            plan.urls(ports),
            plan.health(ports),
        )

        def changed(pids: dict[str, int]) -> None:
            running.pids = pids
            write_running(wishes.folder, running)

        database = Server(
            wishes.folder / "postgres", ports["postgres"], secrets.postgres["postgres"]
        )
        admin_password = secrets.kafka["admin"]
        kafkas = brokers(cluster, wishes.folder, ports, jars, admin_password)
        logs = wishes.folder / "logs"
        told = _teller(console)
        supervisor = Supervisor(logs, told, changed)
        starting = asyncio.create_task(
            _start(supervisor, database, kafkas, ports, secrets, wishes, console, told)
        )
        waiter = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait([starting, waiter], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                _say_where(console, running, time.monotonic() - began, wishes)
                await waiter
        finally:
            starting.cancel()
            waiter.cancel()
            await asyncio.gather(starting, waiter, return_exceptions=True)
            console.print("stopping ...")
            await _stop(supervisor, running, list(kafkas))
            console.print("stopped; the data stays in", str(wishes.folder))


def _cluster(wishes: Wishes) -> Cluster:
    """The data folder's. Raises StartError when another number of brokers is wished."""
    found = Cluster.of(wishes.folder, wishes.brokers or 1)
    if wishes.brokers not in (None, found.brokers):
        raise StartError(
            f"{wishes.folder} was made with --brokers {found.brokers} and stays so; another "
            "number needs another folder (CASEBUS_DATA), or `--fresh`, which deletes its data"
        )
    return found


async def _start(
    supervisor: Supervisor,
    database: Server,
    kafkas: dict[str, Broker],
    ports: dict[str, int],
    secrets: Secrets,
    wishes: Wishes,
    console: Console,
    told: Callable[[str], None],
) -> None:
    catalogue = load_catalogue()
    admin = Settings(
        kafka=plan.kafka(ports),
        kafka_security="SASL_PLAINTEXT",
        kafka_username="admin",
        kafka_password=SecretStr(secrets.kafka["admin"]),
    )

    def furnish() -> None:
        passwords = {u: p for u, p in secrets.kafka.items() if u != "admin"}
        passwords |= passwords_needed(list(catalogue.agencies), secrets.agencies)
        topics.apply(admin, catalogue, passwords, topics.Shape(replication=len(kafkas)))

    with _step(console, "Kafka and PostgreSQL"):
        prepares = [database.prepare, *(broker.prepare for broker in kafkas.values())]
        await asyncio.gather(*(asyncio.to_thread(prepare) for prepare in prepares))
        environment = {"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"}
        supervisor.start(
            Program("postgres", database.command(), environment, signal.SIGINT, database.identity)
        )
        for name, broker in kafkas.items():
            prepare = preparing(broker, admin, furnish, told)
            supervisor.start(Program(name, broker.command(), environment, prepare=prepare))
        await _within(database.wait(30), "PostgreSQL", supervisor.log_of("postgres"))
        log = supervisor.log_of(next(iter(kafkas)))
        await _within(kafka_answers(admin, 60, len(kafkas)), "Kafka", log)
    with _step(console, "tables, topics, users, rules"):
        await migrations.apply(database.admin_uri, secrets.postgres)
        await asyncio.to_thread(furnish)
        try:
            await release_own_rules(database.uri("console", secrets.postgres["console"]), catalogue)
        except (OwnRulesError, TimeoutError) as error:
            raise StartError(f"the city's rules: {error}") from None
    with _step(console, "services"):
        for program in plan.programs(ports, secrets, database, wishes.folder):
            supervisor.start(program)
        await _healthy(supervisor, ports)
    if wishes.rate:
        supervisor.start(plan.traffic(wishes.rate, wishes.folder))


async def _stop(supervisor: Supervisor, running: Running, kafkas: Sequence[str]) -> None:
    """First who makes work, then who does it, then what they stand on: within 10 s in all.

    The stores get all that is left: the last of three brokers waits 5 s for a successor.
    """
    ends = time.monotonic() + 9.5
    stores = (*kafkas, "postgres")
    await supervisor.stop(["traffic"], 0.5)
    await supervisor.stop([name for name in running.pids if name not in stores], 4)
    await supervisor.stop(stores, ends - time.monotonic())


async def _within(work: Any, what: str, log: Path) -> None:
    try:
        await work
    except TimeoutError:
        raise StartError(f"{what} does not answer; its log is {log}") from None


async def _healthy(supervisor: Supervisor, ports: dict[str, int]) -> None:
    async with httpx.AsyncClient(timeout=2) as client:
        for name, url in plan.health(ports).items():
            deadline = time.monotonic() + _READY_S
            while not await is_healthy(client, url):
                if time.monotonic() > deadline:
                    log = supervisor.log_of(name)
                    raise StartError(f"{name} does not become ready; its log is {log}")
                await asyncio.sleep(0.2)


async def is_healthy(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False


def _jars(console: Console) -> list[Path]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Kafka's jars (fetched once)")
        return classpath(lambda done, total: progress.update(task, completed=done, total=total))


def _teller(console: Console) -> Callable[[str], None]:
    def told(line: str) -> None:
        console.print(f"{datetime.now(_CITY):%H:%M:%S} {line}", style="yellow", markup=False)

    return told


@contextlib.contextmanager
def _step(console: Console, what: str) -> Iterator[None]:
    began = time.monotonic()
    with console.status(f"{what} ..."):
        yield
    console.print(f"  {what}: ready in {time.monotonic() - began:.1f} s")


def _clear(folder: Path) -> None:
    """Everything but the lock, which is held."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def _say_where(console: Console, running: Running, took_s: float, wishes: Wishes) -> None:
    console.print(f"[bold green]casebus runs[/bold green], after {took_s:.0f} s:")
    for name, url in running.urls.items():
        console.print(f"  {name:<11}{url}", highlight=False)
    console.print(f"  {'kafka':<11}{running.kafka}", highlight=False)
    console.print(f"  {'postgres':<11}127.0.0.1:{running.postgres_port}", highlight=False)
    if wishes.rate:
        console.print(f"Sample applications come in, {wishes.rate:g} a second.")
    console.print("In another terminal: casebus traffic, trace, lag, audit. Ctrl-C stops all.")
