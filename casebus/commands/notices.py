"""`casebus notices`: what citizens heard and did not, and what to do about it. Exit codes: 0 done,
1 not done or not there, 2 it could not be tried."""

import asyncio
import json
import time
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from casebus.commands import texts
from casebus.running import end, running
from services.intake.identity import InvalidValue, parse_case_number
from shared.runtime.postgres import Connection, connect

app = typer.Typer(
    help="Messages to citizens: list, show, send again, stop; check and try their texts.",
    no_args_is_help=True,
)
app.command()(texts.check)
app.command()(texts.preview)
_CITY = ZoneInfo("Asia/Taipei")
_WAIT_S = 30.0
STATES = (
    "created",
    "deferred",
    "sending",
    "unknown",
    "sent",
    "delivered",
    "temporary_failure",
    "permanent_failure",
    "expired",
    "cancelled",
    "suppressed",
)
By = Annotated[str, typer.Option(help="Your name. It is written down, not proven.")]
Reason = Annotated[str, typer.Option(help="Why, in a sentence.")]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]
_COLUMNS = (
    "notice_id, number, channel, template, state, reason, provider, tries, segments, urgent,"
    " happened_at, changed_at, next_try_at, expires_at"
)


@app.command("list")
def list_(
    number: Annotated[str, typer.Argument(help="Of one case; all when left out.")] = "",
    state: Annotated[str, typer.Option(help=f"One of {', '.join(STATES)}.")] = "",
    provider: Annotated[str, typer.Option(help="The provider's name.")] = "",
    heard_nothing: Annotated[
        bool, typer.Option("--heard-nothing", help="Cases whose citizen has not heard of the last.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The latest so many.")] = 50,
    as_json: Json = False,
) -> None:
    """Notices, the latest first; or the cases whose citizen heard nothing."""
    if state and state not in STATES:
        end(f"there is no state {state!r}; one of {', '.join(STATES)}")
    wanted = _number(number) if number else ""
    if heard_nothing:
        _silence(asyncio.run(_rows(_SILENCE, limit)), as_json)
        return
    select = (
        f"SELECT {_COLUMNS} FROM notifier.notices WHERE ($2 = '' OR number = $2)"
        " AND ($3 = '' OR state = $3) AND ($4 = '' OR provider = $4)"
        " ORDER BY changed_at DESC LIMIT $1"
    )
    found = asyncio.run(_rows(select, limit, wanted, state, provider))
    if as_json:
        print(json.dumps(found, default=str))
        return
    if not found:
        print("no notice is like that")
        return
    table = Table("notice", "case", "channel", "text", "state", "by", "tries", "parts", "changed")
    for one in found:
        why = f" ({one['reason']})" if one["reason"] else ""
        table.add_row(
            str(one["notice_id"]),
            one["number"],
            one["channel"],
            one["template"],
            f"{one['state']}{why}",
            one["provider"] or "",
            str(one["tries"]),
            str(one["segments"] or ""),
            _clock(one["changed_at"]),
        )
    Console().print(table)


@app.command()
def show(
    notice: Annotated[str, typer.Argument(help="As `casebus notices list` shows it.")],
    as_json: Json = False,
) -> None:
    """One notice: every time that a provider was asked, and every receipt. Never its text."""
    found = asyncio.run(_one(_notice(notice)))
    if not found["notice"]:
        print(f"casebus: there is no notice {notice}")
        raise SystemExit(1)
    if as_json:
        print(json.dumps(found, default=str))
        return
    for name, value in found["notice"].items():
        shown = _clock(value) if isinstance(value, datetime) else value
        print(f"{name:12} {'' if shown is None else shown}")
    for title, rows in (("asked", found["attempts"]), ("receipts", found["receipts"])):
        table = Table(*(rows[0] if rows else ["none"]), title=title)
        for row in rows:
            table.add_row(*(_clock(v) if isinstance(v, datetime) else str(v) for v in row.values()))
        Console().print(table)


@app.command()
def providers(as_json: Json = False) -> None:
    """How each provider did in the last hour, and what was wanted of addresses."""
    found = asyncio.run(_rows("SELECT * FROM notifier.provider_rates ORDER BY provider"))
    if as_json:
        print(json.dumps(found, default=str))
        return
    if not found:
        print("no provider was asked in the last hour")
        return
    table = Table(*found[0])
    for row in found:
        table.add_row(*("" if v is None else _figure(v) for v in row.values()))
    Console().print(table)


