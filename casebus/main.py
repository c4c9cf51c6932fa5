"""`casebus`: everything that a person or an orchestrator runs, one command each."""

import asyncio
import importlib
import io
import logging
import os
import sys
from typing import Annotated

import typer
from aiokafka.errors import KafkaError
from asyncpg import PostgresError

from casebus.commands import (
    agency,
    audit,
    cases,
    dead,
    lag,
    local,
    notices,
    recover,
    rules,
    torture,
    traffic,
)
from deploy.compose_env import compose_env

app = typer.Typer(
    help="Event-driven case routing for a city.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
SERVICES = ("intake", "router", "backoffice", "notifier", "console")
COUNTERPARTS = ("mailbox", "sms")


@app.command()
def run(
    service: Annotated[str, typer.Argument(help=f"One of {', '.join(SERVICES + COUNTERPARTS)}.")],
    only: Annotated[
        list[str] | None, typer.Option(help="A part of it (web, worker, relay, ...); repeatable.")
    ] = None,
) -> None:
    """Run one service in the foreground, with its settings from the environment."""
    if service in COUNTERPARTS:
        counterpart = importlib.import_module(f"deploy.counterparts.{service}")
        asyncio.run(counterpart.run())
        return
    if service not in SERVICES:
        _fail(f"there is no service {service!r}; one of {', '.join(SERVICES + COUNTERPARTS)}")
    import uvloop

    from shared.runtime.logs import configure

    main_module = importlib.import_module(f"services.{service}.main")
    parts = tuple(only) if only else main_module.PARTS
    unknown = set(parts) - set(main_module.PARTS)
    if unknown:
        _fail(f"{service} has no part {', '.join(unknown)}; it has {', '.join(main_module.PARTS)}")
    configure(service, os.environ.get("CASEBUS_LOG_LEVEL", "info"))
    uvloop.run(main_module.run(parts))


def _fail(message: str) -> None:
    print(f"casebus: {message}", file=sys.stderr)
    raise SystemExit(2)


app.add_typer(local.topics_app, name="topics")
app.add_typer(agency.app, name="agency")
app.add_typer(rules.app, name="rules")
app.add_typer(dead.app, name="dead")
app.add_typer(notices.app, name="notices")
for command in (
    local.up,
    local.down,
    local.doctor,
    local.migrate,
    traffic.traffic,
    cases.trace,
    lag.lag,
    audit.audit,
    recover.recover,
    torture.torture,
):
    app.command()(command)
app.command("clerk-token")(agency.clerk_token)
app.command("counter-token")(agency.counter_token)
app.command("compose-env")(compose_env)


def main() -> None:
    # Commands say themselves what does not answer; `run` sends logs where they belong.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    # A terminal that is not UTF-8 shows what it cannot write as \\u4e2d, and no traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except (KafkaError, OSError, PostgresError) as error:
        print(f"casebus: a part of the city does not answer: {error}", file=sys.stderr)
        raise SystemExit(1) from None
