"""What citizens heard: who heard nothing, how providers do, and what waits. For operators."""

from typing import Any

from shared.runtime.postgres import Pool

_SILENT = "SELECT * FROM notifier.silence ORDER BY perhaps, since LIMIT $1"
_HOW_MANY = (
    "SELECT count(*) FILTER (WHERE NOT perhaps) AS nothing, count(*) FILTER (WHERE perhaps) AS"
    " perhaps, min(since) AS since FROM notifier.silence"
)
_STATES = (
    "SELECT channel, state, count(*) AS notices FROM notifier.notices"
    " WHERE changed_at > now() - interval '1 day' GROUP BY channel, state ORDER BY channel, state"
)


async def silence(pool: Pool) -> dict[str, Any]:
    """`nothing`: cases whose citizen has not heard of the last step; `perhaps`: those that may
    have; `since` when the first."""
    row = await pool.fetchrow(_HOW_MANY)
    return dict(row) if row else {}


async def notices(pool: Pool, most: int) -> dict[str, Any]:
    """`silent`: those cases, at most so many; `providers`: how each did in the last hour;
    `states`: notices of the last day by channel and state."""
    return {
        "silence": await silence(pool),
        "silent": [dict(row) for row in await pool.fetch(_SILENT, most)],
        "providers": [
            dict(row)
            for row in await pool.fetch("SELECT * FROM notifier.provider_rates ORDER BY provider")
        ],
        "states": [dict(row) for row in await pool.fetch(_STATES)],
    }
