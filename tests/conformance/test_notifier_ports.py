"""The notifier's Ledger and Outcomes: the fake and PostgreSQL keep the same promises."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import pytest

from services.notifier.domain import Claimed, Notice
from services.notifier.handlers import Ledger, Outcomes
from services.notifier.store import PostgresLedger, PostgresOutcomes
from shared.contract.wire import Outgoing
from shared.runtime.postgres import Pool
from tests import examples
from tests.conformance.conftest import Database
from tests.examples import CASE, NOW, notice
from tests.fakes import FakeNotices

SEALED = "c2VhbGVk"


class Dispatching(Outcomes, Protocol):
    """The whole of what the adapter offers to the dispatcher."""

    async def claim(self, limit: int) -> list[Claimed]: ...
    async def give_up_lost(self) -> None: ...
    async def receipt(
        self, provider: str, provider_message_id: str, state: str, at: datetime
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Notifier:
    """The ports; what was told as (notice, state, reason, provider); and time that passes."""

    ledger: Ledger
    outcomes: Dispatching
    told: Callable[[], Awaitable[list[tuple[Any, ...]]]]
    end_leases: Callable[[], Awaitable[None]]

    async def keep(self, *notices: Notice) -> None:
        for one in notices:
            await self.ledger.put_recipient(one.case_id, SEALED)
            await self.ledger.put_notice(one)

    async def states(self) -> list[str]:
        return [row[1] for row in await self.told()]


def _fake() -> Notifier:
    fake = FakeNotices()

    async def told() -> list[tuple[Any, ...]]:
        return [(one.notice_id, one.state, one.reason, one.provider) for one in fake.told]

    async def end_leases() -> None:
        for row in fake.rows.values():
            if row.leased_until is not None:
                row.leased_until = datetime.now(UTC) - timedelta(seconds=1)

    return Notifier(fake, fake, told, end_leases)


class _EachAlone:
    """Each call to the ledger in a transaction of its own."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def put_recipient(self, case_id: Any, sealed: str) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await PostgresLedger(connection).put_recipient(case_id, sealed)

    async def put_notice(self, notice: Notice) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await PostgresLedger(connection).put_notice(notice)


def _postgres(pool: Pool, database: Database) -> Notifier:
    async def told() -> list[tuple[Any, ...]]:
        rows = await pool.fetch("SELECT * FROM notifier.outbox ORDER BY xid, seq")
        found = []
        for row in rows:
            assert row["topic"] == "notices.events"
            headers = tuple(zip(row["header_names"], row["header_values"], strict=True))
            event = examples.read_back(Outgoing(row["topic"], row["key"], headers, row["value"]))
            found.append((event.notice, event.state, event.reason, event.provider))
        return found

    async def end_leases() -> None:
        await database.admin.execute(
            "UPDATE notifier.notices SET leased_until = now() - interval '1 second'"
            " WHERE leased_until IS NOT NULL"
        )

    return Notifier(_EachAlone(pool), PostgresOutcomes(pool), told, end_leases)


@pytest.fixture(params=["fake", "postgres"])
def notifier(request: pytest.FixtureRequest) -> Notifier:
    if request.param == "fake":
        return _fake()
    database = request.getfixturevalue("clean")
    return _postgres(request.getfixturevalue("pools")["notifier"], database)


def elsewhere(**changes: Any) -> Notice:
    """A notice of another case."""
    return notice(case_id=uuid4(), **changes)


def ids(claimed: list[Claimed]) -> list[Any]:
    return [one.notice.notice_id for one in claimed]


async def sent(notifier: Notifier, one: Notice, message_id: str = "m-1") -> None:
    """Claim the notice and send it."""
    await notifier.keep(one)
    await notifier.outcomes.claim(10)
    await notifier.outcomes.record(one, "sent", provider="p", provider_message_id=message_id)


async def test_a_notice_is_claimed_as_it_was_kept(notifier: Notifier) -> None:
    one = notice(channel="mail", template="approved", context={"number": "7", "items": ["護照"]})
    await notifier.keep(one)

    (claimed,) = await notifier.outcomes.claim(10)

    assert claimed.notice == one
    assert (claimed.tries, claimed.sealed) == (1, SEALED)
    assert await notifier.told() == []


async def test_a_notice_that_is_kept_again_stays_as_it_was(notifier: Notifier) -> None:
    one = notice()
    await notifier.keep(one, notice(notice_id=one.notice_id, template="approved"))

    assert [c.notice for c in await notifier.outcomes.claim(10)] == [one]


async def test_a_notice_that_was_sent_is_not_sent_again_because_its_event_came_again(
    notifier: Notifier,
) -> None:
    one = notice()
    await sent(notifier, one)
    await notifier.keep(one)

    assert await notifier.outcomes.claim(10) == []


