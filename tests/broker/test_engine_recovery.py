"""`casebus recover router` on a real broker: what is missing comes once, the rest is left alone."""

import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest_asyncio
from aiokafka import TopicPartition
from pydantic_core import from_json

from catalogue import load_catalogue
from services.router.engine import transactional_id
from services.router.recovery import Recovered, recover
from services.router.worker import GROUP, Releases, engine
from shared.contract import topics
from shared.contract.events import ApplicationSubmitted, CaseAssigned, CaseReturned, CaseRouted
from shared.contract.wire import Outgoing, Record, encode
from tests.broker.ground import Ground, processes, running
from tests.city import eventually
from tests.examples import NAMES, document, event, released, rule_row

_FIRST, _SECOND = "SEC", "CA"
_RULES = document(
    rule_row(id="A", service="SVC-A", lead=_FIRST),
    rule_row(id="B", service="SVC-B", lead=_SECOND),
)
_AGENCIES = [topics.agency_cases(code) for code in load_catalogue().agencies]
_WIDE = (topics.APPLICATIONS, topics.CASES)


def _application(service: str) -> Outgoing:
    told = event(ApplicationSubmitted, case_id=uuid4(), service=service, facts={})
    return encode(topics.APPLICATIONS, told)


def _returned() -> Outgoing:
    told = event(
        CaseReturned,
        case_id=uuid4(),
        service="SVC-A",
        facts={},
        agency=_FIRST,
        tried=(_FIRST,),
    )
    return encode(topics.CASES, told)


_SENT = [*(_application("SVC-A") for _ in range(20)), *(_application("SVC-B") for _ in range(10))]
_RETURNED = [_returned() for _ in range(3)]


def _causes(sent: Sequence[Outgoing]) -> Counter[str]:
    return Counter(dict(one.headers)["ce_id"].decode() for one in sent)


@pytest_asyncio.fixture
async def city() -> AsyncIterator[Ground]:
    """A broker of its own, for the router's topics have the same name in every test: there the
    router has routed everything that was sent."""
    with (
        tempfile.TemporaryDirectory(prefix="casebus-ground-") as folder,
        processes(Path(folder)) as ground,
    ):
        await ground.ready()
        names = [*_AGENCIES, topics.ROUTER_REPLAYS, topics.RULES, topics.RULES_SHADOW]
        dead = [topics.dead(name) for name in (*_WIDE, topics.ROUTER_REPLAYS)]
        await ground.topics(*names, *dead, topics.POSITIONS)
        await ground.topics(*_WIDE, partitions=2)
        known = replace(
            NAMES, services=frozenset({"SVC-A", "SVC-B"}), agencies=frozenset({_FIRST, _SECOND})
        )
        await ground.send(
            topics.RULES, [encode(topics.RULES, released(_RULES, names=known.to_json()))]
        )
        await ground.send(topics.APPLICATIONS, _SENT)
        await ground.send(topics.CASES, _RETURNED)
        async with _router(ground):
            await _handled(ground)
        yield ground


@contextlib.asynccontextmanager
async def _router(ground: Ground) -> AsyncIterator[None]:
    releases = Releases(ground.settings())
    routing = engine(ground.settings(), releases)
    async with running(releases.follow()), running(routing.run(releases.ready)):
        yield


async def _handled(ground: Ground) -> None:
    """Until the router stands at the end of every input that has records, with a witness."""

    async def behind() -> int:
        left = 0
        for name in _WIDE:
            left -= sum(at.offset for at in await ground.committed(GROUP, name))
            last = {one.partition: one.offset + 1 for one in await ground.records(name)}
            left += sum(last.values())
        return left

    async def without_witness() -> list[TopicPartition]:
        wide = [TopicPartition(one.topic, one.partition) for one in await _inputs(ground)]
        return [
            one
            for one in set(wide)
            if not await ground.committed(transactional_id(GROUP, one), topics.POSITIONS)
        ]

    await eventually(behind, lambda left: left <= 0, within_s=60)
    await eventually(without_witness, lambda left: not left)


async def _inputs(ground: Ground) -> list[Record]:
    return [one for name in _WIDE for one in await ground.records(name)]


async def _remade(ground: Ground, topic: str, partitions: int, sent: Sequence[Outgoing]) -> None:
    """`topic`, lost and made again with just these records."""
    await ground.topic_again(topic, partitions=partitions)
    await ground.send(topic, sent)


async def _told(ground: Ground, topic: str, name: str) -> Counter[str]:
    """How often each cause has an event of this type on `topic`."""
    return Counter(
        from_json(one.value or b"")["cause"]
        for one in await ground.records(topic)
        if one.header("ce_type") == name
    )


async def _assigned(ground: Ground) -> Counter[str]:
    total: Counter[str] = Counter()
    for code in (_FIRST, _SECOND, topics.TRIAGE):
        total += await _told(ground, topics.agency_cases(code), CaseAssigned.type)
    return total


async def _is_told_once(ground: Ground, sent: Sequence[Outgoing]) -> None:
    assert await _assigned(ground) == _causes(sent)
    assert await _told(ground, topics.CASES, CaseRouted.type) == _causes(sent)


async def _recover(ground: Ground, *, everything: bool = False) -> Recovered:
    return await recover(ground.settings(), lambda line: None, everything=everything)


async def test_after_the_inputs_were_lost_and_filled_again_only_new_ones_are_routed(
    city: Ground,
) -> None:
    new = [_application("SVC-A") for _ in range(5)]
    await _remade(city, topics.APPLICATIONS, 2, [*_SENT, *new])
    found = await _recover(city)
    assert (found.partitions, found.inputs, found.routed) == (2, len(_SENT) + 5, 5)
    everything = [*_SENT, *_RETURNED, *new]
    await _is_told_once(city, everything)

    later = [_application("SVC-B") for _ in range(4)]
    await city.send(topics.APPLICATIONS, later)
    async with _router(city):
        await eventually(lambda: _assigned(city), lambda told: len(told) == len(everything) + 4)
    await _is_told_once(city, [*everything, *later])


async def test_after_an_agencys_topic_was_lost_it_gets_its_assignments_again_and_nobody_else(
    city: Ground,
) -> None:
    topic = topics.agency_cases(_FIRST)
    before = await _told(city, topic, CaseAssigned.type)
    assert len(before) == 20
    await _remade(city, topic, 1, [])
    found = await _recover(city, everything=True)
    assert found.routed == len(before)
    assert await _told(city, topic, CaseAssigned.type) == before
    await _is_told_once(city, [*_SENT, *_RETURNED])
    assert (await _recover(city, everything=True)).routed == 0


async def test_where_every_position_fits_nothing_is_done(city: Ground) -> None:
    assert await _recover(city) == Recovered()