@app.command()
def resend(
    notice: Annotated[str, typer.Argument(help="As `casebus notices list` shows it.")],
    by: By = "",
    reason: Reason = "",
    even_if_heard: Annotated[
        bool,
        typer.Option("--even-if-heard", help="Also when it may have arrived: it may come twice."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Send one again. Refused for what was, or may have been, heard."""
    found = asyncio.run(_one(_notice(notice)))["notice"]
    if not found:
        print(f"casebus: there is no notice {notice}")
        raise SystemExit(1)
    if found["state"] in ("sent", "delivered", "unknown") and not even_if_heard:
        end(
            f"it is {found['state']}: the citizen has heard it, or may have; --even-if-heard "
            "sends it all the same"
        )
    _order("resend", str(found["notice_id"]), by, reason, as_json)


@app.command()
def suppress(
    number: Annotated[str, typer.Argument(help="The case's number.")],
    channel: Annotated[str, typer.Option(help="sms or mail.")] = "",
    by: By = "",
    reason: Reason = "",
    allow: Annotated[bool, typer.Option("--allow", help="The other way: messages again.")] = False,
    as_json: Json = False,
) -> None:
    """No more messages to the address of this case, in whatever case it stands."""
    if channel not in ("sms", "mail"):
        end("say which: --channel sms or --channel mail")
    _order("allow" if allow else "suppress", f"{_number(number)}:{channel}", by, reason, as_json)


_SILENCE = "SELECT * FROM notifier.silence ORDER BY perhaps, since LIMIT $1"


def _silence(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, default=str))
        return
    if not found:
        print("everybody has heard of the last step of their case")
        return
    table = Table("case", "since", "text", "perhaps", "why")
    for one in found:
        perhaps = "may have" if one["perhaps"] else "nothing"
        table.add_row(one["number"], _clock(one["since"]), one["template"], perhaps, one["why"])
    Console().print(table)


def _order(
    action: Literal["resend", "suppress", "allow"],
    target: str,
    by: str,
    reason: str,
    as_json: bool,
) -> None:
    if not by.strip():
        end("say who you are: --by NAME")
    if not reason.strip():
        end("say why: --reason TEXT")
    settled, outcome = asyncio.run(_give(action, target, by.strip(), reason.strip()))
    print(json.dumps({"settled": settled, "outcome": outcome}) if as_json else outcome)
    raise SystemExit(0 if settled else 1)


async def _give(action: str, target: str, by: str, reason: str) -> tuple[bool, str]:
    connection = await connect(running().postgres)
    try:
        number = await connection.fetchval(
            "INSERT INTO notifier.notice_orders (action, target, ordered_by, reason)"
            " VALUES ($1, $2, $3, $4) RETURNING id",
            action,
            target,
            by,
            reason,
        )
        return await _result(connection, number)
    finally:
        await connection.close()


async def _result(connection: Connection, number: int) -> tuple[bool, str]:
    deadline = time.monotonic() + _WAIT_S
    while time.monotonic() < deadline:
        row = await connection.fetchrow(
            "SELECT done_at, settled, outcome FROM notifier.notice_orders WHERE id = $1", number
        )
        if row is not None and row["done_at"] is not None:
            return row["settled"], row["outcome"]
        await asyncio.sleep(0.2)
    return False, "no dispatcher has carried it out yet; one will once it runs"


async def _one(notice_id: str) -> dict[str, Any]:
    connection = await connect(running().postgres)
    try:
        notice = await connection.fetchrow(
            f"SELECT {_COLUMNS} FROM notifier.notices WHERE notice_id = $1::uuid", notice_id
        )
        attempts = await connection.fetch(
            "SELECT began_at, ended_at, provider, outcome, code, segments FROM notifier.attempts"
            " WHERE notice_id = $1::uuid ORDER BY id",
            notice_id,
        )
        receipts = await connection.fetch(
            "SELECT r.at, p.provider, p.message_id, p.part, p.of, r.state, r.code"
            " FROM notifier.parts p JOIN notifier.receipts r USING (provider, message_id)"
            " WHERE p.notice_id = $1::uuid ORDER BY r.at, p.part",
            notice_id,
        )
    finally:
        await connection.close()
    return {
        "notice": dict(notice) if notice else None,
        "attempts": [dict(row) for row in attempts],
        "receipts": [dict(row) for row in receipts],
    }


async def _rows(select: str, *values: Any) -> list[dict[str, Any]]:
    connection = await connect(running().postgres)
    try:
        return [dict(row) for row in await connection.fetch(select, *values)]
    finally:
        await connection.close()


def _number(text: str) -> str:
    try:
        return parse_case_number(text)
    except InvalidValue as error:
        end(error.message_en)


def _notice(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        end(f"{text!r} is no notice's id; `casebus notices list` shows them")


def _figure(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _clock(at: datetime) -> str:
    return f"{at.astimezone(_CITY):%m-%d %H:%M:%S}"
