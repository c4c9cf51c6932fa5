"""`casebus rules`: release the tables of a folder to the routers."""

import asyncio
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import typer

from casebus.running import console_postgres
from services.console.releases import release as put_release
from services.router.domain import rule_set
from services.router.tables import read_tables
from shared.contract.errors import PermanentError
from shared.contract.events import RulesReleased
from shared.runtime.postgres import connect

_CITY = ZoneInfo("Asia/Taipei")
app = typer.Typer(help="Routing rules.", no_args_is_help=True)


@app.command()
def release(
    folder: Annotated[Path, typer.Argument(help="The folder of the tables.")] = Path(
        "catalogue/rules"
    ),
    effective_from: Annotated[str, typer.Option(help="YYYY-MM-DD; today when left out.")] = "",
    approver: Annotated[list[str] | None, typer.Option(help="Who approved it.")] = None,
) -> None:
    """Check the tables of FOLDER and give them to the routers, which take them at once."""
    try:
        ruleset, tables = read_tables(folder)
        day = date.fromisoformat(effective_from) if effective_from else datetime.now(_CITY).date()
        _check(ruleset, tables, day)
        version, new = asyncio.run(_release(ruleset, tables, day, tuple(approver or ())))
    except (OSError, KeyError, ValueError, PermanentError) as error:
        print(f"casebus: rules in {folder}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    state = "released" if new else "was released before; nothing changed"
    print(f"{ruleset} {version}: {len(tables['lead'])} rows, {state}")


def _check(ruleset: str, tables: dict[str, Any], day: date) -> None:
    """Raises PermanentError when the router could not read these tables."""
    rule_set(
        RulesReleased(
            id=UUID(int=0),
            source="check",
            time=datetime.now(UTC),
            ruleset=ruleset,
            version="check",
            effective_from=day,
            approvers=(),
            tables=tables,
        )
    )


async def _release(
    ruleset: str, tables: dict[str, Any], day: date, approvers: tuple[str, ...]
) -> tuple[str, bool]:
    connection = await connect(console_postgres())
    try:
        return await put_release(connection, ruleset, tables, day, approvers)
    finally:
        await connection.close()
