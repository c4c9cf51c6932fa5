"""`casebus recover router`: partitions whose position does not fit, gone through again.

The router keeps no record of what it has done but its records themselves: so what the agencies
and everybody were told is read first, and only those inputs are routed that lack it.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from pydantic_core import from_json

from catalogue import load_catalogue
from services.router.engine import PositionLostError, position_of, transactional_id
from services.router.worker import GROUP, Releases, transform
from shared.contract import topics
from shared.contract.errors import code_of
from shared.contract.events import CaseAssigned, CaseRouted
from shared.contract.wire import Outgoing, Record
from shared.runtime import kafka
from shared.runtime.marks import mark, misfits
from shared.runtime.reading import committed_records, up_to
from shared.runtime.relay import FENCED
from shared.runtime.settings import Settings

# In place of a mark, while this is at work: no router goes on from there.
_AT_WORK = "recover"
_BATCH = 500
_INPUTS = (topics.APPLICATIONS, topics.CASES, topics.ROUTER_REPLAYS)


@dataclass(slots=True)
class Recovered:
    """`routed` inputs lacked something and have it now; the others had been routed already."""

    partitions: int = 0
    inputs: int = 0
    routed: int = 0

    def __str__(self) -> str:
        return (
            f"{self.partitions} partitions, {self.inputs} records: {self.routed} lacked something "
            "and have it now"
        )


@dataclass(slots=True)
class _Told:
    """What was told already: causes with an assignment, with a case.routed; letters' digests."""

    assigned: set[str] = field(default_factory=set)
    routed: set[str] = field(default_factory=set)
    letters: set[bytes] = field(default_factory=set)

    def lacks(self, out: Outgoing) -> bool:
        name = dict(out.headers).get("ce_type", b"").decode("ascii", "replace")
        if out.topic.endswith(".dead"):
            return _digest(out.key, out.value) not in self.letters
        if name == CaseAssigned.type:
            return from_json(out.value or b"")["cause"] not in self.assigned
        if name == CaseRouted.type:
            return from_json(out.value or b"")["cause"] not in self.routed
        return False  # what releases in shadow say is not told twice


async def recover(
    settings: Settings, say: Callable[[str], None], *, everything: bool = False
) -> Recovered:
    """Go through the partitions that do not fit, or through all; the routers may run meanwhile.

    Doing it again changes nothing. Raises KafkaError.
    """
    found = Recovered()
    targets = await _targets(settings, everything)
    if not targets:
        say("every position fits")
        return found
    async with _rules(settings) as releases, contextlib.AsyncExitStack() as stack:
        producers = {}
        for partition, at in targets.items():
            producers[partition] = await _take(settings, stack, partition, at)
        say("reading what the agencies have")
        told = await _told(settings)
        for partition, producer in producers.items():
            say(f"going through {partition.topic}:{partition.partition}")
            found.partitions += 1
            await _go_through(settings, partition, producer, releases, told, found)
    return found


async def _targets(settings: Settings, everything: bool) -> dict[TopicPartition, int]:
    """The partitions to go through, with the offset that is committed now."""
    async with kafka.started(kafka.consumer(settings)) as consumer:
        partitions = await kafka.partitions_of(consumer, _INPUTS)
        ends = await consumer.end_offsets(partitions)
    known: dict[TopicPartition, OffsetAndMetadata] = {}
    for partition in partitions:
        try:
            at = await position_of(settings, GROUP, partition)
        except PositionLostError:
            at = OffsetAndMetadata(ends[partition] + 1, "")
        if at is not None:
            known[partition] = at
    wrong = set(
        await misfits(
            settings, {p: (at.offset, at.metadata) for p, at in known.items() if at.metadata}
        )
    )
    wrong |= {p for p, at in known.items() if not at.metadata and at.offset > ends[p]}
    return {p: at.offset for p, at in known.items() if everything or p in wrong}


async def _take(
    settings: Settings, stack: contextlib.AsyncExitStack, partition: TopicPartition, offset: int
) -> AIOKafkaProducer:
    """The partition's producer. A router that owns it is fenced, and finds no mark that fits."""
    for _ in range(5):
        producer = kafka.producer(settings, transactional_id=transactional_id(GROUP, partition))
        await producer.start()
        try:
            await _commit(producer, partition, [], OffsetAndMetadata(offset, _AT_WORK))
        except FENCED:
            await producer.stop()
            continue
        stack.push_async_callback(producer.stop)
        return producer
    raise TimeoutError(f"a router does not let go of {partition}; stop it, and try again")


async def _go_through(
    settings: Settings,
    partition: TopicPartition,
    producer: AIOKafkaProducer,
    releases: Releases,
    told: _Told,
    found: Recovered,
) -> None:
    last: Record | None = None
    async for records in _batches(settings, partition):
        lacking = []
        for record in records:
            out = [one for one in _follow(releases, record) if told.lacks(one)]
            found.routed += bool(out)
            lacking += out
        found.inputs += len(records)
        last = records[-1]
        # Only the last commit has a mark: a router must not go on from the middle.
        await _commit(producer, partition, lacking, OffsetAndMetadata(last.offset + 1, _AT_WORK))
    end = OffsetAndMetadata(last.offset + 1, mark(last)) if last else OffsetAndMetadata(0, "")
    await _commit(producer, partition, [], end)


def _follow(releases: Releases, record: Record) -> Sequence[Outgoing]:
    try:
        return transform(releases, record)
    except Exception as error:  # noqa: BLE001 - as the engine does
        return [kafka.dead_letter(record, code_of(error), error, GROUP)]


async def _commit(
    producer: AIOKafkaProducer,
    partition: TopicPartition,
    records: Sequence[Outgoing],
    at: OffsetAndMetadata,
) -> None:
    async with asyncio.timeout(kafka.SEND_TIMEOUT_S), producer.transaction():
        sent = [
            await producer.send(one.topic, one.value, key=one.key, headers=list(one.headers))
            for one in records
        ]
        await asyncio.gather(*sent)
        await producer.send_offsets_to_transaction({partition: at}, GROUP)


async def _batches(
    settings: Settings, partition: TopicPartition
) -> AsyncIterator[Sequence[Record]]:
    async with kafka.started(kafka.consumer(settings)) as consumer:
        await kafka.partitions_of(consumer, [partition.topic])
        end = (await consumer.end_offsets([partition]))[partition]
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        async for records in up_to(consumer, {partition: end}, max_records=_BATCH):
            yield records


async def _told(settings: Settings) -> _Told:
    found = _Told()
    names = [topics.agency_cases(code) for code in load_catalogue().agencies]
    dead = [topics.dead(name) for name in _INPUTS]
    async for record in committed_records(settings, [*names, topics.CASES, *dead]):
        if record.topic in dead:
            found.letters.add(_digest(record.key or b"", record.value))
            continue
        name = record.header("ce_type")
        if name not in (CaseAssigned.type, CaseRouted.type):
            continue
        with contextlib.suppress(ValueError, TypeError, KeyError):
            cause = str(from_json(record.value or b"")["cause"])
            (found.assigned if name == CaseAssigned.type else found.routed).add(cause)
    return found


def _digest(key: bytes, value: bytes | None) -> bytes:
    return hashlib.sha256(repr((key, value)).encode()).digest()


@contextlib.asynccontextmanager
async def _rules(settings: Settings) -> AsyncIterator[Releases]:
    releases = Releases(settings)
    following = asyncio.ensure_future(releases.follow())
    try:
        async with asyncio.timeout(30):
            await releases.ready()
        yield releases
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
