"""`casebus rules`: release the tables of a folder to the routers."""

import asyncio
import csv
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
import typer
import yaml

from casebus.running import console_postgres, end
from catalogue import load_catalogue
from services.console.releases import release as put_release
from services.router.domain import rule_set
from services.router.tables import read_tables
from shared.contract.errors import PermanentError
from shared.contract.events import RulesReleased
from shared.runtime.postgres import connect

_CITY = ZoneInfo("Asia/Taipei")
_BROKEN = (OSError, KeyError, TypeError, ValueError, PermanentError, yaml.YAMLError, csv.Error)
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
    except _BROKEN as error:
        said = repr(error) if isinstance(error, KeyError | TypeError) else str(error)
        end(f"rules in {folder}: {said}")
    try:
        version, new = asyncio.run(_release(ruleset, tables, day, tuple(approver or ())))
    except (OSError, asyncpg.PostgresError) as error:
        end(f"the database does not take the rules: {error}")
    state = "released" if new else "was released before; nothing changed"
    print(f"{ruleset} {version}: {len(tables['lead'])} rows, {state}")


def _check(ruleset: str, tables: dict[str, Any], day: date) -> None:
    """Raises PermanentError when the router could not read these tables, or would send a case
    to an agency that there is not: its topic does not exist, and everything would wait."""
    for number, row in enumerate(tables["lead"], start=2):
        if None in row:
            raise PermanentError("rules.broken", f"lead, row {number}: more cells than columns")
    rules = rule_set(
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
    agencies = load_catalogue().agencies
    for rule in (rule for found in rules.by_service.values() for rule in found):
        for agency in (rule.lead, *rule.chain):
            if agency not in agencies:
                raise PermanentError("rules.broken", f"rule {rule.id}: no agency {agency!r}")


async def _release(
    ruleset: str, tables: dict[str, Any], day: date, approvers: tuple[str, ...]
) -> tuple[str, bool]:
    connection = await connect(console_postgres())
    try:
        return await put_release(connection, ruleset, tables, day, approvers)
    finally:
        await connection.close()
