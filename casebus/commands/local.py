"""`casebus up`, `down`, `doctor`, and what prepares a database and a broker."""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import httpx
import typer
from aiokafka.errors import KafkaError
from kafka.errors import KafkaError as AdminKafkaError
from rich.console import Console
from rich.table import Table

from casebus.running import System, end, required, running
from catalogue import load_catalogue
from catalogue.generated import SIZES, generated, write
from catalogue.loader import CITY
from deploy import topics as topics_of_city
from deploy.access import SERVICE_USERS, passwords_needed
from deploy.local import plan
from deploy.local.jars import JarError
from deploy.local.kafka import FormatError
from deploy.local.postgres import InitError
from deploy.local.state import AlreadyRunningError, Running, data_folder, read_running
from deploy.local.up import StartError, Wishes, is_healthy
from deploy.local.up import up as start_all
from shared.runtime import kafka, migrations
from shared.runtime.settings import Settings, load

topics_app = typer.Typer(help="Kafka's topics, users and grants.", no_args_is_help=True)
_DOWN_S = 20


def up(
    fresh: Annotated[bool, typer.Option(help="Delete the data of earlier runs first.")] = False,
    rate: Annotated[
        float, typer.Option(help="Sample applications a second; 0 is none.", min=0, max=50)
    ] = 1.0,
    brokers: Annotated[
        int | None,
        typer.Option(help="Kafka brokers, 1 or 3; kept with the data.  [default: 1]"),
    ] = None,
    city: Annotated[
        str | None,
        typer.Option(help="A made-up city beside the own one: paper (774 services) or large."),
    ] = None,
) -> None:
    """Run the whole city on this machine, in the foreground; Ctrl-C ends it."""
    folder = data_folder()
    if brokers not in (None, 1, 3):
        end("--brokers is 1 or 3: of three any one may fail")
    if city is not None:
        _move_to(city, folder / "cities" / city)
    try:
        asyncio.run(start_all(Wishes(folder, fresh, rate, brokers), Console()))
    except AlreadyRunningError:
        end(f"the city runs already from {folder}; `casebus down` ends it")
    except (StartError, JarError, FormatError, InitError, migrations.MigrationError) as error:
        end(str(error))
    except (topics_of_city.ApplyError, AdminKafkaError, asyncpg.PostgresError) as error:
        end(f"{error}; the logs are in {folder / 'logs'}")


def _move_to(name: str, folder: Path) -> None:
    """Make a city in `folder`, and begin anew as one of its programs."""
    if name not in SIZES:
        end(f"--city is {' or '.join(SIZES)}")
    if os.environ.get("CASEBUS_CITY") == str(folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    write(generated(SIZES[name], seed=1), folder, CITY)
    print(f"a made-up city; other commands see it with CASEBUS_CITY={folder}")
    environment = os.environ | {"CASEBUS_CITY": str(folder)}
    os.execve(sys.executable, [sys.executable, "-m", "casebus", *sys.argv[1:]], environment)


def down() -> None:
    """End what `casebus up` started, from another terminal. The data stays."""
    folder = data_folder()
    found = read_running(folder)
    if found is None:
        print(f"nothing runs from {folder}")
        return
    os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_S
    while read_running(folder) is not None:
        if time.monotonic() > deadline:
            end(f"process {found.pid} did not end within {_DOWN_S} s")
        time.sleep(0.1)
    print("stopped")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Is everything ready, and where is it? Exit 0 only when ready."""
    found = read_running(data_folder())
    if found is None:
        report: dict[str, Any] = {"ready": False, "kafka": None, "postgres": None}
        report |= dict.fromkeys(plan.PAGES)
        parts: dict[str, bool] = {}
    else:
        system = running()
        parts = asyncio.run(_examine(found, system))
        report = {
            "ready": all(parts.values()),
            "kafka": found.kafka,
            "postgres": system.postgres,
            **found.urls,
        }
    if as_json:
        print(json.dumps(report | {"parts": parts}))
    elif found is None:
        print(f"nothing runs from {data_folder()}; start it with `make up`")
    else:
        _show(found, parts)
    raise SystemExit(0 if report["ready"] else 1)


async def _examine(found: Running, system: System) -> dict[str, bool]:
    """What answers as it should, by name."""
    parts = {"kafka": await _kafka_answers(system), "postgres": await _postgres_answers(system)}
    async with httpx.AsyncClient(timeout=3) as client:
        for name, url in found.health.items():
            parts[name] = await is_healthy(client, url)
    return parts


async def _kafka_answers(system: System) -> bool:
    admin = kafka.admin(system.settings)
    try:
        async with asyncio.timeout(5):
            await admin.start()
        return True
    except (KafkaError, TimeoutError):
        return False
    finally:
        await admin.close()


async def _postgres_answers(system: System) -> bool:
    try:
        connection = await asyncpg.connect(system.postgres, timeout=3)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True


def _show(found: Running, parts: dict[str, bool]) -> None:
    where = {**found.urls, "kafka": found.kafka, "postgres": f"127.0.0.1:{found.postgres_port}"}
    table = Table("part", "ready", "where", "process")
    for name, good in parts.items():
        colour, word = ("green", "yes") if good else ("red", "no")
        pid = str(found.pids.get(name, ""))
        table.add_row(name, f"[{colour}]{word}[/{colour}]", where.get(name, ""), pid)
    Console().print(table)


def migrate() -> None:
    """Bring the database up to date (CASEBUS_POSTGRES_ADMIN, a password for each role).

    On one machine `casebus up` has done it already.
    """
    uri = required("CASEBUS_POSTGRES_ADMIN")
    passwords = {
        role: required(f"CASEBUS_POSTGRES_PASSWORD_{role.upper()}") for role in migrations.ROLES
    }
    try:
        applied = asyncio.run(migrations.apply(uri, passwords))
    except (migrations.MigrationError, OSError, asyncpg.PostgresError) as error:
        end(f"migrate: {error}")
    print("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


@topics_app.command("apply")
def topics_apply(
    partitions: Annotated[int, typer.Option(help="Of the wide topics.", min=1, max=1000)] = 4,
    replication: Annotated[int, typer.Option(help="Copies of each.", min=1, max=9)] = 1,
) -> None:
    """Make the users, grants and topics that are missing (CASEBUS_KAFKA, as the admin).

    Each service's password is CASEBUS_KAFKA_PASSWORD_<SERVICE>; agencies get users when
    CASEBUS_AGENCIES_SECRET is set. On one machine `casebus up` has done it already.
    """
    catalogue = load_catalogue()
    passwords = {user: required(f"CASEBUS_KAFKA_PASSWORD_{user.upper()}") for user in SERVICE_USERS}
    if secret := os.environ.get("CASEBUS_AGENCIES_SECRET"):
        passwords |= passwords_needed(list(catalogue.agencies), secret)
    shape = topics_of_city.Shape(partitions, replication)
    try:
        applied = topics_of_city.apply(load(Settings), catalogue, passwords, shape)
    except (topics_of_city.ApplyError, AdminKafkaError) as error:
        end(f"topics apply: {error}")
    print(f"{len(applied.created)} topics created")
    for name in applied.other_shape:
        print(f"{name} has another number of partitions; left as it is, its keys would move")
