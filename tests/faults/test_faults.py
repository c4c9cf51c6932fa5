"""Services killed hard under load, again and again: nothing lost, nothing twice.

A router's death shows itself in the agencies' topics, intake's (with its relay) in its own rows, a
back office's in its inbox, a notifier's at the citizen: they share one run of traffic.
"""

import random
from collections import Counter

import pytest
import pytest_asyncio

from tests.city import City, eventually
from tests.faults.evidence import Notices
from tests.faults.load import FULL, TIMEOUT_S, Aftermath, Traffic, applications, killed, routed_more

pytestmark = pytest.mark.timeout(TIMEOUT_S)
_SEED = 20261124
_VICTIMS = [
    *["router", "intake"] * (8 if FULL else 1),
    *["dispatcher"] * (6 if FULL else 1),
    *("backoffice", "notifier", "router"),
]
_RATE = 12.0
_ENDED_WITHIN_S = 120


@pytest_asyncio.fixture(scope="module")
async def after_services(city: City) -> Aftermath:
    """The relay dies with intake, wherever it is: also between its sends and their commit."""
    chance = random.Random(_SEED)
    async with Traffic(city, _RATE, "--clerks") as traffic:
        await applications(city, 20)
        for victim in chance.sample(_VICTIMS, len(_VICTIMS)):
            await killed(city, victim)
            await applications(city, chance.randint(1, 15))
        # A router once more when it had come back, with what waited for it.
        await routed_more(city)
        await killed(city, "router")
        print(f"\nrecovery: {await routed_more(city):.1f} s from kill -9 of the only router")
        after = await traffic.aftermath()
    await _leases_end(city)
    return after


async def _leases_end(city: City) -> None:
    """What the dead dispatcher held, and what waits for its next try, is due now, not in a minute.

    Until then every notice has come to an end.
    """
    connection = await city.database()
    try:

        async def on_the_way() -> int:
            await connection.execute(
                "UPDATE notifier.notices SET leased_until = now()"
                " WHERE state = 'sending' AND changed_at < now() - interval '15 seconds'"
            )
            await connection.execute(
                "UPDATE notifier.notices SET next_try_at = now() WHERE state = 'temporary_failure'"
            )
            found = await connection.fetchval(
                "SELECT count(*) FROM notifier.notices"
                " WHERE state IN ('created', 'sending', 'temporary_failure', 'sent')"
                " AND NOT (state = 'sent' AND channel = 'mail')"
            )
            return int(found)

        await eventually(on_the_way, lambda count: count == 0, _ENDED_WITHIN_S)
    finally:
        await connection.close()


async def test_services_that_are_killed_lose_nothing_and_repeat_nothing(
    after_services: Aftermath, poison: set[str]
) -> None:
    after_services.assert_nothing_lost_nothing_twice(poison)


async def test_a_killed_intake_keeps_what_it_has_answered(after_services: Aftermath) -> None:
    assert after_services.sent["accepted"] > 100
    after_services.assert_every_answer_is_one_application()


async def test_a_killed_notifier_and_dispatcher_lose_no_notice_and_send_none_twice(
    city: City, after_services: Aftermath
) -> None:
    numbers = list(after_services.evidence.numbers)
    notices = await Notices.of(city, numbers)
    # Every event that a citizen is told of has its two notices, in the ledger and once.
    wanted = Counter(
        (cause, channel)
        for cause, _ in after_services.evidence.notice_causes
        for channel in ("mail", "sms")
    )
    assert wanted - notices.causes == Counter()
    assert set(notices.causes.values()) == {1}
    assert notices.states.keys() <= {"sent", "delivered", "suppressed", "cancelled", "unknown"}, (
        notices.states
    )
    # Each that was sent arrived; of the unknown ones, which are not tried again, some may have.
    assert notices.sent - notices.arrived == Counter()
    assert notices.arrived - notices.sent - notices.unknown == Counter()
    assert notices.sent.total() > len(numbers)
