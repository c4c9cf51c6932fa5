"""`casebus lag`: what waits, for each consumer group and outbox, and in which state they are."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from casebus.running import running
from catalogue import load_catalogue
from services.console.history import Picture, measured, picture
from services.console.lag import group_lags, relay_lags
from services.console.stuck import oldest_transaction, stuck
from services.console.worker import topics_of


def lag(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Every partition, those without lag too.")
    ] = False,
) -> None:
    """Lag per group, topic and partition, in records and seconds; outboxes in rows; states."""
    seen, transaction, found = asyncio.run(_measure())
    if as_json:
        shown = {"groups": seen.groups, "relays": seen.relays, "totals": seen.totals}
        print(json.dumps(shown | {"transaction": transaction} | found, default=_plain))
        return
    Console().print(_table(seen, everything))
    if transaction is not None and any(relay["state"] != "OK" for relay in seen.relays):
        print(_held_by(transaction))
    for line in _stuck(found):
        print(line)


def _table(seen: Picture, everything: bool) -> Table:
    table = Table("group", "topic", "partition", "committed", "end", "records", "seconds", "state")
    for one in seen.groups:
        if one["records"] or one["state"] != "OK" or everything:
            committed = one["committed"]
            table.add_row(
                one["group"],
                one["topic"],
                str(one["partition"]),
                "-" if committed is None else str(committed),
                str(one["end"]),
                str(one["records"]),
                _seconds(one["seconds"]),
                one["state"],
            )
    for total in seen.totals:
        table.add_row(
            *(total["group"], "(all)", "", "", "", str(total["records"])),
            *(_seconds(total["seconds"]), total["state"]),
            style="bold",
        )
    for relay in seen.relays:
        table.add_row(
            *(f"relay-{relay['outbox']}", "outbox rows", "", relay["position"], ""),
            *(str(relay["rows"]), _seconds(relay["seconds"]), relay["state"]),
            style="bold",
        )
    return table


def _seconds(age: float | None) -> str:
    return "unknown" if age is None else f"{age:.1f}"


def _held_by(transaction: dict[str, Any]) -> str:
    blocked = ", ".join(map(str, transaction["blocked_by"]))
    return (
        "outboxes wait for the oldest transaction of the database: {owner} ({application},"
        " {database}), pid {pid}, {state}, {seconds:.0f} s"
    ).format_map(transaction) + (f"; it waits for pid {blocked}" if blocked else "")


def _stuck(found: dict[str, Any]) -> list[str]:
    """A line for each kind of what does not go on by itself."""
    lines = [
        "parked: {cases} case(s), {events} event(s) in {service}, for {who}, {code},"
        " since {since:%F %R} UTC".format_map(one | {"who": one["agency"] or "no agency yet"})
        for one in found["parked"]
    ]
    lines += [
        "refused by Kafka: {rows} row(s) of {cases} case(s) in the outbox of {outbox},"
        " since {since:%F %R} UTC".format_map(one)
        for one in found["refused"]
    ]
    lines += [
        "dead letters: {letters} on {topic}, {code}, since {since:%F %R} UTC".format_map(one)
        for one in found["letters"]
    ]
    return [*lines, "look at them with: casebus dead list"] if lines else []


def _plain(value: Any) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()


async def _measure() -> tuple[Picture, dict[str, Any] | None, dict[str, Any]]:
    """What is measured now, judged with what the console measured in the minutes before."""
    system = running()
    groups = await group_lags(system.settings, topics_of(load_catalogue()))
    connection = await asyncpg.connect(system.postgres)
    try:
        relays = await relay_lags(system.settings, connection)
        before = await measured(connection)
        seen = picture([*before, (datetime.now(UTC), groups, relays)])
        return seen, await oldest_transaction(connection), await stuck(connection)
    finally:
        await connection.close()
