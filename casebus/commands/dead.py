"""`casebus dead`: what was set aside, and what is to be done about it. Exit codes: 0 done, 1 not
done, or set aside again, 2 it could not be tried."""

import asyncio
import json
import time
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from casebus.running import end, running
from casebus.setaside import Named, SetAside, all_set_aside, named
from services.console.letters import read_record
from shared.contract.wire import Record
from shared.runtime.migrations import SERVICES
from shared.runtime.postgres import Connection, connect

app = typer.Typer(
    help="Events that were set aside: list, show, replay, drop.", no_args_is_help=True
)
_CITY = ZoneInfo("Asia/Taipei")
_WAIT_S = 30.0
_LONGEST_ERROR = 80

Names = Annotated[list[str] | None, typer.Argument(help="As `casebus dead list` shows them.")]
By = Annotated[str, typer.Option(help="Your name. It is written down, not proven.")]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Everything that is set aside, the oldest first; in the order in which it was."""
    found = asyncio.run(_all())
    if as_json:
        print(json.dumps([asdict(one) for one in found], default=str))
        return
    if not found:
        print("nothing is set aside")
        return
    table = Table("name", "what", "case", "code", "first", "last", "tries", "why")
    for one in found:
        table.add_row(
            one.name,
            one.kind,
            one.number or one.case_id,
            one.code,
            _clock(one.first_at),
            _clock(one.last_at),
            str(one.tries),
            one.error[:_LONGEST_ERROR],
        )
    console = Console()
    console.print(table)
    cases = len({one.case_id for one in found if one.kind != "refused"})
    console.print(f"{cases} cases wait; `casebus dead show NAME` shows a record")


@app.command()
def show(name: Annotated[str, typer.Argument(help="As `casebus dead list` shows it.")]) -> None:
    """The record itself, as it stands in Kafka; what is sealed stays so."""
    place = _named(name)
    record = asyncio.run(_record(place, name))
    if record is None:
        end(f"{name}: nothing is set aside under this name, or its record is in no topic")
    print(f"{record.topic}:{record.partition}:{record.offset}, key {record.key!r}")
    for header, value in record.headers:
        print(f"  {header}: {_text(value)}")
    print(_body(record.value))


@app.command()
def replay(
    names: Names = None,
    by: By = "",
    reason: Annotated[str, typer.Option(help="Why, in a sentence.")] = "",
    code: Annotated[str, typer.Option(help="Everything that has this code, too.")] = "",
    as_json: Json = False,
) -> None:
    """Try again, in the order of the case: the parked event and those that wait behind it."""
    _order("replay", names or [], by, reason, code, as_json)


@app.command()
def drop(
    names: Names = None,
    by: By = "",
    reason: Annotated[str, typer.Option(help="Why it may be lost, in a sentence.")] = "",
    as_json: Json = False,
) -> None:
    """Give one event up; those that waited behind it go on. The record stays in Kafka."""
    if not reason.strip():
        end("say why it may be lost: --reason TEXT")
    _order("drop", names or [], by, reason, "", as_json)


@app.command()
def orders(as_json: Json = False) -> None:
    """What was ordered, by whom and why, and what came of it; the latest last."""
    found = asyncio.run(_orders())
    if as_json:
        print(json.dumps(found, default=str))
        return
    table = Table("when", "by", "order", "of", "reason", "outcome")
    for one in found:
        table.add_row(
            _clock(one["ordered_at"]),
            one["ordered_by"],
            one["action"],
            one["name"],
            one["reason"],
            one["outcome"] or "not yet carried out",
        )
    Console().print(table)


def _order(
    action: Literal["replay", "drop"],
    names: list[str],
    by: str,
    reason: str,
    code: str,
    as_json: bool,
) -> None:
    if not by.strip():
        end("say who you are: --by NAME")
    places = {name: _named(name) for name in names}
    if not places and not code:
        end("name what is meant, as `casebus dead list` shows it, or a --code")
    results = asyncio.run(_give(action, places, by.strip(), reason.strip(), code))
    if as_json:
        print(json.dumps(results))
    else:
        for one in results:
            print(f"{one['name']}: {one['outcome']}")
        if not results:
            print(f"nothing has the code {code}")
    raise SystemExit(0 if all(one["settled"] for one in results) else 1)


async def _give(
    action: str, places: dict[str, Named], by: str, reason: str, code: str
) -> list[dict[str, Any]]:
    system = running()
    connection = await connect(system.postgres)
    try:
        cases = await _cases(connection)
        if code:
            for one in await all_set_aside(system.settings, connection):
                if one.code == code:
                    places[one.name] = named(one.name)
        given = []
        for name, place in places.items():
            target = place.target
            if place.kind == "parked":
                if name not in cases:
                    given.append((name, place.service, None))
                    continue
                target = f"{target}:{cases[name]}"
            number = await connection.fetchval(
                f"INSERT INTO {place.service}.dead_orders"
                " (kind, target, action, ordered_by, reason)"
                " VALUES ($1, $2, $3, $4, $5) RETURNING id",
                place.kind,
                target,
                action,
                by,
                reason,
            )
            given.append((name, place.service, number))
        return [await _result(connection, *one) for one in given]
    finally:
        await connection.close()


async def _result(
    connection: Connection, name: str, service: str, number: int | None
) -> dict[str, Any]:
    if number is None:
        return {"name": name, "settled": True, "outcome": "nothing is parked under this name"}
    deadline = time.monotonic() + _WAIT_S
    while True:
        row = await connection.fetchrow(
            f"SELECT done_at, settled, outcome FROM {service}.dead_orders WHERE id = $1", number
        )
        if row is not None and row["done_at"] is not None:
            return {"name": name, "settled": row["settled"], "outcome": row["outcome"]}
        if time.monotonic() > deadline:
            waits = f"{service} has not carried it out yet; it will once it runs"
            return {"name": name, "settled": False, "outcome": waits}
        await asyncio.sleep(0.2)


async def _cases(connection: Connection) -> dict[str, str]:
    found = {}
    for service in SERVICES:
        for row in await connection.fetch(f"SELECT seq, case_id FROM {service}.parked"):
            found[f"{service}:{row['seq']}"] = row["case_id"]
    return found


async def _all() -> list[SetAside]:
    system = running()
    connection = await connect(system.postgres)
    try:
        return await all_set_aside(system.settings, connection)
    finally:
        await connection.close()


async def _record(place: Named, name: str) -> Record | None:
    system = running()
    where = name
    if place.kind != "letter":
        (where,) = [one.origin for one in await _all() if one.name == name] or [""]
    if where.count(":") != 2:
        return None
    return await read_record(system.settings, where)


async def _orders() -> list[dict[str, Any]]:
    connection = await connect(running().postgres)
    try:
        found: list[dict[str, Any]] = []
        for service in SERVICES:
            rows = await connection.fetch(f"SELECT * FROM {service}.dead_orders ORDER BY id")
            found += [dict(row) | {"name": _name(service, row)} for row in rows]
    finally:
        await connection.close()
    return sorted(found, key=lambda one: one["ordered_at"])


def _name(service: str, row: Any) -> str:
    match row["kind"]:
        case "parked":
            return f"{service}:{row['target'].partition(':')[0]}"
        case "row":
            return f"{service}:row:{row['target']}"
    return str(row["target"])


def _named(name: str) -> Named:
    try:
        return named(name)
    except ValueError as error:
        end(str(error))


def _clock(at: datetime) -> str:
    return f"{at.astimezone(_CITY):%m-%d %H:%M:%S}"


def _text(value: bytes | None) -> str:
    return "" if value is None else ascii(value)[2:-1] if not value.isascii() else value.decode()


def _body(value: bytes | None) -> str:
    if value is None:
        return "(no body)"
    try:
        body = json.loads(value)
    except ValueError:
        return f"(no JSON, {len(value)} bytes) {value[:2000]!r}"
    if isinstance(body, dict) and isinstance(body.get("sealed"), str):
        body["sealed"] = f"(sealed, {len(body['sealed'])} characters)"
    return json.dumps(body, ensure_ascii=False, indent=2)
