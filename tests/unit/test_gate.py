"""Who has number and password comes in; who guesses waits, and is refused in the end."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.intake import gate
from services.intake.domain import password
from services.intake.gate import Gate, LinkLimit, TooOftenError
from tests.examples import CASE, NOW
from tests.fakes import FakeApplications

SECRET = b"a secret of the city, 32 bytes.."
NUMBER, OTHER = "20261124-0000123-9", "20261124-0000124-7"


class Known(FakeApplications):
    """One case."""

    async def by_number(self, number: str) -> Any:
        return (CASE, "SVC-001", NOW) if number == NUMBER else None


class Guesses:
    def __init__(self) -> None:
        self.now = NOW
        self.put_at: list[tuple[bytes, datetime]] = []

    async def put(self, subject: bytes) -> None:
        self.put_at.append((subject, self.now))

    async def count(self, subject: bytes, since: datetime, most: int) -> int:
        return min(most, sum(one == subject and at > since for one, at in self.put_at))


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(gate.asyncio, "sleep", sleep)
    return found


@pytest.fixture
def guesses() -> Guesses:
    return Guesses()


@pytest.fixture
def door(guesses: Guesses, slept: list[float]) -> Gate:
    return Gate(Known(), guesses, SECRET, lambda: guesses.now)


async def test_who_has_the_password_comes_in_at_once(
    door: Gate, guesses: Guesses, slept: list[float]
) -> None:
    found = await door.enter(NUMBER, password(SECRET, CASE), "203.0.113.1")

    assert found == (CASE, "SVC-001", NOW)
    assert (guesses.put_at, slept) == ([], [])


async def test_a_wrong_password_costs_time_more_with_each_and_the_sixth_is_refused(
    door: Gate, guesses: Guesses, slept: list[float]
) -> None:
    for _ in range(5):
        assert await door.enter(NUMBER, "wrong", "203.0.113.1") is None
    assert slept == sorted(slept)
    assert slept[-1] == pytest.approx(5 * slept[0])
    counted = len(guesses.put_at)

    for _ in range(99):
        with pytest.raises(TooOftenError):
            await door.enter(NUMBER, "wrong", "198.51.100.7")
    # A flood fills no table, and whoever waits is let off: it is the sender's that counts.
    assert len(guesses.put_at) == counted + 30
    # Nobody can lock a citizen out.
    assert await door.enter(NUMBER, password(SECRET, CASE), "203.0.113.1")
    guesses.now += timedelta(minutes=15)
    assert await door.enter(NUMBER, "wrong", "192.0.2.9") is None


async def test_a_number_that_nobody_has_is_answered_the_same(
    door: Gate, slept: list[float]
) -> None:
    for number in (NUMBER, OTHER):
        for _ in range(5):
            assert await door.enter(number, "wrong", number) is None
        with pytest.raises(TooOftenError):
            await door.enter(number, "wrong", number)

    assert slept[:5] == slept[5:]


async def test_many_numbers_from_one_address_are_refused_too(
    door: Gate, guesses: Guesses, slept: list[float]
) -> None:
    for number in range(30):
        assert await door.enter(str(number), "wrong", "203.0.113.1") is None
    # Others who come from there wait no longer for it: theirs is another case.
    assert set(slept) == {slept[0]}

    with pytest.raises(TooOftenError):
        await door.enter("31", "wrong", "203.0.113.1")
    assert await door.enter("31", "wrong", "198.51.100.7") is None
    guesses.now += timedelta(hours=1)
    assert await door.enter("32", "wrong", "203.0.113.1") is None


async def test_what_is_counted_names_neither_number_nor_address(
    door: Gate, guesses: Guesses
) -> None:
    await door.enter(NUMBER, "wrong", "203.0.113.1")
    mine = {subject for subject, _ in guesses.put_at}
    guesses.put_at.clear()
    await replace(door, secret=b"another secret").enter(NUMBER, "wrong", "203.0.113.1")

    assert not mine & {subject for subject, _ in guesses.put_at}
    assert not [one for one in mine if NUMBER.encode() in one or b"203.0.113.1" in one]


async def test_few_links_go_to_one_address_and_many_are_asked_for_from_one(
    guesses: Guesses,
) -> None:
    limit = LinkLimit(guesses, SECRET, lambda: guesses.now)
    for _ in range(3):
        assert await limit.may("wang@example.com", "203.0.113.1")
        await limit.sent("wang@example.com", "203.0.113.1")
    assert not await limit.may("Wang@example.com", "198.51.100.7")
    for number in range(27):
        assert await limit.may(f"{number}@example.com", "203.0.113.1")
        await limit.sent(f"{number}@example.com", "203.0.113.1")

    assert not await limit.may("another@example.com", "203.0.113.1")
    assert await limit.may("another@example.com", "198.51.100.7")
    guesses.now += timedelta(hours=1)
    assert await limit.may("wang@example.com", "203.0.113.1")
