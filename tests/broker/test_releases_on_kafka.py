"""The releases of the rules, as a router follows them."""

import asyncio
from datetime import timedelta
from typing import Any

from services.router.worker import Releases
from shared.contract import topics
from shared.contract.wire import Outgoing, encode
from tests.broker.ground import Ground, running
from tests.city import eventually
from tests.examples import NOW, document, released, rule_row

A = document(rule_row())
B = document(rule_row(id="B", lead="AGENCY-B"))
NO_SUCH_AGENCY = document(rule_row(lead="NO-SUCH"))


def release(tables: Any, number: int, **changes: Any) -> Outgoing:
    time = NOW + timedelta(minutes=number)
    return encode(topics.RULES, released(tables, release=number, time=time, **changes))


async def test_a_router_begins_with_the_first_live_release_and_takes_the_next_as_they_come(
    ground: Ground,
) -> None:
    await ground.topics(topics.RULES, topics.RULES_SHADOW)
    releases = Releases(ground.settings())

    async def known() -> list[int]:
        return sorted(one.number for one in releases.known)

    async with running(releases.follow()):
        ready = asyncio.ensure_future(releases.ready())
        await ground.send(topics.RULES, [release(B, 1, state="shadow")])
        await eventually(known, lambda numbers: numbers == [1])
        assert not ready.done()

        await ground.send(topics.RULES, [release(A, 2)])
        await asyncio.wait_for(ready, 30)

        await ground.send(topics.RULES, [release(NO_SUCH_AGENCY, 3), release(B, 4)])
        await eventually(known, lambda numbers: numbers == [1, 2, 4])

    again = Releases(ground.settings())
    async with running(again.follow()):
        await asyncio.wait_for(again.ready(), 30)
        assert [(one.number, one.state) for one in again.known] == [
            (1, "shadow"),
            (2, "live"),
            (4, "live"),
        ]
