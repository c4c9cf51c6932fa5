"""Topics read up to their ends as they are now."""

from collections.abc import AsyncIterator, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.contract.wire import Record
from shared.runtime import kafka
from shared.runtime.settings import Settings


async def up_to(
    consumer: AIOKafkaConsumer,
    ends: Mapping[TopicPartition, int],
    *,
    max_records: int | None = None,
) -> AsyncIterator[list[Record]]:
    """What `consumer`, to which these partitions are assigned, reads until it stands at `ends`.

    In batches of one partition each, of at most `max_records`. Raises KafkaError.
    """
    left = {p for p, end in ends.items() if end and await consumer.position(p) < end}
    while left:
        got = await consumer.getmany(*left, timeout_ms=100, max_records=max_records)
        for messages in got.values():
            if messages:
                yield [kafka.record_of(message) for message in messages]
        left = {p for p in left if await consumer.position(p) < ends[p]}


async def committed_records(settings: Settings, names: Sequence[str]) -> AsyncIterator[Record]:
    """Every committed record of the topics `names`, in the order of each partition.

    Topics that do not exist have none. Raises KafkaError.
    """
    async with kafka.started(kafka.consumer(settings)) as consumer:
        partitions = await kafka.partitions_of(consumer, names)
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        if partitions:
            await consumer.seek_to_beginning(*partitions)
        async for records in up_to(consumer, ends):
            for record in records:
                yield record
