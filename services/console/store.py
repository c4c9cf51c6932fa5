"""The console's tables in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from services.console.lag import Lag, RelayLag
from shared.contract.events import Event
from shared.runtime.postgres import Connection, Pool, rows, statements

_sql = statements(Path(__file__).parent / "sql")
_SERVICES = ("intake", "backoffice", "notifier", "console")


async def put_samples(
    connection: Connection, at: datetime, lags: Sequence[Lag], relays: Sequence[RelayLag]
) -> None:
    """Keep one measurement; those older than a day go."""
    async with connection.transaction():
        for lag in lags:
            await _sql.put_sample(
                connection,
                sampled_at=at,
                group_id=lag.group,
                topic=lag.topic,
                partition=lag.partition,
                committed=lag.committed,
                end_offset=lag.end,
                records=lag.records,
                seconds=lag.seconds,
            )
        for relay in relays:
            await _sql.put_relay_sample(
                connection,
                sampled_at=at,
                outbox=relay.outbox,
                position=relay.position,
                rows=relay.rows,
                seconds=relay.seconds,
                refused=relay.refused,
            )
        await _sql.delete_old_samples(connection)
        await _sql.delete_old_relay_samples(connection)


async def count(connection: Connection, event: Event) -> None:
    await _sql.count_event(connection, time=event.time, type=event.type)


async def latest_samples(pool: Pool) -> list[dict[str, Any]]:
    return [dict(row) for row in await rows(_sql.latest_samples(pool))]


async def latest_relay_samples(pool: Pool) -> list[dict[str, Any]]:
    return [dict(row) for row in await rows(_sql.latest_relay_samples(pool))]


async def overview(pool: Pool) -> dict[str, Any]:
    """What the first page shows beside lag: events, open cases, what is parked."""
    parked = []
    for name in _SERVICES:
        counted = await pool.fetch(
            f"SELECT topic, code, count(*) AS events, count(DISTINCT case_id) AS cases"
            f" FROM {name}.parked GROUP BY topic, code ORDER BY events DESC"
        )
        parked += [{"service": name, **dict(row)} for row in counted]
    return {
        "counts": [dict(row) for row in await rows(_sql.counts_last_hour(pool))],
        "open_cases": [dict(row) for row in await rows(_sql.open_cases(pool))],
        "parked": parked,
    }
