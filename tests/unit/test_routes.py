"""Which provider carries a message: breakers, shares, rates, and another one after a refusal."""

import random
from collections import Counter
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.channels import (
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    TemporaryRefusal,
)
from services.notifier.routes import FAILURES_TO_OPEN, Breaker, Route, Routes
from tests.fakes import FakeProvider

DOWN = TemporaryRefusal("sms.no_connection")


class City:
    """Some providers, a clock, and what they may send."""

    def __init__(self, *routes: Route, places: int = 100, tokens: int | None = None) -> None:
        self.now_s = 0.0
        self.tokens = tokens
        self.asked_for = Counter[str]()
        self._random = random.Random(1)
        self.routes = Routes(
            routes,
            places,
            self._take,
            lambda: self.now_s,
            lambda: datetime.now(UTC),
            self._random.random,
        )

    async def _take(self, provider: str, rate_per_s: float, wanted: int) -> int:
        self.asked_for[provider] += wanted
        if self.tokens is None:
            return wanted
        granted = min(wanted, self.tokens)
        self.tokens -= granted
        return granted

    async def send(self, count: int = 1, segments: int = 1) -> list[str]:
        """So many messages; of each the provider and the outcome of each attempt."""
        found = []
        for _ in range(count):
            message = Outgoing(uuid4(), "+886912345678", "", "text", "en")
            sent = await self.routes.send(message, segments)
            found.append(" ".join(f"{one.provider}:{one.outcome}" for one in sent.attempts))
        return found


def provider(name: str, *answers: Exception | None, **settings: float) -> Route:
    return Route(FakeProvider(*answers, name=name), **settings)  # type: ignore[arg-type]


async def test_messages_are_shared_by_weight() -> None:
    city = City(provider("a", weight=3), provider("b", weight=1))

    shares = Counter(await city.send(4000))

    assert 2.6 < shares["a:accepted"] / shares["b:accepted"] < 3.4


async def test_who_brings_receipts_late_gets_less() -> None:
    slow, quick = provider("slow"), provider("quick")
    slow.receipt_p95_s, quick.receipt_p95_s = 30.0, 0.2
    city = City(slow, quick)

    shares = Counter(await city.send(3000))

    assert 20 < shares["quick:accepted"] / shares["slow:accepted"] < 45


async def test_a_definite_refusal_goes_to_the_others_each_once() -> None:
    city = City(provider("a", DOWN), provider("b", DOWN), provider("c", DOWN))

    (attempts,) = await city.send()

    assert sorted(attempts.split()) == ["a:refused", "b:refused", "c:refused"]


async def test_after_ten_seconds_nobody_else_is_asked_within_the_same_lease() -> None:
    class Slow(FakeProvider):
        async def send(self, message: Outgoing) -> object:  # type: ignore[override]
            city.now_s += 10.5
            raise DOWN

    city = City(Route(Slow(name="a")), Route(Slow(name="b")))

    (attempts,) = await city.send()

    assert len(attempts.split()) == 1


async def test_five_failures_in_a_row_open_the_breaker_and_one_message_finds_out() -> None:
    bad = provider("bad", *[DOWN] * (FAILURES_TO_OPEN + 1))
    city = City(bad)
    await city.send(FAILURES_TO_OPEN)
    assert await city.routes.room(0) == 0
    assert await city.send() == [""]

    city.now_s = 5.0
    assert await city.routes.room(0) == 1
    assert await city.send(2) == ["bad:refused", ""]  # it is not well yet
    city.now_s = 14.9
    assert await city.send() == [""]  # longer this time

    city.now_s = 15.0
    assert await city.send(3) == ["bad:accepted"] * 3
    assert await city.routes.room(0) == 100


async def test_one_throttled_number_among_ten_thousand_holds_nobody_up() -> None:
    class Throttles(FakeProvider):
        async def send(self, message: Outgoing) -> object:  # type: ignore[override]
            if message.to == "+886900000088":
                raise TemporaryRefusal("sms.throttled")
            return await super().send(message)

    city = City(Route(Throttles(name="a")))
    outcomes = Counter[str]()
    for number in range(10_000):
        to = "+886900000088" if number % 100 == 0 else "+886912345678"
        sent = await city.routes.send(Outgoing(uuid4(), to, "", "text", "en"), 1)
        outcomes[sent.attempts[-1].outcome] += 1

    assert outcomes == {"accepted": 9900, "refused": 100}


@pytest.mark.parametrize("code", ["mail.refused_450", "mail.refused_451", "mail.refused_452"])
async def test_a_busy_mailbox_says_nothing_of_who_carries(code: str) -> None:
    city = City(provider("relay", *[TemporaryRefusal(code)] * 20))

    await city.send(20)

    assert await city.routes.room(0) == 100


async def test_silence_opens_the_breaker_as_refusals_do() -> None:
    city = City(provider("a", *[OutcomeUnknown("sms.no_answer")] * FAILURES_TO_OPEN))

    await city.send(FAILURES_TO_OPEN)

    assert await city.routes.room(0) == 0


async def test_a_message_that_is_refused_for_good_is_a_sound_answer() -> None:
    answers = [DOWN] * (FAILURES_TO_OPEN - 1) + [PermanentRefusal("sms.invdstadr"), DOWN]
    city = City(provider("a", *answers))

    await city.send(len(answers))

    assert await city.routes.room(0) == 100


async def test_while_one_is_open_the_others_carry_all() -> None:
    city = City(provider("bad", *[DOWN] * 5, weight=1000), provider("good"))
    await city.send(5)

    assert set(await city.send(50)) == {"good:accepted"}
    assert await city.routes.room(0) == 100


async def test_a_rate_is_kept_and_counts_parts() -> None:
    city = City(provider("a", rate_per_s=10), tokens=10)

    assert await city.routes.room(0) == 10
    assert await city.send(3, segments=3) == ["a:accepted"] * 3
    assert await city.routes.room(0) == 1
    city.tokens = 0
    assert await city.send() == ["a:accepted"]
    assert await city.routes.room(0) == 0
    assert await city.send() == [""]


async def test_what_is_under_way_leaves_less_room() -> None:
    city = City(provider("a"), places=10)
    assert [await city.routes.room(busy) for busy in (0, 4, 10, 12)] == [10, 6, 0, 0]

    limited = City(provider("a", rate_per_s=5), places=10, tokens=5)
    assert await limited.routes.room(3) == 2


@given(st.lists(st.tuples(st.sampled_from(["ok", "fail", "wait"]), st.floats(0, 70)), max_size=60))
def test_a_breaker_never_stays_open_for_more_than_a_minute_and_lets_one_through(
    steps: list[tuple[str, float]],
) -> None:
    breaker, now_s = Breaker(), 0.0
    for step, wait_s in steps:
        now_s += wait_s
        if step == "wait" or not breaker.allows(now_s):
            continue
        probing = not breaker.closed
        breaker.began()
        assert breaker.allows(now_s) != probing
        if step == "ok":
            breaker.succeeded()
            assert breaker.closed
        else:
            breaker.failed(now_s)
            assert breaker.closed or breaker.until_s <= now_s + 60
    assert breaker.allows(now_s + 60)
