"""`casebus`: everything that a person or an orchestrator runs, one command each."""

import asyncio
import importlib
import io
import logging
import os
import sys
from typing import Annotated, Any

import typer
from aiokafka.errors import KafkaError
from asyncpg import PostgresError
from typer.core import TyperGroup

# Where each command is. A module is imported when its command is asked for: a service that
# starts again after a death does not wait for the code of all others.
COMMANDS = {
    "up": "casebus.commands.local:up",
    "down": "casebus.commands.local:down",
    "doctor": "casebus.commands.local:doctor",
    "migrate": "casebus.commands.local:migrate",
    "traffic": "casebus.commands.traffic:traffic",
    "trace": "casebus.commands.cases:trace",
    "lag": "casebus.commands.lag:lag",
    "audit": "casebus.commands.audit:audit",
    "recover": "casebus.commands.recover:recover",
    "torture": "casebus.commands.torture:torture",
    "clerk-token": "casebus.commands.agency:clerk_token",
    "counter-token": "casebus.commands.agency:counter_token",
    "compose-env": "deploy.compose_env:compose_env",
    "topics": "casebus.commands.local:topics_app",
    "agency": "casebus.commands.agency:app",
    "rules": "casebus.commands.rules:app",
    "dead": "casebus.commands.dead:app",
    "notices": "casebus.commands.notices:app",
}


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name].partition(":")
        found = getattr(importlib.import_module(module), name)
        if isinstance(found, typer.Typer):
            command: Any = typer.main.get_group(found)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command()(found)
            command = typer.main.get_command(alone)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
SERVICES = ("intake", "router", "backoffice", "notifier", "console")
COUNTERPARTS = ("mailbox", "sms")


@app.callback()
def _casebus() -> None:
    """Event-driven case routing for a city."""


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
