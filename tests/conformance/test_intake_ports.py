"""Intake's Applications, Steps and Keys: the fake and PostgreSQL keep the same promises."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from services.intake.handlers import (
    Application,
    Applications,
    Known,
    RepeatedKeyError,
    Step,
)
from services.intake.store import PostgresApplications, PostgresSteps
from shared.contract.errors import PermanentError
from shared.contract.events import ApplicationSubmitted
from shared.contract.wire import Outgoing, encode
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Pool
from shared.runtime.vault import Vault
from tests import examples
from tests.conformance.conftest import Database
from tests.examples import NOW
from tests.fakes import FakeApplications, FakeKeys, FakeSteps


@dataclass(frozen=True, slots=True)
class Intake:
    """The ports, and two ways to look behind them: what was told, and which keys are kept."""

    applications: Applications
    put_step: Callable[[UUID, UUID, Step], Awaitable[None]]
    told: Callable[[], Awaitable[list[tuple[Any, ...]]]]
    wrapped_key: Callable[[UUID], Awaitable[bytes | None]]


def _fake() -> Intake:
    applications = FakeApplications()

    async def told() -> list[tuple[Any, ...]]:
        return [Tables.row(out) for out in applications.told]

    async def wrapped_key(case_id: UUID) -> bytes | None:
        return applications.wrapped_keys.get(case_id)

    return Intake(applications, FakeSteps(applications).put, told, wrapped_key)


def _postgres(pool: Pool, database: Database) -> Intake:
    async def put_step(event_id: UUID, case_id: UUID, step: Step) -> None:
        async with pool.acquire() as connection, connection.transaction():
            await PostgresSteps(connection).put(event_id, case_id, step)

    async def told() -> list[tuple[Any, ...]]:
        rows = await pool.fetch("SELECT * FROM intake.outbox ORDER BY xid, seq")
        names = ("topic", "key", "header_names", "header_values", "value")
        return [tuple(row[name] for name in names) for row in rows]

    async def wrapped_key(case_id: UUID) -> bytes | None:
        query = "SELECT wrapped FROM vault.keys WHERE case_id = $1"
        found: bytes | None = await database.admin.fetchval(query, case_id)
        return found

    return Intake(PostgresApplications(pool), put_step, told, wrapped_key)


@pytest.fixture(params=["fake", "postgres"])
def intake(request: pytest.FixtureRequest) -> Intake:
    if request.param == "fake":
        return _fake()
    database = request.getfixturevalue("clean")
    return _postgres(request.getfixturevalue("pools")["intake"], database)


def application(**changes: Any) -> Application:
    values: dict[str, Any] = {
        "case_id": uuid4(),
        "number": f"20261124-{uuid4().int % 10**7:07d}-1",
        "service": "SVC-001",
        "facts": {"district": "大安區", "side_of_aiguo": None, "fee": 7, "urgent": True},
        "sealed": "c2VhbGVk",
        "received_at": NOW,
        "event_id": uuid4(),
        "person": uuid4().bytes,
        "key_sha256": None,
        "body_sha256": b"b" * 32,
    }
    return Application(**(values | changes))


def submitted(of: Application) -> Outgoing:
    event = examples.event(ApplicationSubmitted, id=of.event_id, case_id=of.case_id)
    return encode("applications.events", event)


async def put(intake: Intake, of: Application) -> None:
    await intake.applications.put(of, b"wrapped", submitted(of))


async def test_no_two_cases_get_the_same_sequence_even_when_many_ask_at_once(
    intake: Intake,
) -> None:
    found = await asyncio.gather(*(intake.applications.next_sequence() for _ in range(250)))

    assert len(set(found)) == 250
    assert min(found) >= 1


async def test_an_application_is_found_by_its_number(intake: Intake) -> None:
    kept = application()
    await put(intake, kept)
    await put(intake, application())

    assert await intake.applications.by_number(kept.number) == (
        kept.case_id,
        kept.service,
        kept.received_at,
    )


async def test_an_application_is_found_by_its_idempotency_key(intake: Intake) -> None:
    kept = application(key_sha256=b"k" * 32)
    await put(intake, kept)

    assert await intake.applications.by_key(b"k" * 32) == Known(
        kept.body_sha256, kept.case_id, kept.number, kept.received_at
    )


async def test_what_was_never_kept_is_not_found(intake: Intake) -> None:
    assert await intake.applications.by_number("20261124-0000001-1") is None
    assert await intake.applications.by_key(b"k" * 32) is None
    assert await intake.applications.steps(uuid4()) == []


async def test_application_key_and_event_are_kept_together(intake: Intake) -> None:
    kept = application()
    await put(intake, kept)

    assert await intake.told() == [Tables.row(submitted(kept))]
    assert await intake.wrapped_key(kept.case_id) == b"wrapped"


async def test_a_repeated_idempotency_key_is_refused_and_nothing_of_the_second_is_kept(
    intake: Intake,
) -> None:
    first, second = application(key_sha256=b"k" * 32), application(key_sha256=b"k" * 32)
    await put(intake, first)

    with pytest.raises(RepeatedKeyError):
        await put(intake, second)

    assert await intake.applications.by_number(second.number) is None
    assert await intake.wrapped_key(second.case_id) is None
    assert len(await intake.told()) == 1
    known = await intake.applications.by_key(b"k" * 32)
    assert known is not None
    assert known.case_id == first.case_id


async def test_of_many_with_one_idempotency_key_at_once_one_is_kept(intake: Intake) -> None:
    rivals = [application(key_sha256=b"k" * 32) for _ in range(8)]
    outcomes = await asyncio.gather(*(put(intake, one) for one in rivals), return_exceptions=True)

    assert sum(outcome is None for outcome in outcomes) == 1
    assert sum(isinstance(outcome, RepeatedKeyError) for outcome in outcomes) == 7
    assert len(await intake.told()) == 1


async def test_applications_without_a_key_are_never_the_same(intake: Intake) -> None:
    for _ in range(3):
        await put(intake, application())

    assert len(await intake.told()) == 3


def step(kind: str = "status", **changes: Any) -> Step:
    values: dict[str, Any] = {"happened_at": NOW, "kind": kind, "detail": {"items": ["護照"]}}
    return Step(**(values | changes))


async def test_steps_are_read_as_they_were_written_in_the_order_in_which_they_came(
    intake: Intake,
) -> None:
    case_id = uuid4()
    # The second happened before the first: what counts is when it was heard.
    steps = [
        step("routed", agency="DOSW", detail={"outcome": "rule", "due_on": None}),
        step("status", agency="DOSW", status="ACCEPTED", happened_at=NOW - timedelta(hours=1)),
        step("notice", status="sent", detail={}),
    ]
    for one in steps:
        await intake.put_step(uuid4(), case_id, one)

    assert await intake.applications.steps(case_id) == steps


async def test_a_step_of_the_same_event_is_kept_once(intake: Intake) -> None:
    event_id, case_id = uuid4(), uuid4()
    await intake.put_step(event_id, case_id, step("routed"))
    await intake.put_step(event_id, case_id, step("status"))

    assert [one.kind for one in await intake.applications.steps(case_id)] == ["routed"]


async def test_each_case_has_its_own_steps(intake: Intake) -> None:
    one, other = uuid4(), uuid4()
    await intake.put_step(uuid4(), one, step("routed"))
    await intake.put_step(uuid4(), other, step("status"))

    assert [s.kind for s in await intake.applications.steps(one)] == ["routed"]


# --- Keys


@pytest.fixture(params=["fake", "vault"])
def keys(request: pytest.FixtureRequest) -> Any:
    return FakeKeys() if request.param == "fake" else Vault(SecretStr("A" * 43 + "="))


def test_a_key_opens_what_it_sealed(keys: Any) -> None:
    key, _ = keys.new_key(uuid4())

    assert key.unseal(key.seal("王小明".encode())) == "王小明".encode()


def test_what_is_sealed_is_text_that_shows_nothing_and_is_never_the_same(keys: Any) -> None:
    key, _ = keys.new_key(uuid4())
    one, other = key.seal(b"A123456789"), key.seal(b"A123456789")

    assert one.isascii()
    assert "A123456789" not in one
    assert one != other


def test_every_case_has_a_key_of_its_own(keys: Any) -> None:
    (one, wrapped), (other, other_wrapped) = keys.new_key(uuid4()), keys.new_key(uuid4())

    assert wrapped != other_wrapped
    with pytest.raises(PermanentError) as refused:
        other.unseal(one.seal(b"x"))
    assert refused.value.code == "vault.broken"


async def _duplicates(intake: Intake, of: Application, contact: bytes = b"mail") -> list[Any]:
    since = NOW - timedelta(days=30)
    return await intake.applications.duplicates(of.case_id, of.person, contact, since)


async def test_the_same_persons_earlier_applications_are_found_the_newest_first(
    intake: Intake,
) -> None:
    mine = application()
    earlier = [application(person=mine.person, received_at=NOW - timedelta(days=n)) for n in (9, 2)]
    too_old = application(person=mine.person, received_at=NOW - timedelta(days=30))
    for one in (*earlier, too_old, application(), mine):
        await put(intake, one)

    found = await _duplicates(intake, mine)

    assert [one.number for one in found] == [earlier[1].number, earlier[0].number]
    assert [one.received_at for one in found] == [one.received_at for one in reversed(earlier)]


async def test_only_an_earlier_one_that_was_confirmed_from_there_is_known(intake: Intake) -> None:
    mine = application()
    for proven in (None, b"other", b"mail"):
        await put(intake, application(person=mine.person, proven=proven))

    assert [one.known for one in await _duplicates(intake, mine)].count(True) == 1
    assert [one.known for one in await _duplicates(intake, mine, b"nobody's")] == [False] * 3


async def test_those_that_anybody_can_send_hide_none_that_was_confirmed(intake: Intake) -> None:
    mine = application()
    earlier = application(person=mine.person, proven=b"mail", received_at=NOW - timedelta(days=20))
    await put(intake, earlier)
    for _ in range(6):
        await put(intake, application(person=mine.person))

    assert earlier.number in [one.number for one in await _duplicates(intake, mine)]


async def test_what_was_taken_back_is_no_duplicate(intake: Intake) -> None:
    mine, earlier = application(), application()
    await put(intake, replace(earlier, person=mine.person))
    assert await _duplicates(intake, mine)

    step = Step(NOW, "status", "DAAN", "WITHDRAWN", {})
    await intake.put_step(uuid4(), earlier.case_id, step)

    assert await _duplicates(intake, mine) == []


async def test_no_more_than_five_are_named(intake: Intake) -> None:
    mine = application()
    for _ in range(7):
        await put(intake, application(person=mine.person))

    assert len(await _duplicates(intake, mine)) == 5
