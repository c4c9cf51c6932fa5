"""The console's tables in PostgreSQL."""

from pathlib import Path
from typing import Any

from shared.contract.events import Event
from shared.runtime.postgres import Connection, Pool, rows, statements

_sql = statements(Path(__file__).parent / "sql")


async def count(connection: Connection, event: Event) -> None:
    await _sql.count_event(connection, time=event.time, type=event.type)


async def overview(pool: Pool) -> dict[str, Any]:
    """What the first page shows beside lag: events of the last hour, open cases."""
    return {
        "counts": [dict(row) for row in await rows(_sql.counts_last_hour(pool))],
        "open_cases": [dict(row) for row in await rows(_sql.open_cases(pool))],
    }
