"""`casebus lag`: what waits, for each consumer group and outbox."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from casebus.running import running
from catalogue import load_catalogue
from services.console.lag import Lag, RelayLag, group_lags, relay_lags
from services.console.worker import topics_of


def lag(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Every partition, those without lag too.")
    ] = False,
) -> None:
    """Lag per group, topic and partition, in records and seconds; outboxes in rows."""
    groups, relays = asyncio.run(_measure())
    if as_json:
        shown = {"groups": [asdict(g) for g in groups], "relays": [asdict(r) for r in relays]}
        print(json.dumps(shown))
        return
    table = Table("group", "topic", "partition", "committed", "end", "records", "seconds")
    totals: dict[str, tuple[int, float]] = {}
    for one in groups:
        records, seconds = totals.get(one.group, (0, 0.0))
        totals[one.group] = (records + one.records, max(seconds, one.seconds))
        if one.records or everything:
            table.add_row(
                one.group,
                one.topic,
                str(one.partition),
                "-" if one.committed is None else str(one.committed),
                str(one.end),
                str(one.records),
                f"{one.seconds:.1f}",
            )
    for group, (records, seconds) in totals.items():
        table.add_row(group, "(all)", "", "", "", str(records), f"{seconds:.1f}", style="bold")
    for relay in relays:
        table.add_row(
            f"relay-{relay.outbox}",
            "outbox rows",
            "",
            relay.position,
            "",
            str(relay.rows),
            f"{relay.seconds:.1f}",
            style="bold",
        )
    Console().print(table)


async def _measure() -> tuple[list[Lag], list[RelayLag]]:
    system = running()
    groups = await group_lags(system.settings, topics_of(load_catalogue()))
    connection = await asyncpg.connect(system.postgres)
    try:
        return groups, await relay_lags(system.settings, connection)
    finally:
        await connection.close()
