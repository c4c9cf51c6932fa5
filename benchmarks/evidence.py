"""What goes in, and proof of what came out: speed without it says nothing."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from itertools import islice
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic

from benchmarks.samples import submitted
from shared.contract import topics
from shared.runtime import kafka
from shared.runtime.settings import Settings

_READ_WITHIN_S = 60


class WrongCountError(Exception):
    """A contender lost records, or sent some twice: its speed says nothing."""


async def fill(settings: Settings, topic: str, records: int, partitions: int) -> int:
    """Make an input topic with so many applications; the mean size of a value in bytes."""
    admin, producer = kafka.admin(settings), kafka.producer(settings)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1)])
    await producer.start()
    try:
        sent, size_bytes = [], 0
        for out in islice(submitted(topic), records):
            size_bytes += len(out.value or b"")
            sent.append(
                await producer.send(topic, out.value, key=out.key, headers=list(out.headers))
            )
        await asyncio.gather(*sent)
        return size_bytes // records
    finally:
        await asyncio.gather(admin.close(), producer.stop())


async def ends(settings: Settings, names: Sequence[str]) -> dict[TopicPartition, int]:
    """Behind the last record that is committed, for each partition of these topics."""
    async with kafka.started(kafka.consumer(settings)) as consumer:
        partitions = await kafka.partitions_of(consumer, names)
        found: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        return found


async def committed_since(
    settings: Settings, before: dict[TopicPartition, int]
) -> AsyncIterator[Any]:
    """Every record from `before` to the end as it is now, read_committed."""
    until = await ends(settings, sorted({partition.topic for partition in before}))
    consumer = kafka.consumer(settings)
    consumer.assign(list(before))
    await consumer.start()
    try:
        for partition, offset in before.items():
            consumer.seek(partition, offset)
        waiting = set(before)
        async with asyncio.timeout(_READ_WITHIN_S):
            while waiting:
                for messages in (await consumer.getmany(timeout_ms=50)).values():
                    for message in messages:
                        yield message
                waiting = {p for p in waiting if await consumer.position(p) < until[p]}
    finally:
        await consumer.stop()


async def each_routed_once(
    settings: Settings, who: str, before: dict[TopicPartition, int], records: int
) -> None:
    """Since `before`: one assignment and, where its topic is among these, one event for each
    case. Raises WrongCountError."""
    cases = {topic == topics.CASES: Counter[bytes]() for topic, _ in before}
    async for message in committed_since(settings, before):
        cases[message.topic == topics.CASES][message.key] += 1
    for to_all, found in cases.items():
        if len(found) != records or found.total() != records:
            where = topics.CASES if to_all else "the agencies' topics"
            raise WrongCountError(
                f"{who}: {found.total()} records of {len(found)} cases on {where}, "
                f"{records} expected"
            )
