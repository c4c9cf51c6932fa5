"""The transactional engine: records in, records out and offsets, in one Kafka transaction.

One task and one producer for each input partition. A new owner starts its producer, which
fences the old one and completes what it left open, and only then reads the committed offset.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiokafka import AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError

from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.wire import Outgoing, Record
from shared.runtime import kafka, metrics
from shared.runtime.cancellation import raise_if_cancelled
from shared.runtime.settings import Settings

log = structlog.get_logger()

Transform = Callable[[Record], Sequence[Outgoing]]
_LONGEST_DELAY_S = 5.0


class Engine(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Runs `transform` over the records of some topics until cancelled.

    `ready` is awaited before anything is consumed. With `transactional=False` the engine sends
    and commits at least once: only for benchmarks, to show what exactly-once costs.
    """

    def __init__(
        self,
        settings: Settings,
        group: str,
        names: Sequence[str],
        transform: Transform,
        *,
        max_records: int = 1000,
        transactional: bool = True,
    ) -> None:
        self._settings = settings
        self._group = group
        self._names = list(names)
        self._transform = transform
        self._max_records = max_records
        self._transactional = transactional
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self._unsendable: set[tuple[TopicPartition, int]] = set()

    async def run(self, ready: Callable[[], Awaitable[object]]) -> None:
        await ready()
        self._consumer = kafka.consumer(self._settings, group=self._group)
        self._consumer.subscribe(self._names, listener=self)
        try:
            await self._consumer.start()
            log.info("engine.started", group=self._group)
            await asyncio.get_running_loop().create_future()
        finally:
            await self._drain()
            await self._consumer.stop()

    @property
    def partitions(self) -> int:
        """How many input partitions this process owns now."""
        return len(self._tasks)

    async def on_partitions_revoked(self, revoked: object) -> None:
        await self._drain()

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        for partition in assigned:
            self._tasks[partition] = asyncio.create_task(self._own(partition))

    async def _drain(self) -> None:
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _own(self, partition: TopicPartition) -> None:
        """Everything about one partition, again and again from the committed offset."""
        delay_s = 0.1
        while True:
            name = f"{self._group}-{partition.topic}-{partition.partition}"
            producer = kafka.producer(
                self._settings, transactional_id=name if self._transactional else None
            )
            try:
                async with asyncio.timeout(30):
                    await producer.start()
                offset = await self._consumer.committed(partition)
                if offset is None:
                    await self._consumer.seek_to_beginning(partition)
                else:
                    self._consumer.seek(partition, offset)
                while True:
                    if await self._step(partition, producer):
                        delay_s = 0.1
            except Exception as error:  # noqa: BLE001 - whatever it was, begin from the committed
                metrics.RETRIES.labels(self._group).inc()
                log.warning("engine.retry", partition=str(partition), error=repr(error))
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
            finally:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(3):
                        await producer.stop()
            raise_if_cancelled()

    async def _step(self, partition: TopicPartition, producer: AIOKafkaProducer) -> bool:
        got = await self._consumer.getmany(partition, timeout_ms=200, max_records=self._max_records)
        messages = got.get(partition)
        if not messages:
            return False
        outgoing = [
            (message.offset, out)
            for message in messages
            for out in self._follow(partition, kafka.record_of(message))
        ]
        position = {partition: messages[-1].offset + 1}
        try:
            async with asyncio.timeout(kafka.SEND_TIMEOUT_S):
                if self._transactional:
                    async with producer.transaction():
                        await self._send(partition, producer, outgoing)
                        await producer.send_offsets_to_transaction(position, self._group)
                else:
                    await self._send(partition, producer, outgoing)
                    await self._consumer.commit(position)
        except BaseException:
            metrics.TRANSACTIONS.labels(self._group, "aborted").inc()
            raise
        metrics.TRANSACTIONS.labels(self._group, "committed").inc()
        metrics.CONSUMED.labels(self._group, partition.topic).inc(len(messages))
        return True

    async def _send(
        self,
        partition: TopicPartition,
        producer: AIOKafkaProducer,
        outgoing: Sequence[tuple[int, Outgoing]],
    ) -> None:
        """Send all and await all: leaving the block without it can commit past a failed one."""
        sent = []
        for offset, out in outgoing:
            try:
                sent.append(
                    await producer.send(
                        out.topic, out.value, key=out.key, headers=list(out.headers)
                    )
                )
            except MessageSizeTooLargeError:
                self._unsendable.add((partition, offset))
                raise
        results = await asyncio.gather(*sent, return_exceptions=True)
        for (offset, _), result in zip(outgoing, results, strict=True):
            if isinstance(result, MessageSizeTooLargeError):
                self._unsendable.add((partition, offset))
            if isinstance(result, BaseException):
                raise result

    def _follow(self, partition: TopicPartition, record: Record) -> Sequence[Outgoing]:
        """What follows from `record`; a bad one goes, byte for byte, to the dead letters."""
        try:
            if (partition, record.offset) in self._unsendable:
                raise PermanentError("record.too_large", "what follows is too large for Kafka")
            return self._transform(record)
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, it is set aside
            code = error.code if isinstance(error, PermanentError) else "handler.failed"
            metrics.DEAD.labels(self._group, code).inc()
            log.error("engine.dead", topic=record.topic, offset=record.offset, code=code)
            headers = tuple(kafka.dead_letter_headers(record, code, error))
            return [Outgoing(topics.dead(record.topic), record.key or b"", headers, record.value)]
