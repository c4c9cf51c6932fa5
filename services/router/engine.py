"""The transactional engine: records in, records out and offsets, in one Kafka transaction.

One task and one producer for each input partition. A new owner starts its producer, which
fences the old one and completes what it left open, and only then reads the committed offset.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiokafka import AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, OffsetOutOfRangeError
from aiokafka.structs import OffsetAndMetadata

from services.router.aside import Aside
from services.router.sending import Sender, TooLargeError
from shared.contract.errors import PermanentError, code_of
from shared.contract.wire import Outgoing, Record
from shared.runtime import kafka, metrics
from shared.runtime.cancellation import raise_if_cancelled
from shared.runtime.marks import mark, misfits
from shared.runtime.relay import FENCED, POSITION
from shared.runtime.settings import Settings

log = structlog.get_logger()

Transform = Callable[[Record], Sequence[Outgoing]]
_LONGEST_DELAY_S = 5.0


class PositionLostError(Exception):
    """The committed position is of another topic than this one: going on would lose or repeat."""


def transactional_id(group: str, partition: TopicPartition) -> str:
    """Of whoever owns `partition`: a new owner fences the old one by it."""
    return f"{group}-{partition.topic}-{partition.partition}"


async def position_of(
    settings: Settings, group: str, partition: TopicPartition
) -> OffsetAndMetadata | None:
    """What was committed last, with the mark of the record before it; None for nothing yet.

    With its topic a broker deletes what was committed for it. So there is a witness of the first
    commit, on another topic. Raises PositionLostError when it alone is there.
    """
    async with kafka.started(kafka.admin(settings)) as admin:
        found = await admin.list_consumer_group_offsets(group, partitions=[partition])
        at = found.get(partition)
        if at is not None and at.offset >= 0:
            return at
        witness = transactional_id(group, partition)
        found = await admin.list_consumer_group_offsets(witness, partitions=[POSITION])
    if POSITION in found and found[POSITION].offset >= 0:
        raise PositionLostError("nothing is committed any more: the topic was deleted")
    return None


async def bear_witness(producer: AIOKafkaProducer, group: str, partition: TopicPartition) -> None:
    """Say that something was committed for `partition`, in a transaction of its own: one has room
    for one group's offsets."""
    witness = {POSITION: OffsetAndMetadata(0, "a router was here")}
    async with asyncio.timeout(kafka.SEND_TIMEOUT_S), producer.transaction():
        await producer.send_offsets_to_transaction(witness, transactional_id(group, partition))


