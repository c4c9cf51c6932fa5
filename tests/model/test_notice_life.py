"""A notice's life, step by step: dispatchers die between any two, providers answer as they like.

Whatever happens: no citizen gets a message twice that nobody ordered again, a message that a
provider took is never said to have failed, and in the end every notice has come to an end.
"""

import json
from collections import Counter
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.notifier.channels import (
    Accepted,
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    Receipt,
    TemporaryRefusal,
)
from services.notifier.domain import Choice, Claimed, Notice
from services.notifier.handlers import Result, Sender, destination_of
from services.notifier.links import Links
from services.notifier.messages import Messages
from services.notifier.routes import Route, Routes
from tests import examples
from tests.fakes import FakeNotices

T = TypeVar("T")
MESSAGES = Messages.load()
TEMPLATES = ("received", "assigned", "accepted", "correction_requested", "corrected", "approved")
ANSWERS = ("taken", "taken in silence", "lost in silence", "not now", "never", "a bug")
BEGIN = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)  # nine in the morning in the city
CONTACT = json.dumps({"contact": {"phone": "+886912345678", "email": "a@b.example"}}).encode()
ENDS = {
    *("sent", "delivered", "unknown", "permanent_failure"),
    *("expired", "cancelled", "suppressed"),
}


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it comes to; nothing here ever waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("it waited")


class Provider:
    """Takes messages, and writes down which, whatever it answers."""

    def __init__(self, name: str, life: "NoticeLife") -> None:
        self.name = name
        self._life = life

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def send(self, message: Outgoing) -> Accepted:
        return self._life.answer(self.name, message)


class NoticeLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = BEGIN
        self.ledger = FakeNotices(lambda: self.clock)
        self.notices: dict[UUID, Notice] = {}
        # What providers took: the witness. And what operators ordered again.
        self.taken: list[tuple[str, str, UUID]] = []
        self.ordered: Counter[UUID] = Counter()
        # What dispatchers hold in memory, and lose when they die.
        self.claimed: list[Claimed] = []
        self.results: list[Result] = []
        self.next_answer = "taken"
        self.sender = Sender(
            {
                channel: Routes(
                    [Route(Provider("a", self)), Route(Provider("b", self))],
                    100,
                    self._no_limit,
                    lambda: (self.clock - BEGIN).total_seconds(),
                    lambda: self.clock,
                    lambda: 0.3,
                )
                for channel in ("sms", "mail")
            },
            MESSAGES,
            Links(b"secret", "https://cases.example"),
            "https://cases.example/",
            (21, 8),
            lambda: self.clock,
            lambda: 0.5,
        )

    async def _no_limit(self, provider: str, rate_per_s: float, wanted: int) -> int:
        return wanted

    def answer(self, provider: str, message: Outgoing) -> Accepted:
        message_id = f"m-{len(self.taken)}"
        if self.next_answer in ("taken", "taken in silence"):
            self.taken.append((provider, message_id, message.notice_id))
        match self.next_answer:
            case "taken":
                return Accepted((message_id,))
            case "not now":
                raise TemporaryRefusal("sms.throttled")
            case "never":
                raise PermanentRefusal("sms.invdstadr")
            case "a bug":
                raise RuntimeError
        raise OutcomeUnknown("sms.no_answer")

    @initialize()
    def a_citizen(self) -> None:
        now(self.ledger.put_recipient(examples.CASE, examples.NUMBER, "sealed"))

    @rule(template=st.sampled_from(TEMPLATES), channel=st.sampled_from(["sms", "mail"]))
    def something_happens(self, template: str, channel: Any) -> None:
        one = examples.notice(
            notice_id=uuid4(), template=template, channel=channel, happened_at=self.clock
        )
        self.notices[one.notice_id] = one
        now(self.ledger.put_notice(one))
        self.clock += timedelta(milliseconds=10)

    @precondition(lambda self: self.notices)
    @rule(data=st.data())
    def its_event_comes_again(self, data: st.DataObject) -> None:
        now(self.ledger.put_notice(data.draw(st.sampled_from(list(self.notices.values())))))

    @precondition(lambda self: self.due())
    @rule(limit=st.integers(1, 5))
    def claim(self, limit: int) -> None:
        for channel in ("sms", "mail"):
            self.claimed += now(self.ledger.claim(channel, limit))

    def due(self) -> bool:
        return any(
            row.state in ("created", "deferred", "temporary_failure")
            and row.next_try_at <= self.clock
            for row in self.ledger.rows.values()
        )

    @precondition(lambda self: self.claimed)
    @rule(answer=st.sampled_from(ANSWERS))
    def send(self, answer: str) -> None:
        self.next_answer = answer
        one = self.claimed.pop(0)
        to = destination_of(one.notice, CONTACT)
        self.results.append(now(self.sender.send(one, to, Choice())))

    @precondition(lambda self: self.results)
    @rule(count=st.integers(1, 5), late=st.booleans())
    def keep(self, count: int, late: bool) -> None:
        """Several dispatchers: what was known first may be kept last."""
        at = len(self.results) - count if late and count < len(self.results) else 0
        kept = self.results[at : at + count]
        self.results = self.results[:at] + self.results[at + count :]
        now(self.ledger.record(kept))

    @precondition(lambda self: self.claimed or self.results)
    @rule()
    def die(self) -> None:
        """kill -9: nothing of what was in memory is ever known again."""
        self.claimed, self.results = [], []

    @rule(seconds=st.sampled_from([1, 40, 70, 600, 12_000, 40_000]))
    def time_passes(self, seconds: int) -> None:
        self.clock += timedelta(seconds=seconds)

    @precondition(lambda self: any(r.state == "sending" for r in self.ledger.rows.values()))
    @rule()
    def somebody_looks_for_the_dead(self) -> None:
        # A lease that has run out is given up; who held it may still wake, and is late.
        now(self.ledger.give_up_lost())

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), state=st.sampled_from(["delivered", "undeliverable", "unknown"]))
    def a_receipt_comes(self, data: st.DataObject, state: str) -> None:
        stranger = ("a", "stranger", uuid4())
        provider, message_id, _ = data.draw(st.sampled_from([*self.taken, stranger]))
        now(self.ledger.receipts([Receipt(provider, message_id, state, self.clock)]))

    @precondition(lambda self: any(r.state == "unknown" for r in self.ledger.rows.values()))
    @rule()
    def an_operator_orders_it_again(self) -> None:
        row = next(r for r in self.ledger.rows.values() if r.state == "unknown")
        self.ordered[row.notice.notice_id] += 1
        row.state, row.tries, row.next_try_at = "created", 0, self.clock
        row.expires_at = max(row.expires_at, self.clock + timedelta(days=2))

    @invariant()
    def nobody_gets_twice_what_was_not_ordered_again(self) -> None:
        copies = Counter(notice_id for _, _, notice_id in self.taken)
        for notice_id, count in copies.items():
            assert count <= 1 + self.ordered[notice_id]

    @invariant()
    def what_was_delivered_was_taken(self) -> None:
        taken = {notice_id for _, _, notice_id in self.taken}
        for row in self.ledger.rows.values():
            if row.state in ("sent", "delivered"):
                assert row.notice.notice_id in taken

    @invariant()
    def what_arrived_has_arrived(self) -> None:
        for told in self.ledger.told:
            if told.state == "delivered":
                assert self.ledger.rows[told.notice_id].state == "delivered"

    @invariant()
    def the_event_stream_says_what_the_ledger_says(self) -> None:
        last = {told.notice_id: told.state for told in self.ledger.told}
        for row in self.ledger.rows.values():
            if row.state in ENDS:
                assert last[row.notice.notice_id] == row.state

    def teardown(self) -> None:
        """Once nobody dies any more all come to an end, and what was taken is not lost."""
        self.claimed, self.results = [], []
        for _ in range(200):
            self.clock += timedelta(minutes=20)
            now(self.ledger.give_up_lost())
            for channel in ("sms", "mail"):
                self.claim_and_send_all(channel)
            if all(row.state in ENDS for row in self.ledger.rows.values()):
                break
        self.nobody_gets_twice_what_was_not_ordered_again()
        self.the_event_stream_says_what_the_ledger_says()
        for row in self.ledger.rows.values():
            assert row.state in ENDS, row
        taken = {notice_id for _, _, notice_id in self.taken}
        for row in self.ledger.rows.values():
            # What was ordered again may have become old news meanwhile.
            if row.notice.notice_id in taken and not self.ordered[row.notice.notice_id]:
                assert row.state in ("sent", "delivered", "unknown", "permanent_failure"), row

    def claim_and_send_all(self, channel: str) -> None:
        while claimed := now(self.ledger.claim(channel, 10)):
            self.next_answer = "taken"
            results = [
                now(self.sender.send(one, destination_of(one.notice, CONTACT), Choice()))
                for one in claimed
            ]
            now(self.ledger.record(results))


TestNoticeLife = NoticeLife.TestCase
TestNoticeLife.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