async def test_the_first_address_of_a_case_stays(notifier: Notifier) -> None:
    await notifier.keep(notice())
    await notifier.ledger.put_recipient(CASE, "another")

    assert [c.sealed for c in await notifier.outcomes.claim(10)] == [SEALED]


async def test_a_notice_whose_citizen_is_not_known_yet_waits(notifier: Notifier) -> None:
    await notifier.ledger.put_notice(notice())
    assert await notifier.outcomes.claim(10) == []

    await notifier.ledger.put_recipient(CASE, SEALED)
    assert len(await notifier.outcomes.claim(10)) == 1


async def test_the_oldest_are_claimed_first_and_no_more_than_asked_for(
    notifier: Notifier,
) -> None:
    kept = [elsewhere() for _ in range(5)]
    await notifier.keep(*kept)

    first, rest = await notifier.outcomes.claim(2), await notifier.outcomes.claim(10)

    assert set(ids(first)) == {one.notice_id for one in kept[:2]}
    assert set(ids(rest)) == {one.notice_id for one in kept[2:]}


async def _in_turn(notifier: Notifier) -> list[Any]:
    """Claim and send until nothing is left; each round as a set of notices."""
    rounds: list[set[Any]] = []
    while claimed := await notifier.outcomes.claim(10):
        for n, one in enumerate(claimed):
            message_id = f"{len(rounds)}-{n}"
            await notifier.outcomes.record(
                one.notice, "sent", provider="p", provider_message_id=message_id
            )
        rounds.append(set(ids(claimed)))
    return rounds


async def test_a_cases_later_notice_waits_until_the_earlier_one_has_been_tried(
    notifier: Notifier,
) -> None:
    first, second, other = notice(), notice(), elsewhere()
    await notifier.keep(first, second, other)

    assert set(ids(await notifier.outcomes.claim(10))) == {first.notice_id, other.notice_id}
    assert await notifier.outcomes.claim(10) == []  # the first is still being sent
    later = datetime.now(UTC) + timedelta(hours=1)
    await notifier.outcomes.record(first, "temporary_failure", "down", next_try_at=later)

    assert ids(await notifier.outcomes.claim(10)) == [second.notice_id]


async def test_one_channel_does_not_wait_for_the_other(notifier: Notifier) -> None:
    sms, mail = notice(channel="sms"), notice(channel="mail")
    await notifier.keep(sms, mail)

    assert await _in_turn(notifier) == [{sms.notice_id, mail.notice_id}]


async def test_what_happened_first_is_told_first_even_when_it_was_heard_later(
    notifier: Notifier,
) -> None:
    happened = examples.notice().expires_at
    second = notice(expires_at=happened + timedelta(seconds=1))
    first = notice(expires_at=happened)
    await notifier.keep(second, first)

    assert await _in_turn(notifier) == [{first.notice_id}, {second.notice_id}]


async def test_of_several_dispatchers_each_notice_is_claimed_by_one(notifier: Notifier) -> None:
    kept = [elsewhere() for _ in range(40)]
    await notifier.keep(*kept)

    claims = await asyncio.gather(*(notifier.outcomes.claim(10) for _ in range(8)))

    found = [notice_id for claim in claims for notice_id in ids(claim)]
    assert len(found) == len(set(found))
    assert set(found) <= {one.notice_id for one in kept}


@pytest.mark.parametrize(
    "state", ["sent", "unknown", "permanent_failure", "expired", "suppressed", "delivered"]
)
async def test_a_notice_that_came_to_an_end_is_not_claimed_again(
    notifier: Notifier, state: str
) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.outcomes.claim(10)
    await notifier.outcomes.record(one, state, "because")

    assert await notifier.outcomes.claim(10) == []
    assert await notifier.told() == [(one.notice_id, state, "because", "")]


async def test_after_a_temporary_failure_it_is_tried_again_when_its_time_has_come(
    notifier: Notifier,
) -> None:
    soon, later = elsewhere(), elsewhere()
    await notifier.keep(soon, later)
    await notifier.outcomes.claim(10)
    now = datetime.now(UTC)
    for one, at in ((soon, now - timedelta(seconds=1)), (later, now + timedelta(hours=1))):
        await notifier.outcomes.record(one, "temporary_failure", "down", next_try_at=at)

    (again,) = await notifier.outcomes.claim(10)

    assert (again.notice.notice_id, again.tries) == (soon.notice_id, 2)


