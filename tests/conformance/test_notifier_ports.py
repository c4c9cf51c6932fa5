"""The notifier's Ledger and Outcomes: the fake and PostgreSQL keep the same promises."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from services.notifier.channels import Accepted, Receipt
from services.notifier.domain import CHANNELS, Choice, Claimed, Notice
from services.notifier.handlers import Ledger, Outcomes, Result
from services.notifier.routes import Attempt, Sent
from services.notifier.store import PostgresLedger, PostgresOutcomes, sql
from shared.contract.wire import Outgoing
from shared.runtime.postgres import Pool
from tests import examples
from tests.conformance.conftest import Database
from tests.examples import CASE, NOW, NUMBER, notice
from tests.fakes import FakeNotices

SEALED = "c2VhbGVk"


def became(
    one: Notice,
    state: str,
    reason: str = "",
    *,
    provider: str | None = None,
    message_ids: Sequence[str] = (),
    next_try_at: datetime | None = None,
    address: bytes | None = None,
) -> Result:
    """What became of a claimed notice: with a provider that was asked, or without."""
    sent = None
    if provider is not None:
        outcome = "accepted" if message_ids else "refused"
        attempt = Attempt(provider, NOW, NOW, outcome, reason)
        sent = Sent((attempt,), Accepted(tuple(message_ids)) if message_ids else None)
    return Result(one, state, reason, sent, len(message_ids), next_try_at, address)


@dataclass(frozen=True, slots=True)
class Notifier:
    """The ports; what was told as (notice, state, reason, provider); and time that passes."""

    ledger: Ledger
    outcomes: Outcomes
    told: Callable[[], Awaitable[list[tuple[Any, ...]]]]
    end_leases: Callable[[], Awaitable[None]]

    async def keep(self, *notices: Notice) -> None:
        for one in notices:
            await self.ledger.put_recipient(one.case_id, one.number, SEALED)
            await self.ledger.put_notice(one)

    async def states(self) -> list[str]:
        return [row[1] for row in await self.told()]

    async def claim(self, limit: int = 10) -> list[Claimed]:
        """What is due on both channels."""
        return [one for channel in CHANNELS for one in await self.outcomes.claim(channel, limit)]

    async def record(self, one: Notice, state: str, reason: str = "", **more: Any) -> None:
        await self.outcomes.record([became(one, state, reason, **more)])

    async def receipt(self, provider: str, message_id: str, state: str, **more: Any) -> None:
        await self.outcomes.receipts([Receipt(provider, message_id, state, NOW, **more)])


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

    async def put_recipient(self, case_id: Any, number: str, sealed: str) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await PostgresLedger(connection).put_recipient(case_id, number, sealed)

    async def close_case(self, case_id: Any, at: datetime) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await PostgresLedger(connection).close_case(case_id, at)

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
    await notifier.claim()
    await notifier.record(one, "sent", provider="p", message_ids=[message_id])


async def test_a_notice_is_claimed_as_it_was_kept(notifier: Notifier) -> None:
    one = notice(channel="mail", template="approved", context={"number": "7", "items": ["護照"]})
    await notifier.keep(one)

    (claimed,) = await notifier.claim()

    assert claimed.notice == one
    assert (claimed.tries, claimed.sealed) == (1, SEALED)
    assert await notifier.told() == []


async def test_a_notice_that_is_kept_again_stays_as_it_was(notifier: Notifier) -> None:
    one = notice()
    await notifier.keep(one, notice(notice_id=one.notice_id, template="approved"))

    assert [c.notice for c in await notifier.claim()] == [one]


async def test_a_notice_that_was_sent_is_not_sent_again_because_its_event_came_again(
    notifier: Notifier,
) -> None:
    one = notice()
    await sent(notifier, one)
    await notifier.keep(one)

    assert await notifier.claim() == []


async def test_the_last_address_of_a_case_counts(notifier: Notifier) -> None:
    """A form may be changed after a link to confirm it was sent."""
    await notifier.keep(notice())
    await notifier.ledger.put_recipient(CASE, NUMBER, "another")

    assert [c.sealed for c in await notifier.claim()] == ["another"]


async def test_a_notice_whose_citizen_is_not_known_yet_waits(notifier: Notifier) -> None:
    await notifier.ledger.put_notice(notice())
    assert await notifier.claim() == []

    await notifier.ledger.put_recipient(CASE, NUMBER, SEALED)
    assert len(await notifier.claim()) == 1


async def test_the_oldest_are_claimed_first_and_no_more_than_asked_for(
    notifier: Notifier,
) -> None:
    kept = [elsewhere() for _ in range(5)]
    await notifier.keep(*kept)

    first, rest = await notifier.claim(2), await notifier.claim()

    assert set(ids(first)) == {one.notice_id for one in kept[:2]}
    assert set(ids(rest)) == {one.notice_id for one in kept[2:]}


async def _in_turn(notifier: Notifier) -> list[Any]:
    """Claim and send until nothing is left; each round as a set of notices."""
    rounds: list[set[Any]] = []
    while claimed := await notifier.claim():
        for n, one in enumerate(claimed):
            message_id = f"{len(rounds)}-{n}"
            await notifier.record(one.notice, "sent", provider="p", message_ids=[message_id])
        rounds.append(set(ids(claimed)))
    return rounds


async def test_a_cases_later_notice_waits_until_the_earlier_one_has_been_tried(
    notifier: Notifier,
) -> None:
    first, second, other = notice(), notice(), elsewhere()
    await notifier.keep(first, second, other)

    assert set(ids(await notifier.claim())) == {first.notice_id, other.notice_id}
    assert await notifier.claim() == []  # the first is still being sent
    later = datetime.now(UTC) + timedelta(hours=1)
    await notifier.record(first, "temporary_failure", "down", provider="p", next_try_at=later)

    assert ids(await notifier.claim()) == [second.notice_id]


async def test_one_channel_does_not_wait_for_the_other(notifier: Notifier) -> None:
    sms, mail = notice(channel="sms"), notice(channel="mail")
    await notifier.keep(sms, mail)

    assert await _in_turn(notifier) == [{sms.notice_id, mail.notice_id}]


async def test_what_happened_first_is_told_first_even_when_it_was_heard_later(
    notifier: Notifier,
) -> None:
    second = notice(happened_at=NOW + timedelta(seconds=1))
    first = notice(happened_at=NOW)
    await notifier.keep(second, first)

    assert await _in_turn(notifier) == [{first.notice_id}, {second.notice_id}]


async def test_of_several_dispatchers_each_notice_is_claimed_by_one(notifier: Notifier) -> None:
    kept = [elsewhere() for _ in range(40)]
    await notifier.keep(*kept)

    claims = await asyncio.gather(*(notifier.outcomes.claim("sms", 10) for _ in range(8)))

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
    await notifier.claim()
    await notifier.record(one, state, "because")

    assert await notifier.claim() == []
    assert await notifier.told() == [(one.notice_id, state, "because", "")]


async def test_after_a_temporary_failure_it_is_tried_again_when_its_time_has_come(
    notifier: Notifier,
) -> None:
    soon, later = elsewhere(), elsewhere()
    await notifier.keep(soon, later)
    await notifier.claim()
    now = datetime.now(UTC)
    for one, at in ((soon, now - timedelta(seconds=1)), (later, now + timedelta(hours=1))):
        await notifier.record(one, "temporary_failure", "down", provider="p", next_try_at=at)

    (again,) = await notifier.claim()

    assert (again.notice.notice_id, again.tries) == (soon.notice_id, 2)


async def test_every_outcome_is_told_once_in_order(notifier: Notifier) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.claim()
    past = datetime.now(UTC) - timedelta(seconds=1)
    await notifier.record(one, "temporary_failure", "down", provider="p", next_try_at=past)
    await notifier.claim()
    await notifier.record(one, "sent", provider="p", message_ids=["m-1"])
    await notifier.receipt("p", "m-1", "delivered")

    assert await notifier.told() == [
        (one.notice_id, "temporary_failure", "down", "p"),
        (one.notice_id, "sent", "", "p"),
        (one.notice_id, "delivered", "", "p"),
    ]


async def test_a_receipt_that_comes_again_changes_and_tells_nothing(notifier: Notifier) -> None:
    await sent(notifier, notice())
    for _ in range(3):
        await notifier.receipt("p", "m-1", "delivered")

    assert await notifier.states() == ["sent", "delivered"]


async def test_a_receipt_that_is_faster_than_the_answer_is_kept_until_it_fits(
    notifier: Notifier,
) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.claim()
    await notifier.receipt("p", "m-1", "delivered")
    assert await notifier.told() == []

    await notifier.record(one, "sent", provider="p", message_ids=["m-1"])

    assert await notifier.states() == ["sent", "delivered"]


@pytest.mark.parametrize("failure", ["undeliverable", "rejected", "expired"])
async def test_a_receipt_of_failure_ends_the_notice_with_its_reason(
    notifier: Notifier, failure: str
) -> None:
    await sent(notifier, notice())
    await notifier.receipt("p", "m-1", failure)

    assert (await notifier.told())[-1][1:] == ("permanent_failure", failure, "p")
    assert await notifier.claim() == []


async def test_what_was_delivered_stays_delivered(notifier: Notifier) -> None:
    await sent(notifier, notice())
    await notifier.receipt("p", "m-1", "delivered")
    await notifier.receipt("p", "m-1", "expired")

    assert await notifier.states() == ["sent", "delivered"]


async def test_of_contrary_receipts_that_came_before_the_answer_delivered_is_believed(
    notifier: Notifier,
) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.claim()
    await notifier.receipt("p", "m-1", "expired")
    await notifier.receipt("p", "m-1", "delivered")

    await notifier.record(one, "sent", provider="p", message_ids=["m-1"])

    assert await notifier.states() == ["sent", "delivered"]


@pytest.mark.parametrize(("provider", "message_id"), [("other", "m-1"), ("p", "M-1"), ("p", "m-")])
async def test_a_receipt_of_another_message_changes_nothing(
    notifier: Notifier, provider: str, message_id: str
) -> None:
    await sent(notifier, notice())
    await notifier.receipt(provider, message_id, "delivered")

    assert await notifier.states() == ["sent"]


async def test_a_receipt_reaches_its_own_notice_among_many(notifier: Notifier) -> None:
    one, other = elsewhere(), elsewhere()
    await sent(notifier, one, "m-1")
    await sent(notifier, other, "m-2")

    await notifier.receipt("p", "m-2", "delivered")

    assert (await notifier.told())[-1][:2] == (other.notice_id, "delivered")
    assert (await notifier.states()).count("delivered") == 1


async def test_a_notice_whose_dispatcher_died_while_sending_is_unknown_and_not_sent_again(
    notifier: Notifier,
) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.claim()
    await notifier.end_leases()

    await notifier.outcomes.give_up_lost()
    await notifier.outcomes.give_up_lost()

    assert [(row[0], row[1]) for row in await notifier.told()] == [(one.notice_id, "unknown")]
    assert await notifier.claim() == []


async def test_a_notice_whose_dispatcher_is_at_work_is_left_to_it(notifier: Notifier) -> None:
    await notifier.keep(notice())
    await notifier.claim()

    await notifier.outcomes.give_up_lost()

    assert await notifier.told() == []


async def test_a_slow_dispatcher_that_was_given_up_can_still_say_that_it_was_sent(
    notifier: Notifier,
) -> None:
    one = notice(notice_id=uuid4())
    await notifier.keep(one)
    await notifier.claim()
    await notifier.end_leases()
    await notifier.outcomes.give_up_lost()

    await notifier.record(one, "sent", provider="p", message_ids=["m-1"])
    await notifier.receipt("p", "m-1", "delivered")

    assert await notifier.states() == ["unknown", "sent", "delivered"]


# --- old news, deferral, tries that do not count


async def test_a_notice_is_superseded_by_a_later_one_that_says_it_too(notifier: Notifier) -> None:
    first = notice(template="received")
    second = notice(template="assigned", happened_at=NOW + timedelta(seconds=1))
    await notifier.keep(second, first)

    (claimed,) = await notifier.claim()
    assert (claimed.notice.notice_id, claimed.superseded) == (first.notice_id, True)
    await notifier.record(first, "cancelled", "superseded")

    (claimed,) = await notifier.claim()
    assert (claimed.notice.notice_id, claimed.superseded) == (second.notice_id, False)


@pytest.mark.parametrize(
    ("earlier", "later", "superseded"),
    [
        ("correction_requested", "accepted", False),
        ("correction_requested", "corrected", True),
        ("approved", "withdrawn", False),
        ("accepted", "approved", True),
    ],
)
async def test_what_still_asks_for_something_is_not_old_news(
    notifier: Notifier, earlier: str, later: str, superseded: bool
) -> None:
    second = notice(template=later, happened_at=NOW + timedelta(seconds=1))
    await notifier.keep(notice(template=earlier), second)

    assert [one.superseded for one in await notifier.claim()] == [superseded]


@pytest.mark.parametrize("state", ["permanent_failure", "unknown", "suppressed", "expired"])
async def test_a_later_notice_that_nobody_got_supersedes_nothing(
    notifier: Notifier, state: str
) -> None:
    second = notice(template="assigned", happened_at=NOW + timedelta(seconds=1))
    await notifier.keep(second)
    await notifier.claim()
    await notifier.record(second, state)
    await notifier.keep(notice(template="received"))

    assert [one.superseded for one in await notifier.claim()] == [False]


async def test_the_other_channel_and_other_cases_supersede_nothing(notifier: Notifier) -> None:
    late = {"template": "approved", "happened_at": NOW + timedelta(seconds=1)}
    await notifier.keep(notice(), notice(channel="mail", **late), elsewhere(**late))

    superseded = {one.notice.template: one.superseded for one in await notifier.claim()}
    assert superseded == {"received": False, "approved": False}


async def test_what_is_deferred_waits_for_its_time_and_was_no_try(notifier: Notifier) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.claim()
    later = datetime.now(UTC) + timedelta(hours=1)
    await notifier.record(one, "deferred", "quiet hours", next_try_at=later)
    assert await notifier.claim() == []

    await notifier.keep(other := notice(channel="mail"))
    await notifier.claim()
    past = datetime.now(UTC) - timedelta(seconds=1)
    await notifier.record(other, "deferred", "quiet hours", next_try_at=past)

    (again,) = await notifier.claim()
    assert (again.notice.notice_id, again.tries) == (other.notice_id, 1)
    assert await notifier.states() == ["deferred", "deferred"]


async def test_a_channel_is_claimed_by_itself(notifier: Notifier) -> None:
    sms, mail = notice(channel="sms"), notice(channel="mail")
    await notifier.keep(sms, mail)

    assert ids(await notifier.outcomes.claim("mail", 10)) == [mail.notice_id]
    assert ids(await notifier.outcomes.claim("sms", 10)) == [sms.notice_id]


# --- messages of several parts, and tries of several providers


async def test_a_message_is_delivered_once_every_part_is(notifier: Notifier) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.claim()
    await notifier.record(one, "sent", provider="p", message_ids=["a", "b", "c"])
    await notifier.receipt("p", "c", "delivered")
    await notifier.receipt("p", "a", "delivered")
    assert await notifier.states() == ["sent"]

    await notifier.receipt("p", "b", "delivered")

    assert await notifier.states() == ["sent", "delivered"]


async def test_a_message_of_which_a_part_failed_has_failed(notifier: Notifier) -> None:
    one = notice()
    await notifier.keep(one)
    await notifier.claim()
    await notifier.record(one, "sent", provider="p", message_ids=["a", "b"])
    await notifier.receipt("p", "b", "undeliverable")
    await notifier.receipt("p", "a", "delivered")

    assert (await notifier.told())[-1][1:3] == ("permanent_failure", "undeliverable")
    assert await notifier.states() == ["sent", "permanent_failure"]


async def test_what_was_said_to_have_failed_and_is_delivered_after_all_is_delivered(
    notifier: Notifier,
) -> None:
    await sent(notifier, notice())
    await notifier.receipt("p", "m-1", "expired")
    await notifier.receipt("p", "m-1", "delivered")

    assert await notifier.states() == ["sent", "permanent_failure", "delivered"]


async def test_a_provider_that_does_not_know_says_nothing(notifier: Notifier) -> None:
    await sent(notifier, notice())
    await notifier.receipt("p", "m-1", "unknown")

    assert await notifier.states() == ["sent"]


async def test_a_receipt_with_our_own_reference_settles_what_was_unknown(
    notifier: Notifier,
) -> None:
    one = notice(channel="mail")
    await notifier.keep(one)
    await notifier.claim()
    await notifier.record(one, "unknown", "mail.link_lost", provider="p")

    await notifier.receipt("bounces", "", "delivered", notice_id=one.notice_id)

    assert await notifier.states() == ["unknown", "delivered"]


async def test_a_receipt_with_our_own_reference_may_be_faster_than_the_answer(
    notifier: Notifier,
) -> None:
    one = notice(channel="mail")
    await notifier.keep(one)
    await notifier.claim()
    await notifier.receipt("bounces", "", "undeliverable", notice_id=one.notice_id)
    assert await notifier.states() == []

    await notifier.record(one, "sent", provider="p", message_ids=["<m@casebus.example>"])
    await notifier.receipt("bounces", "", "undeliverable", notice_id=one.notice_id)

    assert await notifier.states() == ["sent", "permanent_failure"]


async def test_a_receipt_for_a_notice_that_is_unknown_here_is_kept_and_changes_nothing(
    notifier: Notifier,
) -> None:
    await notifier.receipt("bounces", "", "delivered", notice_id=uuid4())
    await notifier.receipt("p", "never-sent", "delivered")

    assert await notifier.told() == []


async def test_many_results_and_receipts_are_taken_together(notifier: Notifier) -> None:
    kept = [elsewhere() for _ in range(30)]
    await notifier.keep(*kept)
    await notifier.claim(30)
    results = [
        became(one, "sent", provider="p", message_ids=[f"m-{n}"]) for n, one in enumerate(kept)
    ]
    await notifier.outcomes.record(results)
    await notifier.outcomes.receipts(
        [Receipt("p", f"m-{n}", "delivered", NOW) for n in range(30)] * 2
    )

    told = await notifier.told()
    assert len(told) == 60
    assert {row[0] for row in told if row[1] == "delivered"} == {one.notice_id for one in kept}


async def test_a_result_that_comes_late_does_not_undo_what_is_known(notifier: Notifier) -> None:
    one = notice()
    await sent(notifier, one)
    await notifier.receipt("p", "m-1", "delivered")

    await notifier.record(one, "temporary_failure", "late", provider="p")

    assert await notifier.states() == ["sent", "delivered"]


# --- addresses


async def test_an_address_that_will_never_work_gets_no_more(notifier: Notifier) -> None:
    one = notice(channel="mail")
    await notifier.keep(one)
    await notifier.claim()
    await notifier.record(one, "sent", provider="p", message_ids=["m"], address=b"address")
    assert await notifier.outcomes.choices([b"address"]) == {}

    for _ in range(2):
        await notifier.receipt(
            "bounces", "", "undeliverable", notice_id=one.notice_id, code="5.1.1", hard=True
        )

    found = await notifier.outcomes.choices([b"address", b"another"])
    assert found == {b"address": Choice(False, "provider")}


async def test_a_full_mailbox_is_asked_again_next_time(notifier: Notifier) -> None:
    one = notice(channel="mail")
    await notifier.keep(one)
    await notifier.claim()
    await notifier.record(one, "sent", provider="p", message_ids=["m"], address=b"address")
    await notifier.receipt("bounces", "", "undeliverable", notice_id=one.notice_id, code="5.2.2")

    assert await notifier.outcomes.choices([b"address"]) == {}


async def test_what_was_chosen_last_counts_and_nothing_is_changed(
    pools: dict[str, Pool], clean: Database
) -> None:
    pool = pools["notifier"]
    for wants in (False, True, False):
        await sql.put_choice(
            pool,
            address=b"address",
            channel="sms",
            wants=wants,
            language="en",
            quiet="22-7",
            given_by="citizen",
            reason="",
        )

    found = await PostgresOutcomes(pool).choices([b"address"])

    assert found == {b"address": Choice(False, "citizen", "en", (22, 7))}
    for forbidden in ("UPDATE notifier.consents SET wants = true", "DELETE FROM notifier.consents"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(forbidden)
