"""`casebus agency tail`: an example of an agency's own consumer; and tokens for clerks."""

import asyncio
import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from casebus.running import as_agency, clerk_secret, counter_secret
from catalogue import load_catalogue
from services.backoffice.clerks import Clerk, token
from services.intake.clerks import Tokens
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.events import CaseAssigned
from shared.contract.wire import decode
from shared.runtime import kafka

app = typer.Typer(help="What an agency sees.", no_args_is_help=True)


def _known(code: str) -> str:
    agencies = load_catalogue().agencies
    if code not in agencies:
        print(f"casebus: there is no agency {code!r}, see catalogue/data", file=sys.stderr)
        raise SystemExit(2)
    return code


@app.command()
def tail(
    code: Annotated[str, typer.Argument(help="An agency's code, such as DOSW or LO-DA.")],
    follow: Annotated[bool, typer.Option(help="Wait for more, or end at the end.")] = True,
) -> None:
    """Read the agency's topic from the beginning, as the agency's own Kafka user."""
    try:
        asyncio.run(_tail(_known(code), follow))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


async def _tail(code: str, follow: bool) -> None:
    # What an agency's own system does: its own user, its own group, committed records only.
    consumer = kafka.consumer(as_agency(code), topics.agency_cases(code), group=None)
    console = Console()
    await consumer.start()
    try:
        while True:
            batches = await consumer.getmany(timeout_ms=1000)
            for message in (message for batch in batches.values() for message in batch):
                try:
                    event = decode(kafka.record_of(message))
                except PermanentError as error:
                    console.print(f"[red]{message.partition}:{message.offset} {error.code}[/red]")
                    continue
                if isinstance(event, CaseAssigned):
                    why = event.decision.rule or event.decision.outcome
                    console.print(
                        f"{message.partition}:{message.offset}  {event.time:%m-%d %H:%M:%S}  "
                        f"[bold]{event.number}[/bold]  {event.service}  {why}",
                        highlight=False,
                    )
            if not batches and not follow:
                return
    finally:
        await consumer.stop()


def counter_token(
    name: Annotated[str, typer.Option(help="Who it is for.")] = os.environ.get("USER", "clerk"),
) -> None:
    """Print a token for filing at the counter and on the phone, valid for a working day."""
    print(Tokens(counter_secret()).make(name))


def clerk_token(
    agency: Annotated[str, typer.Argument(help="The clerk's agency, such as DOSW.")],
    name: Annotated[str, typer.Option(help="Who it is for.")] = os.environ.get("USER", "clerk"),
) -> None:
    """Print a bearer token for the back office, valid for a working day."""
    print(token(clerk_secret(), Clerk(name, _known(agency))))