async def test_every_outcome_is_told_once_in_order(notifier: Notifier) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.outcomes.claim(10)
    past = datetime.now(UTC) - timedelta(seconds=1)
    await notifier.outcomes.record(one, "temporary_failure", "down", next_try_at=past)
    await notifier.outcomes.claim(10)
    await notifier.outcomes.record(one, "sent", provider="p", provider_message_id="m-1")
    await notifier.outcomes.receipt("p", "m-1", "delivered", NOW)

    assert await notifier.told() == [
        (one.notice_id, "temporary_failure", "down", ""),
        (one.notice_id, "sent", "", "p"),
        (one.notice_id, "delivered", "", "p"),
    ]


async def test_a_receipt_that_comes_again_changes_and_tells_nothing(notifier: Notifier) -> None:
    await sent(notifier, notice())
    for _ in range(3):
        await notifier.outcomes.receipt("p", "m-1", "delivered", NOW)

    assert await notifier.states() == ["sent", "delivered"]


async def test_a_receipt_that_is_faster_than_the_answer_is_kept_until_it_fits(
    notifier: Notifier,
) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.outcomes.claim(10)
    await notifier.outcomes.receipt("p", "m-1", "delivered", NOW)
    assert await notifier.told() == []

    await notifier.outcomes.record(one, "sent", provider="p", provider_message_id="m-1")

    assert await notifier.states() == ["sent", "delivered"]


@pytest.mark.parametrize("failure", ["undeliverable", "rejected", "expired"])
async def test_a_receipt_of_failure_ends_the_notice_with_its_reason(
    notifier: Notifier, failure: str
) -> None:
    await sent(notifier, notice())
    await notifier.outcomes.receipt("p", "m-1", failure, NOW)

    assert (await notifier.told())[-1][1:] == ("permanent_failure", failure, "p")
    assert await notifier.outcomes.claim(10) == []


async def test_what_was_delivered_stays_delivered(notifier: Notifier) -> None:
    await sent(notifier, notice())
    await notifier.outcomes.receipt("p", "m-1", "delivered", NOW)
    await notifier.outcomes.receipt("p", "m-1", "expired", NOW)

    assert await notifier.states() == ["sent", "delivered"]


async def test_of_contrary_receipts_that_came_before_the_answer_delivered_is_believed(
    notifier: Notifier,
) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.outcomes.claim(10)
    await notifier.outcomes.receipt("p", "m-1", "expired", NOW)
    await notifier.outcomes.receipt("p", "m-1", "delivered", NOW + timedelta(minutes=1))

    await notifier.outcomes.record(one, "sent", provider="p", provider_message_id="m-1")

    assert await notifier.states() == ["sent", "delivered"]


@pytest.mark.parametrize(("provider", "message_id"), [("other", "m-1"), ("p", "M-1"), ("p", "m-")])
async def test_a_receipt_of_another_message_changes_nothing(
    notifier: Notifier, provider: str, message_id: str
) -> None:
    await sent(notifier, notice())
    await notifier.outcomes.receipt(provider, message_id, "delivered", NOW)

    assert await notifier.states() == ["sent"]


async def test_a_receipt_reaches_its_own_notice_among_many(notifier: Notifier) -> None:
    one, other = elsewhere(), elsewhere()
    await sent(notifier, one, "m-1")
    await sent(notifier, other, "m-2")

    await notifier.outcomes.receipt("p", "m-2", "delivered", NOW)

    assert (await notifier.told())[-1][:2] == (other.notice_id, "delivered")
    assert (await notifier.states()).count("delivered") == 1


async def test_a_notice_whose_dispatcher_died_while_sending_is_unknown_and_not_sent_again(
    notifier: Notifier,
) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.outcomes.claim(10)
    await notifier.end_leases()

    await notifier.outcomes.give_up_lost()
    await notifier.outcomes.give_up_lost()

    assert [(row[0], row[1]) for row in await notifier.told()] == [(one.notice_id, "unknown")]
    assert await notifier.outcomes.claim(10) == []


async def test_a_notice_whose_dispatcher_is_at_work_is_left_to_it(notifier: Notifier) -> None:
    await notifier.keep(notice())
    await notifier.outcomes.claim(10)

    await notifier.outcomes.give_up_lost()

    assert await notifier.told() == []


async def test_a_slow_dispatcher_that_was_given_up_can_still_say_that_it_was_sent(
    notifier: Notifier,
) -> None:
    one = notice(notice_id=uuid4())
    await notifier.keep(one)
    await notifier.outcomes.claim(10)
    await notifier.end_leases()
    await notifier.outcomes.give_up_lost()

    await notifier.outcomes.record(one, "sent", provider="p", provider_message_id="m-1")
    await notifier.outcomes.receipt("p", "m-1", "delivered", NOW)

    assert await notifier.states() == ["unknown", "sent", "delivered"]
