"""The back office's tables in PostgreSQL, behind the ports of handlers.py."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from services.backoffice.domain import Case
from shared.contract.errors import TransientError
from shared.contract.events import (
    ApplicationSupplemented,
    ApplicationWithdrawn,
    CaseAssigned,
    JointReview,
)
from shared.contract.wire import Outgoing
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection, Pool, rows, statements

SCHEMA = "backoffice"
TABLES = Tables(SCHEMA)
_sql = statements(Path(__file__).parent / "sql")
_COLUMNS = tuple(field.name for field in fields(Case))


def _case(row: Any) -> Case:
    values = {name: row[name] for name in _COLUMNS}
    for name in ("chain", "tried", "duplicates"):
        values[name] = tuple(row[name])
    values["joint_review"] = tuple(JointReview(**one) for one in row["joint_review"])
    return Case(**values)


class PostgresCases:
    """Inside the transaction of `connection`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock(self, case_id: UUID) -> Case | None:
        row = await _sql.lock_case(self._connection, case_id=case_id)
        if row is None:
            # Whoever else does not know it waits here; what they did meanwhile is seen then.
            await _sql.lock_unknown(self._connection, case_id=case_id)
            row = await _sql.lock_case(self._connection, case_id=case_id)
        if row is not None and row["younger"]:
            # The relay goes by the transactions' numbers. Who changed the case last has a higher
            # one than we: what we tell of it would go out before what was told already.
            raise TransientError(f"a younger transaction has changed case {case_id}")
        return None if row is None else _case(row)

    async def put(self, case: Case, now: datetime) -> None:
        values = {name: getattr(case, name) for name in _COLUMNS}
        values["joint_review"] = [one.model_dump() for one in case.joint_review]
        await _sql.put_case(self._connection, **values, changed_at=now)

    async def put_assignment(self, event: CaseAssigned) -> None:
        await _sql.put_assignment(
            self._connection,
            assignment_id=event.id,
            case_id=event.case_id,
            agency=event.agency,
            step=event.step,
            decision=event.decision.model_dump(mode="json"),
            assigned_at=event.time,
        )

    async def put_history(
        self, case: Case, from_status: str, to_status: str, by: str, reason: str, now: datetime
    ) -> None:
        await _sql.put_history(
            self._connection,
            case_id=case.case_id,
            agency=case.agency,
            from_status=from_status,
            to_status=to_status,
            done_by=by,
            reason=reason,
            done_at=now,
        )

    async def put_supplement(self, event: ApplicationSupplemented) -> None:
        await _sql.put_supplement(
            self._connection,
            event_id=event.id,
            case_id=event.case_id,
            sealed=event.sealed,
            at=event.time,
        )

    async def put_early(self, event: ApplicationSupplemented | ApplicationWithdrawn) -> None:
        await _sql.put_early(
            self._connection,
            event_id=event.id,
            case_id=event.case_id,
            type=event.type,
            event=event.model_dump(mode="json"),
        )

    async def take_early(
        self, case_id: UUID
    ) -> list[ApplicationSupplemented | ApplicationWithdrawn]:
        found = await rows(_sql.take_early(self._connection, case_id=case_id))
        models = {model.type: model for model in (ApplicationSupplemented, ApplicationWithdrawn)}
        return [models[row["type"]].model_validate(row["event"]) for row in found]

    async def tell(self, records: Sequence[Outgoing]) -> None:
        await TABLES.append(self._connection, records)


async def by_number(pool: Pool, number: str) -> Case | None:
    row = await _sql.find_case(pool, number=number)
    return None if row is None else _case(row)


async def inbox(
    pool: Pool, agency: str, status: str | None, with_closed: bool, limit: int
) -> list[Case]:
    """An agency's cases, the ones due first at the top."""
    found = await rows(
        _sql.inbox_of(pool, agency=agency, status=status, with_closed=with_closed, limit=limit)
    )
    return [_case(row) for row in found]


async def history(pool: Pool, case_id: UUID) -> list[dict[str, Any]]:
    return [dict(row) for row in await rows(_sql.history_of(pool, case_id=case_id))]


async def supplements(pool: Pool, case_id: UUID) -> list[tuple[datetime, str]]:
    """When the citizen added something, and what, sealed; the earliest first."""
    found = await rows(_sql.supplements_of(pool, case_id=case_id))
    return [(row["at"], row["sealed"]) for row in found]
