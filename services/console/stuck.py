"""What is stuck, in terms of people: how many cases, for which agency, since when."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.console.lag import OUTBOXES
from services.console.tally import Tallied
from shared.runtime.postgres import Connection, Pool, rows, statements

_sql = statements(Path(__file__).parent / "sql")
_PARKED = " UNION ALL ".join(
    f"SELECT '{name}' AS service, topic, case_id, code, parked_at FROM {name}.parked"
    for name in OUTBOXES
)
_REFUSED = " UNION ALL ".join(
    f"SELECT '{name}' AS outbox, key, created_at FROM {name}.outbox WHERE refused IS NOT NULL"
    for name in OUTBOXES
)
# An agency's own topic names it; otherwise the case does, once it is in an agency.
_BY_AGENCY = f"""
    SELECT p.service, p.topic, p.code,
        coalesce(substring(p.topic FROM '^agency\\.(.+)\\.(cases|updates)$'), c.agency) AS agency,
        count(*) AS events, count(DISTINCT p.case_id) AS cases, min(p.parked_at) AS since
    FROM ({_PARKED}) p
    LEFT JOIN backoffice.cases c ON c.case_id =
        CASE WHEN pg_input_is_valid(p.case_id, 'uuid') THEN p.case_id::uuid END
    GROUP BY 1, 2, 3, 4 ORDER BY cases DESC, since
"""
_ALL = f"""
    SELECT count(DISTINCT case_id) AS cases, min(at) AS since FROM (
        SELECT case_id, parked_at AS at FROM ({_PARKED}) p
        UNION ALL SELECT encode(key, 'escape'), created_at FROM ({_REFUSED}) r
    ) stuck
"""
_BY_OUTBOX = f"""
    SELECT outbox, count(*) AS rows, count(DISTINCT key) AS cases, min(created_at) AS since
    FROM ({_REFUSED}) r GROUP BY outbox ORDER BY outbox
"""


async def stuck(connection: "Connection | Pool") -> dict[str, Any]:
    """Everything that does not go on by itself.

    `stuck` is the number of different cases that are parked or whose rows are refused, and since
    when; `parked` by service, topic, code and agency (None: no agency has it yet); `refused` by
    outbox; `letters` are dead letters of records that nobody parked, by topic, group and code.
    """
    total = await connection.fetchrow(_ALL)
    return {
        "stuck": dict(total) if total else {},
        "parked": [dict(row) for row in await connection.fetch(_BY_AGENCY)],
        "refused": [dict(row) for row in await connection.fetch(_BY_OUTBOX)],
        "letters": [dict(row) for row in await rows(_sql.dead_letters(connection))],
    }


async def oldest_transaction(connection: "Connection | Pool") -> dict[str, Any] | None:
    """For which transaction of PostgreSQL the relays wait, and how long it runs, in seconds."""
    found = await rows(_sql.oldest_transaction(connection))
    return dict(found[0]) if found else None


async def settled_letters(connection: Connection) -> set[str]:
    """The letters, TOPIC:PARTITION:OFFSET, about which nothing is left to do."""
    return {row["target"] for row in await rows(_sql.settled_letters(connection))}


async def put_letters(connection: Connection, letters: Sequence[Tallied]) -> None:
    """Keep the tally of dead letters in place of the one before."""
    async with connection.transaction():
        await _sql.delete_dead_letters(connection)
        for one in letters:
            await _sql.put_dead_letters(
                connection,
                topic=one.topic,
                group_id=one.group,
                code=one.code,
                letters=one.letters,
                since=one.since,
            )
