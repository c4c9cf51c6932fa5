"""The one way in which events reach PostgreSQL: a Faust agent feeding `Sink`.

A batch is handled in one transaction: each event goes into the inbox and to its handler, and
only after the commit is the batch acknowledged. What is down is tried again in place; what is
bad is parked with its case, and the other cases go on. docs/decisions/0003 says why Faust is
used in just this form.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import faust
import structlog
from aiokafka import AIOKafkaConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types.auth import SASLMechanism
from faust.types.tuples import TP, ack_lock
from mode.supervisors import CrashingSupervisor

from shared.contract import topics
from shared.contract.errors import PermanentError, TransientError
from shared.contract.events import Event, derived_id
from shared.contract.wire import Outgoing, Record, decode
from shared.runtime import kafka, metrics
from shared.runtime.outbox import Tables
from shared.runtime.postgres import TRANSIENT, Connection, Pool
from shared.runtime.settings import Settings

log = structlog.get_logger()

Handler = Callable[[Connection, Event, Record], Awaitable[None]]

_AGAIN: tuple[type[BaseException], ...] = (TransientError, *TRANSIENT)
_BATCH_RECORDS = 500
_WITHIN_S = 0.02
_LONGEST_DELAY_S = 5.0


class Sink:
    """Handles batches of records in PostgreSQL, each event once.

    `wanted` are the event types that `handle` understands; others are skipped. `handle` runs
    inside the transaction: it changes the service's tables and appends to its outbox, no more.
    `ring` wakes the service's relay after the commit.

    On the topics `commands` somebody outside asks for something, and `handle` gets events of
    every type from them. What is bad there is refused: it goes to the dead letters and parks
    nothing, for the case that it names may be another's.
    """

    def __init__(
        self,
        pool: Pool,
        tables: Tables,
        group: str,
        wanted: Sequence[type[Event]],
        handle: Handler,
        ring: Callable[[], None],
        commands: Collection[str] = (),
    ) -> None:
        self._pool = pool
        self._tables = tables
        self._group = group
        self._wanted = wanted
        self._handle = handle
        self._ring = ring
        self._commands = frozenset(commands)
        self._known = f"SELECT event_id FROM {tables.schema}.inbox WHERE event_id = ANY($1)"

    async def take(self, records: Sequence[Record]) -> None:
        """Returns once every record is handled, parked or known as a repeat; never before."""
        delay_s = 0.1
        while True:
            try:
                await self._take_together(records)
                break
            except _AGAIN as error:
                metrics.RETRIES.labels(self._group).inc()
                log.warning("stream.retry", group=self._group, error=repr(error), in_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
        self._ring()
        for topic, count in kafka.by_topic(records).items():
            metrics.CONSUMED.labels(self._group, topic).inc(count)

    async def _take_together(self, records: Sequence[Record]) -> None:
        """The whole batch in one transaction; one by one when an event of it is bad."""
        try:
            await self._transaction(records)
        except _AGAIN:
            raise
        except Exception:  # noqa: BLE001 - found out one by one, just below
            for record in records:
                await self._take_alone(record)

    async def _take_alone(self, record: Record) -> None:
        try:
            await self._transaction([record])
        except _AGAIN:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, it is set aside
            code = error.code if isinstance(error, PermanentError) else "handler.failed"
            await self._set_aside(record, code, error)

    async def _transaction(self, records: Sequence[Record]) -> None:
        """Inbox, handlers and outbox for `records`, or nothing at all."""
        decoded = [(record, self._decode(record)) for record in records]
        events = [(record, event) for record, event in decoded if event is not None]
        if not events:
            return
        async with self._pool.acquire() as connection, connection.transaction():
            waiting = await self._tables.waiting(connection, {r.case_id for r, _ in events})
            held = [(record, event) for record, event in events if record.case_id in waiting]
            await self._hold(connection, held)
            free = [(record, event) for record, event in events if record.case_id not in waiting]
            fresh = await self._tables.first_times(connection, [event.id for _, event in free])
            for record, event in free:
                if event.id in fresh:
                    fresh.discard(event.id)
                    await self._handle(connection, event, record)
                else:
                    metrics.REPEATED.labels(self._group).inc()

    async def _hold(self, connection: Connection, held: Sequence[tuple[Record, Event]]) -> None:
        """Let these wait behind a parked event of their case, but for those handled before it."""
        if not held:
            return
        ids = [event.id for _, event in held]
        known: set[UUID] = {r["event_id"] for r in await connection.fetch(self._known, ids)}
        for record, event in held:
            if event.id in known:
                metrics.REPEATED.labels(self._group).inc()
                continue
            error = "an earlier event of this case is parked"
            if record.topic in self._commands:
                raise PermanentError("case.waiting", error)
            await self._tables.park(connection, record, "case.waiting", error)

    def _decode(self, record: Record) -> Event | None:
        if record.topic not in self._commands:
            return decode(record, self._wanted)
        event = decode(record)
        # Who asks chooses the id. It counts within the topic only: it can neither pass for an
        # event of the city's own, so that this one looks like a repeat, nor for another agency's.
        return event and event.model_copy(update={"id": derived_id(event.id, record.topic)})

    async def _set_aside(self, record: Record, code: str, error: Exception) -> None:
        stored, refused = _without_nul(record), record.topic in self._commands
        async with self._pool.acquire() as connection, connection.transaction():
            if refused:
                first = bool(await self._tables.first_times(connection, [_place(record)]))
            else:
                first = await self._tables.park(connection, stored, code, repr(error))
            if not first:
                return
            headers = tuple(kafka.dead_letter_headers(stored, code, error))
            letter = Outgoing(topics.dead(record.topic), record.key or b"", headers, record.value)
            await self._tables.append(connection, [letter])
        metrics.DEAD.labels(self._group, code).inc()
        if refused:
            log.warning("stream.refused", group=self._group, topic=record.topic, code=code)
        else:
            log.error("stream.parked", group=self._group, case_id=record.case_id, code=code)


def _place(record: Record) -> UUID:
    """An id for a record that may have none of its own."""
    return uuid5(NAMESPACE_URL, f"kafka:{record.topic}/{record.partition}/{record.offset}")


def _without_nul(record: Record) -> Record:
    """PostgreSQL's texts hold no NUL, and the case and the headers' names are texts there."""
    return replace(
        record,
        key=None if record.key is None else record.key.replace(b"\0", b"?"),
        headers=tuple((name.replace("\0", "?"), value) for name, value in record.headers),
    )


# Faust and the driver publish no types.
class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust reads uncommitted records unless its own transactions are on: what a relay or a
        # router took back would be taken for true. There is no setting for it.
        consumer._isolation_level = "read_committed"
        return consumer


class _Consumer(driver.Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

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


async def consume(settings: Settings, group: str, names: Sequence[str], sink: Sink) -> None:
    """Feed `sink` from the topics `names` as the consumer group `group`, until cancelled."""
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
        broker_max_poll_records=_BATCH_RECORDS,
        broker_commit_interval=0.5,
        broker_commit_every=1000,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        agent_supervisor=CrashingSupervisor,
    )
    app.transport = _Transport(app.conf.broker, app, loop=asyncio.get_running_loop())

    # A handler that raised would be acknowledged all the same; `Sink.take` returns only when
    # the batch is safe, and anything else crashes the whole process, which starts again.
    @app.agent(app.topic(*names, key_type=bytes, value_type=bytes))  # type: ignore[untyped-decorator]
    async def feed(stream: Any) -> None:
        async for events in stream.noack_take(_BATCH_RECORDS, within=_WITHIN_S):
            await sink.take([_record(event.message) for event in events])
            for event in events:
                event.ack()

    await app.start()
    log.info("stream.started", group=group, topics=len(names))
    try:
        # Returns when the app was stopped or has crashed; nobody but us stops it.
        await app.wait_until_stopped()
        raise TransientError(f"the stream of {group} crashed: {app.crash_reason!r}")
    finally:
        await app.stop()


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
