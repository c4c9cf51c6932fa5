"""Marks: how a position knows the record before it from another in its place.

An offset alone does not tell whether a topic is still the one in which it was committed: it may
have been lost and made again, and have grown past the offset since.
"""

import asyncio
import hashlib
from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from shared.contract.wire import Record
from shared.runtime import kafka
from shared.runtime.settings import Settings

_PATIENCE_S = 20.0


def mark(record: Record) -> str:
    """24 characters that two records share only when time, key and value are the same."""
    digest = hashlib.sha256(str(record.timestamp_ms).encode())
    for part in (record.key, record.value):
        digest.update(b"-" if part is None else b"%d:" % len(part) + part)
    return digest.hexdigest()[:24]


async def misfits(
    settings: Settings, positions: Mapping[TopicPartition, tuple[int, str]]
) -> dict[TopicPartition, str]:
    """What is wrong with each of `positions` (next offset, mark of the record before it) that
    does not fit its partition as it is now; those that fit are left out.

    Raises KafkaError, or TimeoutError when a partition does not answer.
    """
    if not positions:
        return {}
    async with kafka.started(kafka.consumer(settings, reset="none")) as consumer:
        partitions = list(positions)
        await kafka.partitions_of(consumer, sorted({p.topic for p in partitions}))
        first = await consumer.beginning_offsets(partitions)
        end = await consumer.end_offsets(partitions)
        wrong: dict[TopicPartition, str] = {}
        waiting: dict[TopicPartition, tuple[int, str]] = {}
        for partition, (offset, wanted) in positions.items():
            if offset == first[partition]:
                pass  # what stood before is gone by its age; all that is left comes after
            elif not first[partition] < offset <= end[partition]:
                wrong[partition] = (
                    f"offset {offset} lies outside of {first[partition]}-{end[partition]}"
                )
            else:
                waiting[partition] = (offset - 1, wanted)
        consumer.assign(list(waiting))
        for partition, (offset, _) in waiting.items():
            consumer.seek(partition, offset)
        async with asyncio.timeout(_PATIENCE_S):
            while waiting:
                try:
                    got = await consumer.getmany(*waiting, timeout_ms=200)
                except OffsetOutOfRangeError:
                    # Moved under our eyes; the next look will tell.
                    raise TimeoutError("a topic changes while it is looked at") from None
                for partition, messages in got.items():
                    if messages and partition in waiting:
                        offset, wanted = waiting.pop(partition)
                        found = kafka.record_of(messages[0])
                        if found.offset != offset or mark(found) != wanted:
                            wrong[partition] = f"another record stands before offset {offset + 1}"
        return wrong
