"""A topic read once, from its beginning to its end as it is now."""

from collections.abc import AsyncIterator, Sequence

from aiokafka import TopicPartition

from shared.contract.wire import Record
from shared.runtime import kafka
from shared.runtime.settings import Settings


async def committed_records(settings: Settings, names: Sequence[str]) -> AsyncIterator[Record]:
    """Every committed record of the topics `names`, in the order of each partition.

    Topics that do not exist have none. Raises KafkaError.
    """
    consumer = kafka.consumer(settings)
    await consumer.start()
    try:
        partitions = await kafka.partitions_of(consumer, names)
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        left: set[TopicPartition] = {p for p in partitions if ends[p]}
        if left:
            await consumer.seek_to_beginning(*left)
        while left:
            for messages in (await consumer.getmany(*left, timeout_ms=100)).values():
                for message in messages:
                    yield kafka.record_of(message)
            left = {p for p in left if await consumer.position(p) < ends[p]}
    finally:
        await consumer.stop()
