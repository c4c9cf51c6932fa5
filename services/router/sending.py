"""Many records at once: a batch for each partition that they go to, and one answer a batch.

`AIOKafkaProducer.send` makes a future for each record and looks its topic up in the metadata each
time; for the router's two records out of each one in, that is most of what it costs to send.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.partitioner import murmur2

from shared.contract.wire import Outgoing
from shared.runtime import kafka


class TooLargeError(Exception):
    """Kafka does not take the records at `indexes` of those given, not even each by itself."""

    def __init__(self, indexes: Collection[int]) -> None:
        super().__init__(f"{len(indexes)} records are too large for Kafka")
        self.indexes = indexes


class Sender:
    """Sends through `producer`, in its transaction when it has one.

    `narrow` outlives the producer: topics that refused a batch whose records they may well take
    one by one, as their own limit is below a batch's.
    """

    def __init__(self, producer: AIOKafkaProducer, narrow: set[str]) -> None:
        self.producer = producer
        self._narrow = narrow
        self._known: set[str] = set()

    async def send(self, records: Iterable[Outgoing]) -> None:
        """Returns once the broker has them all: leaving a transaction without that can commit
        past a failed one. In each partition they keep their order.

        Raises TooLargeError, KafkaError, or TimeoutError when a topic is missing.
        """
        given = list(records)
        counts = await self._partitions({one.topic for one in given})
        batches = self._fill(given, counts)
        refused: set[int] = set()
        results = await asyncio.gather(
            *(self._deliver(at, ones, refused) for at, ones in batches.items()),
            return_exceptions=True,
        )
        if refused:
            raise TooLargeError(refused)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _partitions(self, names: set[str]) -> dict[str, int]:
        """How many each topic has now. What is new is asked for in one request: the client would
        ask anew, for every topic, at each new one."""
        if not names <= self._known:
            self._known |= names
            await self.producer.client.set_topics(self._known)
        return {name: len(await self.producer.partitions_for(name)) for name in sorted(names)}

    def _fill(
        self, records: list[Outgoing], counts: Mapping[str, int]
    ) -> dict[TopicPartition, list["_Batch"]]:
        """Each record appended to the last batch of its partition, or to a new one."""
        found: dict[tuple[str, int], list[_Batch]] = {}
        # What follows from one record has its key.
        last_key, last_hash = b"", _hash(b"")
        for index, one in enumerate(records):
            if one.key != last_key:
                last_key, last_hash = one.key, _hash(one.key)
            batches = found.setdefault((one.topic, last_hash % counts[one.topic]), [])
            if not batches or one.topic in self._narrow or not batches[-1].took(index, one):
                batches.append(_Batch(self.producer.create_batch(), index, one))
        made = [batch for batches in found.values() for batch in batches]
        # A first record is taken by any batch, however large it is.
        refused = {batch.indexes[0] for batch in made if batch.builder.size() > kafka.LARGEST_BYTES}
        if refused:
            raise TooLargeError(refused)
        for batch in made:
            batch.builder.close()  # so it is sent as soon as it can be
        return {TopicPartition(*place): batches for place, batches in found.items()}

    async def _deliver(
        self, at: TopicPartition, batches: list["_Batch"], refused: set[int]
    ) -> None:
        waiting: list[asyncio.Future[Any]] = []
        try:
            for batch in batches:
                waiting.append(
                    await self.producer.send_batch(batch.builder, at.topic, partition=at.partition)
                )
            for batch, future in zip(batches, waiting, strict=True):
                try:
                    await future
                except MessageSizeTooLargeError:
                    if len(batch.indexes) > 1:
                        self._narrow.add(at.topic)
                        raise
                    refused.update(batch.indexes)
        finally:
            for future in waiting:
                if not future.cancel() and not future.cancelled():
                    future.exception()  # looked at, or asyncio complains of it


class _Batch:
    """Records of one partition, and which of those given they are."""

    def __init__(self, builder: Any, index: int, first: Outgoing) -> None:
        self.builder = builder
        self.indexes: list[int] = []
        self.took(index, first)

    def took(self, index: int, one: Outgoing) -> bool:
        """False when the batch is full."""
        added = self.builder.append(
            timestamp=None, key=one.key, value=one.value, headers=list(one.headers)
        )
        if added is not None:
            self.indexes.append(index)
        return added is not None


def _hash(key: bytes) -> int:
    """As every Kafka client's partitioner, so that a case keeps its partition."""
    return int(murmur2(key)) & 0x7FFFFFFF
