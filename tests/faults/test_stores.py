"""Kafka and PostgreSQL killed hard under load: what was answered is there, once."""

import json

import pytest

from tests.city import City
from tests.faults.load import (
    BROKERS,
    TIMEOUT_S,
    Traffic,
    another_router,
    applications,
    brokers_answer,
    frozen,
    killed,
    members_are,
    routed_more,
)

_RATE = 12.0
pytestmark = pytest.mark.timeout(TIMEOUT_S)


def _brokers_in_turn(city: City) -> list[str]:
    """Each of them; of several the one that leads their controllers comes once more, at the end."""
    if BROKERS == 1:
        return city.brokers
    path = city.folder / city.brokers[0] / "log" / "__cluster_metadata-0" / "quorum-state"
    return [*city.brokers, f"kafka-{json.loads(path.read_text())['leaderId']}"]


async def test_a_killed_broker_loses_nothing_and_repeats_nothing(
    city: City, poison: set[str]
) -> None:
    async with Traffic(city, _RATE) as traffic:
        for broker in _brokers_in_turn(city):
            await applications(city, 30)
            await killed(city, broker)
            print(f"\nrecovery: {await routed_more(city):.1f} s from kill -9 of {broker}")
            await brokers_answer(city)
        after = await traffic.aftermath()
    after.assert_every_answer_is_one_application()
    after.assert_nothing_lost_nothing_twice(poison)


async def test_a_router_frozen_past_its_session_and_a_killed_database_repeat_nothing(
    city: City, poison: set[str]
) -> None:
    """The other router takes over; the woken one is fenced. The routers have no database."""
    async with another_router(city):
        await members_are(city, 2)
        async with Traffic(city, _RATE) as traffic:
            await applications(city, 20)
            pid = city.running.pids["router"]
            with frozen(pid):
                await applications(city, 20)
                await killed(city, "postgres")
                await members_are(city, 1)
                await routed_more(city)
            await members_are(city, 2)
            assert city.running.pids["router"] == pid
            after = await traffic.aftermath()
    after.assert_every_answer_is_one_application()
    after.assert_nothing_lost_nothing_twice(poison)