class Engine(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Runs `transform` over the records of some topics until cancelled.

    `ready` is awaited before anything is consumed. With `transactional=False` the engine sends
    and commits at least once: only for benchmarks, to show what exactly-once costs. Records for
    the topic of `aside` are no part of the transaction.
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
        aside: Aside | None = None,
    ) -> None:
        self._settings = settings
        self._group = group
        self._names = list(names)
        self._transform = transform
        self._max_records = max_records
        self._transactional = transactional
        self._aside = aside
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}
        self._unsendable: set[tuple[TopicPartition, int]] = set()
        self._narrow: set[str] = set()
        self.lost: set[TopicPartition] = set()

    async def run(self, ready: Callable[[], Awaitable[object]]) -> None:
        await ready()
        self._broken = asyncio.get_running_loop().create_future()
        self._consumer = kafka.consumer(self._settings, group=self._group, reset="none")
        self._consumer.subscribe(self._names, listener=self)
        telling = asyncio.ensure_future(self._aside.run()) if self._aside else None
        try:
            await self._consumer.start()
            log.info("engine.started", group=self._group)
            await self._broken
        finally:
            await self._drain()
            if telling:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)
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
        name = transactional_id(self._group, partition)
        while True:
            producer = kafka.producer(
                self._settings, transactional_id=name if self._transactional else None
            )
            try:
                if partition in self.lost:
                    # Before anybody is fenced: `casebus recover` may be at work.
                    await self._fit(partition)
                async with asyncio.timeout(30):
                    await producer.start()
                at = await self._fit(partition)
                await self._go_to(partition, at)
                witnessed = not self._transactional
                sender = Sender(producer, self._narrow)
                while True:
                    stepped = await self._step(partition, sender)
                    if stepped:
                        delay_s = 0.1
                    # Also when nothing comes: who committed before may have died just then.
                    if not witnessed and (stepped or at is not None):
                        await bear_witness(producer, self._group, partition)
                        witnessed = True
            except PositionLostError as error:
                self._say_lost(partition, error)
                delay_s = _LONGEST_DELAY_S
                await asyncio.sleep(delay_s)
            except Exception as error:  # noqa: BLE001 - whatever it was, begin from the committed
                if isinstance(error, FENCED):
                    metrics.FENCES.labels(self._group).inc()
                if isinstance(error, TooLargeError):
                    delay_s = 0.1  # nothing is down, and the next try leaves it out
                metrics.RETRIES.labels(self._group).inc()
                log.warning("engine.retry", partition=str(partition), error=repr(error))
                if isinstance(error, GroupAuthorizationFailedError) and not self._broken.done():
                    # The consumer keeps this error for ever, also when the grant is there again.
                    self._broken.set_exception(error)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
            finally:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(3):
                        await producer.stop()
            raise_if_cancelled()

    async def _fit(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """The committed position, once it is known to fit. Raises PositionLostError."""
        at = await position_of(self._settings, self._group, partition)
        if at is not None and at.metadata:
            wrong = await misfits(self._settings, {partition: (at.offset, at.metadata)})
            if wrong:
                raise PositionLostError(wrong[partition])
        return at

    async def _go_to(self, partition: TopicPartition, at: OffsetAndMetadata | None) -> None:
        if at is None:
            beginnings = await self._consumer.beginning_offsets([partition])
            self._consumer.seek(partition, beginnings[partition])
        else:
            self._consumer.seek(partition, at.offset)
        self.lost.discard(partition)
        metrics.POSITION_LOST.labels(_place(partition)).set(0)

    def _say_lost(self, partition: TopicPartition, error: Exception) -> None:
        self.lost.add(partition)
        metrics.POSITION_LOST.labels(_place(partition)).set(1)
        log.error(
            "engine.position_lost",
            partition=_place(partition),
            error=str(error),
            hint="casebus recover router; docs/operations.md, 'A position that does not fit'",
        )

    async def _step(self, partition: TopicPartition, sender: Sender) -> bool:
        try:
            got = await self._consumer.getmany(
                partition, timeout_ms=200, max_records=self._max_records
            )
        except OffsetOutOfRangeError as error:
            raise PositionLostError(f"{error}") from error
        messages = got.get(partition)
        if not messages:
            return False
        records = [kafka.record_of(message) for message in messages]
        outgoing = [
            (record.offset, out) for record in records for out in self._follow(partition, record)
        ]
        told_after = []
        if self._aside:
            told_after = [out for _, out in outgoing if out.topic == self._aside.topic]
            outgoing = [one for one in outgoing if one[1].topic != self._aside.topic]
        last = records[-1]
        position = {partition: OffsetAndMetadata(last.offset + 1, mark(last))}
        try:
            async with asyncio.timeout(kafka.SEND_TIMEOUT_S):
                if self._transactional:
                    async with sender.producer.transaction():
                        await self._send(partition, sender, outgoing)
                        await sender.producer.send_offsets_to_transaction(position, self._group)
                else:
                    await self._send(partition, sender, outgoing)
                    await self._consumer.commit(position)
        except BaseException:
            metrics.TRANSACTIONS.labels(self._group, "aborted").inc()
            raise
        if self._aside and told_after:
            self._aside.offer(told_after)
        metrics.TRANSACTIONS.labels(self._group, "committed").inc()
        metrics.CONSUMED.labels(self._group, partition.topic).inc(len(messages))
        return True

    async def _send(
        self, partition: TopicPartition, sender: Sender, outgoing: Sequence[tuple[int, Outgoing]]
    ) -> None:
        try:
            await sender.send(out for _, out in outgoing)
        except TooLargeError as error:
            self._unsendable |= {(partition, outgoing[index][0]) for index in error.indexes}
            raise

    def _follow(self, partition: TopicPartition, record: Record) -> Sequence[Outgoing]:
        """What follows from `record`; a bad one goes, byte for byte, to the dead letters."""
        try:
            if (partition, record.offset) in self._unsendable:
                raise PermanentError("record.too_large", "what follows is too large for Kafka")
            return self._transform(record)
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, it is set aside
            code = code_of(error)
            metrics.DEAD.labels(self._group, code).inc()
            log.error("engine.dead", topic=record.topic, offset=record.offset, code=code)
            return [kafka.dead_letter(record, code, error, self._group)]


def _place(partition: TopicPartition) -> str:
    return f"{partition.topic}:{partition.partition}"
