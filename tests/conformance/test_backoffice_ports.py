"""The back office's Cases: the fake and PostgreSQL keep the same promises."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from asyncpg import UniqueViolationError

from services.backoffice import store
from services.backoffice.handlers import Cases
from shared.contract.errors import TransientError
from shared.contract.events import CaseAssigned, CaseStatusChanged, JointReview
from shared.contract.wire import encode
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Pool
from tests import examples
from tests.examples import CASE, NOW, case
from tests.fakes import FakeBackoffice, RepeatedAssignmentError


@dataclass(frozen=True, slots=True)
class Backoffice:
    """A transaction that gives the port, and what is seen from outside once it is committed."""

    transaction: Callable[[], AbstractAsyncContextManager[Cases]]
    history: Callable[[UUID], Awaitable[list[tuple[str, ...]]]]
    told: Callable[[], Awaitable[list[tuple[Any, ...]]]]


def _fake() -> Backoffice:
    fake = FakeBackoffice()

    async def history(case_id: UUID) -> list[tuple[str, ...]]:
        return list(fake.history(case_id))

    async def told() -> list[tuple[Any, ...]]:
        return [Tables.row(out) for out in fake.rows.told]

    return Backoffice(fake.transaction, history, told)


def _postgres(pool: Pool) -> Backoffice:
    @asynccontextmanager
    async def transaction() -> AsyncIterator[Cases]:
        async with pool.acquire() as connection, connection.transaction():
            yield store.PostgresCases(connection)

    async def history(case_id: UUID) -> list[tuple[str, ...]]:
        names = ("agency", "from_status", "to_status", "done_by", "reason")
        return [tuple(row[n] for n in names) for row in await store.history(pool, case_id)]

    async def told() -> list[tuple[Any, ...]]:
        rows = await pool.fetch("SELECT * FROM backoffice.outbox ORDER BY xid, seq")
        names = ("topic", "key", "header_names", "header_values", "value")
        return [tuple(row[name] for name in names) for row in rows]

    return Backoffice(transaction, history, told)


@pytest.fixture(params=["fake", "postgres"])
def backoffice(request: pytest.FixtureRequest) -> Backoffice:
    if request.param == "fake":
        return _fake()
    request.getfixturevalue("clean")
    return _postgres(request.getfixturevalue("pools")["backoffice"])


async def test_a_case_that_is_not_here_is_none(backoffice: Backoffice) -> None:
    async with backoffice.transaction() as cases:
        assert await cases.lock(CASE) is None


async def test_a_case_is_read_as_it_was_written(backoffice: Backoffice) -> None:
    full = case(
        chain=("LO-DA", "DOSW"),
        tried=("TRIAGE",),
        facts={"district": "大安區", "side_of_aiguo": None, "fee": 7, "urgent": True},
        joint_review=(
            JointReview(agency="FD", task="review"),
            JointReview(agency="CA", task="query", document="HH_RECORD"),
        ),
    )
    async with backoffice.transaction() as cases:
        await cases.put(full, NOW)

    async with backoffice.transaction() as cases:
        assert await cases.lock(CASE) == full


async def test_where_a_case_stands_changes_and_what_was_handed_in_does_not(
    backoffice: Backoffice,
) -> None:
    before = case()
    moved: dict[str, Any] = {
        "agency": "LO-DA",
        "responsible": "LO-DA",
        "status": "ACCEPTED",
        "step": 2,
        "chain": ("LAST",),
        "tried": ("DOSW",),
        "sealed": "newer",
        "assigned_at": NOW + timedelta(hours=1),
        "due_on": date(2027, 1, 1),
        "joint_review": (JointReview(agency="FD", task="review"),),
    }
    never: dict[str, Any] = {
        "number": "other",
        "service": "SVC-002",
        "facts": {"district": "中正區"},
        "received_at": NOW + timedelta(days=1),
    }
    async with backoffice.transaction() as cases:
        await cases.put(before, NOW)
        await cases.put(replace(before, **moved, **never), NOW)

    async with backoffice.transaction() as cases:
        assert await cases.lock(CASE) == replace(before, **moved)


async def test_what_is_written_is_seen_in_the_same_transaction(backoffice: Backoffice) -> None:
    async with backoffice.transaction() as cases:
        await cases.put(case(), NOW)
        assert await cases.lock(CASE) == case()


async def _write_all(cases: Cases) -> None:
    await cases.put(case(), NOW)
    await cases.put_assignment(examples.event(CaseAssigned))
    await cases.put_history(case(), "RECEIVED", "ASSIGNED", "router", "rule", NOW)
    await cases.tell([encode("cases.events", examples.event(CaseStatusChanged))])


async def test_a_transaction_that_fails_leaves_nothing(backoffice: Backoffice) -> None:
    with pytest.raises(RuntimeError):
        async with backoffice.transaction() as cases:
            await _write_all(cases)
            raise RuntimeError

    async with backoffice.transaction() as cases:
        assert await cases.lock(CASE) is None
    assert await backoffice.history(CASE) == []
    assert await backoffice.told() == []


async def test_an_assignment_is_written_once(backoffice: Backoffice) -> None:
    event = examples.event(CaseAssigned)
    async with backoffice.transaction() as cases:
        await cases.put_assignment(event)

    with pytest.raises((UniqueViolationError, RepeatedAssignmentError)):
        async with backoffice.transaction() as cases:
            await cases.put_assignment(event)


async def test_a_case_may_be_assigned_many_times(backoffice: Backoffice) -> None:
    async with backoffice.transaction() as cases:
        for _ in range(3):
            await cases.put_assignment(examples.event(CaseAssigned))
        await cases.put(case(), NOW)
        assert await cases.lock(CASE) is not None


async def test_history_keeps_its_order_and_its_case(backoffice: Backoffice) -> None:
    other = case(case_id=uuid4(), number="other", agency="LO-DA")
    async with backoffice.transaction() as cases:
        await cases.put_history(case(), "RECEIVED", "ASSIGNED", "router", "rule", NOW)
        await cases.put_history(other, "RECEIVED", "ASSIGNED", "router", "rule", NOW)
    async with backoffice.transaction() as cases:
        # The clock of the second was slow: it is written down behind all the same.
        earlier = NOW - timedelta(hours=1)
        await cases.put_history(case(), "ASSIGNED", "ACCEPTED", "clerk:陳", "", earlier)

    assert await backoffice.history(CASE) == [
        ("DOSW", "RECEIVED", "ASSIGNED", "router", "rule"),
        ("DOSW", "ASSIGNED", "ACCEPTED", "clerk:陳", ""),
    ]


async def test_what_is_told_keeps_its_order(backoffice: Backoffice) -> None:
    out = [encode("cases.events", examples.event(CaseStatusChanged), "trace") for _ in range(4)]
    async with backoffice.transaction() as cases:
        await cases.tell(out[:1])
        await cases.tell([])
        await cases.tell(out[1:])

    assert await backoffice.told() == [Tables.row(one) for one in out]


async def test_of_many_who_change_a_case_at_once_none_is_lost(backoffice: Backoffice) -> None:
    async with backoffice.transaction() as cases:
        await cases.put(case(step=0), NOW)

    async def one_more() -> None:
        while True:
            with contextlib.suppress(TransientError):
                async with backoffice.transaction() as cases:
                    known = await cases.lock(CASE)
                    assert known is not None
                    await cases.put(replace(known, step=known.step + 1), NOW)
                return

    await asyncio.gather(*(one_more() for _ in range(20)))

    async with backoffice.transaction() as cases:
        known = await cases.lock(CASE)
    assert known is not None
    assert known.step == 20
