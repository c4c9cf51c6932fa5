"""Releases in shadow: what they decided beside the live rules, counted."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from services.console.domain import Move, Trial
from shared.contract.events import DecisionShadowed
from shared.runtime.postgres import Connection, Pool, rows, statements

TABLES = ("lead", "joint_review", "deadline")
_sql = statements(Path(__file__).parent / "sql")


async def count(connection: Connection, event: DecisionShadowed) -> None:
    """Count one decision; the caller sees to it that a repeat is none."""
    await _sql.put_shadowed(
        connection,
        release=event.release,
        service=event.service,
        live_agency=event.live_agency,
        agency=event.agency,
        differs=[table for table in TABLES if table in event.differs],
        example=event.number,
    )


async def trial(connection: "Connection | Pool", number: int) -> Trial:
    """What release `number` did in shadow so far; nothing when it never was."""
    found = await rows(_sql.shadow_moves(connection, release=number))
    return summary([Move(**{**row, "differs": tuple(row["differs"])}) for row in found])


def summary(counted: Sequence[Move]) -> Trial:
    """A trial from all that was counted, what does not differ too."""
    moves = tuple(move for move in counted if move.differs)
    tables = Counter[str]()
    for move in moves:
        for table in move.differs:
            tables[table] += move.cases
    return Trial(
        cases=sum(move.cases for move in counted),
        differing=sum(move.cases for move in moves),
        tables={table: tables[table] for table in TABLES},
        moves=moves,
    )
