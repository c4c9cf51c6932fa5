"""The back office's tables in PostgreSQL, behind the ports of handlers.py."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from services.backoffice.domain import Case
from shared.contract.errors import TransientError
from shared.contract.events import CaseAssigned, JointReview
from shared.contract.wire import Outgoing
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection, Pool, rows, statements

SCHEMA = "backoffice"
TABLES = Tables(SCHEMA)
_sql = statements(Path(__file__).parent / "sql")
_COLUMNS = tuple(field.name for field in fields(Case))


def _case(row: Any) -> Case:
    values = {name: row[name] for name in _COLUMNS}
    values["chain"], values["tried"] = tuple(row["chain"]), tuple(row["tried"])
    values["joint_review"] = tuple(JointReview(**one) for one in row["joint_review"])
    return Case(**values)


class PostgresCases:
    """Inside the transaction of `connection`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def lock(self, case_id: UUID) -> Case | None:
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
