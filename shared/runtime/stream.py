"""The one way in which events reach PostgreSQL: a Faust agent feeding `Sink`.

A batch is acknowledged after it is safe in PostgreSQL, with the stream's position; from there it
goes on, and the offsets in Kafka are for show. docs/decisions/0003 says why Faust is used in just
this form.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import faust
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types.auth import SASLMechanism
from faust.types.tuples import TP, ack_lock
from mode.supervisors import CrashingSupervisor
from mode.threads import ServiceThread, WorkerThread

from shared.contract.errors import TransientError
from shared.contract.wire import Record
from shared.runtime import kafka, metrics, orders
from shared.runtime.marks import misfits
from shared.runtime.postgres import TRANSIENT, Connection
from shared.runtime.process import side_by_side
from shared.runtime.settings import Settings
from shared.runtime.sink import Sink

log = structlog.get_logger()
_BATCH_RECORDS = 500
_WITHIN_S = 0.02
# A stream that has nothing in hand passes a record that waits for it within two looks.
_LOOK_EVERY_S = 15.0
_AGAIN_AFTER_S = 0.5
_LONGEST_DELAY_S = 5.0
# One that ran this long has not failed at its start.
_LONG_S = 60.0
_STOP_S = 4.0

Starts = Callable[[Mapping[TopicPartition, int | None]], Awaitable[dict[TopicPartition, int]]]


# Faust and the driver publish no types.
class _Worker(WorkerThread):  # type: ignore[misc]
    def __init__(self, service: ServiceThread, **arguments: Any) -> None:
        super().__init__(service, **arguments)
        self.daemon = True  # one that hangs on a broker that is gone keeps no process alive

    def run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            super().run()


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    Worker = _Worker

    async def stop(self) -> None:
        """As it was, but that our loop goes on while the thread ends, that what hangs in it is
        cancelled, and that a thread which was never started leaves no loop of its own open."""
        if not self._thread_started.is_set():
            self.thread_loop.close()
            return
        loop = asyncio.get_running_loop()
        hangs = loop.call_later(
            _STOP_S / 2, self.thread_loop.call_soon_threadsafe, self._cancel_everything
        )
        try:
            await super(ServiceThread, self).stop()
            ended = self._thread and self._thread.is_stopped
            while ended and not ended.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.02)
        finally:
            hangs.cancel()

    async def _serve(self) -> None:
        """As it was; then what was left open is cut: a loop that ends takes no socket with it."""
        try:
            await super()._serve()
        finally:
            for transport in list(getattr(self.thread_loop, "_transports", {}).values()):
                transport.abort()
            await asyncio.sleep(0)

    def _cancel_everything(self) -> None:
        for task in asyncio.all_tasks(self.thread_loop):
            task.cancel()

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust reads uncommitted records unless its own transactions are on: what a relay or a
        # router took back would be taken for true. There is no setting for it.
        consumer._isolation_level = "read_committed"
        return consumer


class _Consumer(driver.Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    starts: Starts

    async def perform_seek(self) -> None:
        """To where the database stands, not to what the group committed."""
        await super().perform_seek()
        committed = {
            TopicPartition(*tp): self._committed_offset.get(tp) for tp in self.assignment()
        }
        for partition, offset in (await self.starts(committed)).items():
            tp = TP(*partition)
            await self.seek(tp, offset)
            at = self._committed_offset.get(tp) or 0
            # Faust commits nothing below what it knows to be committed.
            if at > offset:
                self._committed_offset[tp] = None
            # Whoever died before had it in the database and said so to Kafka no more.
            if at < offset:
                with ack_lock:
                    self._acked[tp].append(offset - 1)

    def _new_offset(self, tp: TP) -> int | None:
        """What to commit: behind the last acknowledged, as our one agent goes by the offsets.

        Every transaction leaves a marker, a gap in the offsets. Faust counts the record behind a
        gap into it, meets that offset twice, and then commits one transaction at each commit
        interval only; and it never passes the gap that an aborted transaction leaves behind a
        partition's very first record.
        """
        with ack_lock:
            acked = self._acked[tp]
            if not acked:
                return None
            end = int(max(acked)) + 1
            acked.clear()
            self._acked_index[tp].clear()
            self._gap.pop(tp, None)
            return end


# Faust names the loggers of subclasses after this module; their talk belongs under its own name.
_Thread.logger = _Consumer.logger = driver.logger


class _Transport(driver.Transport):  # type: ignore[misc]
    Consumer = _Consumer


def _credentials(settings: Settings) -> faust.SASLCredentials | None:
    if settings.kafka_security == "PLAINTEXT":
        return None
    arguments = kafka.connection(settings)
    return faust.SASLCredentials(
        username=settings.kafka_username,
        password=settings.kafka_password.get_secret_value(),
        mechanism=SASLMechanism.SCRAM_SHA_512,
        ssl_context=arguments.get("ssl_context"),
    )


async def starts_of(
    settings: Settings, sink: Sink, committed: Mapping[TopicPartition, int | None]
) -> dict[TopicPartition, int]:
    """Where to go on in each partition: where the database stands.

    Where the database has not been yet, or the topic is not the one it knows (lost, and made
    again), that is the beginning: what was handled before is known by its id. Raises KafkaError,
    TimeoutError, and what the database raises.
    """
    known = await sink.tables.positions(sink.pool, sink.group)
    at = {p: known[p.topic, p.partition] for p in committed if (p.topic, p.partition) in known}
    wrong = await misfits(settings, at)
    for partition, why in wrong.items():
        log.error("stream.position_lost", group=sink.group, partition=str(partition), error=why)
    await sink.tables.forget(sink.pool, sink.group, list(wrong))
    found = {p: offset for p, (offset, _) in at.items() if p not in wrong}
    for partition, offset in found.items():
        if (committed[partition] or 0) > offset + _BATCH_RECORDS:
            log.warning(
                "stream.database_behind",
                group=sink.group,
                partition=str(partition),
                committed=committed[partition],
                goes_on_at=offset,
            )
    fresh = [p for p in committed if p not in found]
    return found | await _beginnings(settings, fresh)


async def _beginnings(
    settings: Settings, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    if not partitions:
        return {}
    async with kafka.started(kafka.consumer(settings)) as consumer:
        await kafka.partitions_of(consumer, sorted({p.topic for p in partitions}))
        found: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
        return found


async def _watch(app: faust.App, settings: Settings, sink: Sink) -> None:
    """Raises TransientError when records wait and nobody takes them, or a topic was made again.

    Seen of Faust: a worker that is in the group, owns partitions and reads nothing; and one that
    passes over the records of a topic that was made again, up to its old position.
    """
    before: dict[TopicPartition, tuple[int, str]] = {}
    waited: set[TopicPartition] = set()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        try:
            owned = [TopicPartition(*tp) for tp in app.consumer.assignment()]
            known = await sink.tables.positions(sink.pool, sink.group)
            at = {p: known.get((p.topic, p.partition), (0, "")) for p in owned}
            # Of the look before: since then a position may have gone on in the new topic.
            wrong = await misfits(settings, {p: before[p] for p in owned if p in before})
            waiting = await _records_at(settings, {p: offset for p, (offset, _) in at.items()})
        except (KafkaError, *TRANSIENT) as error:
            log.warning("stream.watch_failed", group=sink.group, error=repr(error))
            continue
        if wrong:
            raise _MadeAgainError(wrong)
        stuck = [p for p in waiting & waited if before.get(p, (0, "")) == at[p]]
        if stuck and not sink.busy:
            raise TransientError(f"{sink.group} owns {stuck[0]} and takes no record of it")
        before = {p: position for p, position in at.items() if position[1]}
        waited = set() if sink.busy else waiting


class _MadeAgainError(TransientError):
    def __init__(self, wrong: Mapping[TopicPartition, str]) -> None:
        super().__init__(f"these are not what they were: {dict(wrong)}")
        self.partitions = list(wrong)


async def _records_at(settings: Settings, at: Mapping[TopicPartition, int]) -> set[TopicPartition]:
    """The partitions with a record at or after these offsets; markers are none."""
    async with kafka.started(kafka.consumer(settings)) as consumer:
        await kafka.partitions_of(consumer, sorted({p.topic for p in at}))
        ends = await consumer.end_offsets(list(at))
        left = {p for p in at if at[p] < ends[p]}
        consumer.assign(list(left))
        for partition in left:
            consumer.seek(partition, at[partition])
        found: set[TopicPartition] = set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while left:
                    for partition, messages in (
                        await consumer.getmany(*left, timeout_ms=100)
                    ).items():
                        if messages:
                            found.add(partition)
                    left -= found
                    left = {p for p in left if await consumer.position(p) < ends[p]}
        return found


async def consume(settings: Settings, group: str, names: Sequence[str], sink: Sink) -> None:
    """Feed `sink` from the topics `names` as the consumer group `group`, until cancelled.

    Orders about parked events of these topics are carried out beside. A stream that fails, as
    when no broker answers, begins anew from where the database stands; the other parts of its
    process go on meanwhile. Raises HangingError.
    """
    delay_s = _AGAIN_AFTER_S
    while True:
        began = time.monotonic()
        try:
            await _consume(settings, group, names, sink)
        except (KafkaError, TransientError, *TRANSIENT) as error:
            metrics.RETRIES.labels(group).inc()
            if time.monotonic() - began > _LONG_S:
                delay_s = _AGAIN_AFTER_S
            log.error("stream.failed", group=group, error=repr(error), again_in_s=delay_s)
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 2, _LONGEST_DELAY_S)


class HangingError(Exception):
    """A stream that has failed does not end either: only the end of its process helps."""


async def _consume(settings: Settings, group: str, names: Sequence[str], sink: Sink) -> None:
    """Raises what made it fail."""
    app = faust.App(
        group,
        broker=[f"kafka://{address}" for address in settings.kafka.split(",")],
        broker_credentials=_credentials(settings),
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        datadir=tempfile.gettempdir(),  # it makes the folder, and we keep nothing there
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=kafka.SESSION_TIMEOUT_MS / 1000,
        broker_heartbeat_interval=kafka.HEARTBEAT_MS / 1000,
        consumer_metadata_max_age_ms=kafka.METADATA_MAX_AGE_MS,
        broker_max_poll_records=_BATCH_RECORDS,
        broker_commit_interval=0.5,
        broker_commit_every=1000,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        agent_supervisor=CrashingSupervisor,
    )
    app.transport = _Transport(app.conf.broker, app, loop=asyncio.get_running_loop())
    app.consumer.starts = lambda committed: starts_of(settings, sink, committed)

    async def mine(target: str) -> bool:
        async with sink.pool.acquire() as connection:
            record = await sink.tables.parked(connection, int(target.partition(":")[0]))
        return record is None or record.topic in names

    # A handler that raised would be acknowledged all the same; `Sink.take` returns only when
    # the batch is safe, and anything else crashes the whole process, which starts again.
    @app.agent(app.topic(*names, key_type=bytes, value_type=bytes))  # type: ignore[untyped-decorator]
    async def feed(stream: Any) -> None:
        async for events in stream.noack_take(_BATCH_RECORDS, within=_WITHIN_S):
            await sink.take([_record(event.message) for event in events])
            for event in events:
                event.ack()

    async def do(order: orders.Order, _: Connection) -> orders.Done:
        return await sink.carry_out(order, names)

    async def stopped() -> None:
        # Returns when the app was stopped or has crashed; nobody but us stops it.
        await app.wait_until_stopped()
        raise TransientError(f"the stream of {group} crashed: {app.crash_reason!r}")

    again: list[TopicPartition] = []
    try:
        await app.start()
        log.info("stream.started", group=group, topics=len(names))
        await side_by_side(
            stopped(),
            _watch(app, settings, sink),
            orders.carry_out(sink.pool, sink.tables.schema, "parked", do, mine),
        )
    except _MadeAgainError as error:
        again = error.partitions
        raise
    finally:
        try:
            async with asyncio.timeout(_STOP_S):
                await app.stop()
        except TimeoutError as error:
            raise HangingError(f"the stream of {group} has not ended in {_STOP_S} s") from error
        # Now that no batch can put it back: the next start begins at the beginning.
        await sink.tables.forget(sink.pool, group, again)


def _record(message: Any) -> Record:
    headers = message.headers or ()
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=int(message.timestamp * 1000),
        key=message.key,
        headers=tuple(headers.items() if hasattr(headers, "items") else headers),
        value=message.value,
    )
