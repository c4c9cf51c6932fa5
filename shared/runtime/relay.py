"""The relay: outbox rows to Kafka, each exactly once and in order.

Records and the position behind them are one Kafka transaction. The position is a group offset
on the topic outbox.positions: its metadata says "xid:seq". A second relay of the same outbox is
fenced by the transactional id.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import OffsetAndMetadata

from shared.contract import topics
from shared.runtime import kafka, metrics
from shared.runtime.cancellation import raise_if_cancelled
from shared.runtime.postgres import TRANSIENT, Pool
from shared.runtime.settings import Settings

log = structlog.get_logger()

_BATCH_ROWS = 500
_SLOW_POLL_S = 0.5
# A row may be hidden for a moment by another running transaction: look again soon after a ring.
_QUICK_POLL_S = 0.004
_QUICK_POLLS = 25
# Group offsets expire when nobody commits them: say the position again although nothing moved.
_REPEAT_POSITION_S = 6 * 3600
_POSITION = TopicPartition(topics.POSITIONS, 0)


class PositionLostError(Exception):
    """Kafka's position and the rows disagree; going on would lose or repeat. See operations.md."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """After the row (xid, seq). `Position(0, 0)` is before the first."""

    xid: int
    seq: int

    def __str__(self) -> str:
        return f"{self.xid}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        xid, seq = text.split(":")
        return cls(int(xid), int(seq))


def group(schema: str) -> str:
    """The consumer group under which the relay of a service's outbox keeps its position."""
    return f"relay-{schema}"


async def read_position(settings: Settings, schema: str) -> Position | None:
    """Where the relay stands, or None when it never committed."""
    admin = kafka.admin(settings)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group(schema), partitions=[_POSITION])
    finally:
        await admin.close()
    found = offsets.get(_POSITION)
    if found is None or found.offset < 0 or not found.metadata:
        return None
    return Position.parse(found.metadata)


class Relay:
    """Runs until cancelled; retries what is down, forever, from the committed position."""

    def __init__(self, settings: Settings, pool: Pool, schema: str) -> None:
        self._settings = settings
        self._pool = pool
        self._schema = schema
        self._wake = asyncio.Event()
        self._select = (
            "SELECT xid::text AS xid, seq, topic, key, header_names, header_values, value"
            f" FROM {schema}.outbox o"
            " WHERE (xid, seq) > ($1::text::xid8, $2)"
            " AND xid < pg_snapshot_xmin(pg_current_snapshot())"
            # A dead letter that is refused holds nobody back: it may bear a key that an agency made
            # up, and is no step of a case.
            f" AND o.refused IS NULL AND NOT EXISTS (SELECT FROM {schema}.outbox r"
            " WHERE r.key = o.key AND r.refused IS NOT NULL AND r.topic NOT LIKE '%.dead'"
            " AND (r.xid, r.seq) < (o.xid, o.seq))"
            f" ORDER BY o.xid, o.seq LIMIT {_BATCH_ROWS}"
        )

    async def run(self) -> None:
        delay_s = 0.2
        while True:
            began = time.monotonic()
            try:
                await self._session()
            except (KafkaError, *TRANSIENT) as error:
                metrics.RETRIES.labels(group(self._schema)).inc()
                log.warning("relay.retry", outbox=self._schema, error=repr(error), in_s=delay_s)
            raise_if_cancelled()
            if time.monotonic() - began > 30:
                delay_s = 0.2
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, 5.0)

    async def _session(self) -> None:
        producer = kafka.producer(self._settings, transactional_id=group(self._schema))
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_stop, producer)
            await producer.start()  # fences and completes what an earlier relay left open
            position = await self._resume()
            raise_if_cancelled()
            listener = await self._pool.acquire()
            stack.push_async_callback(self._pool.release, listener)
            channel = f"{self._schema}_outbox"
            await listener.add_listener(channel, self._on_ring)
            stack.push_async_callback(listener.remove_listener, channel, self._on_ring)
            log.info("relay.started", outbox=self._schema, position=str(position))
            await self._loop(producer, position)

    def _on_ring(self, *_: object) -> None:
        self._wake.set()

    async def _resume(self) -> Position:
        position = await read_position(self._settings, self._schema)
        purged = await self._pool.fetchrow(
            f"SELECT xid::text AS xid, seq FROM {self._schema}.outbox_purged"
        )
        ahead = await self._pool.fetchval(
            "SELECT $1::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot())",
            str(position.xid if position else 0),
        )
        if ahead or (purged and position is None):
            raise PositionLostError(
                f"outbox {self._schema}: position {position} in Kafka does not fit the rows "
                f"(purged up to {dict(purged) if purged else None}); docs/operations.md, "
                "'A position that does not fit'"
            )
        return position or Position(0, 0)

    async def _loop(self, producer: AIOKafkaProducer, position: Position) -> None:
        quick = 0
        said = time.monotonic()
        while True:
            self._wake.clear()
            rows = await self._pool.fetch(self._select, str(position.xid), position.seq)
            if rows:
                position = await self._publish(producer, rows)
                said, quick = time.monotonic(), _QUICK_POLLS
                continue
            if time.monotonic() - said > _REPEAT_POSITION_S and position.xid:
                async with asyncio.timeout(kafka.SEND_TIMEOUT_S), producer.transaction():
                    await self._commit(producer, position)
                said = time.monotonic()
            try:
                async with asyncio.timeout(_QUICK_POLL_S if quick else _SLOW_POLL_S):
                    await self._wake.wait()
                quick = _QUICK_POLLS
            except TimeoutError:
                quick = max(0, quick - 1)

    async def _publish(
        self, producer: AIOKafkaProducer, rows: Sequence[asyncpg.Record]
    ) -> Position:
        """Send `rows` in one transaction; returns the position behind them.

        A row that Kafka refuses for good is marked, so that the next read leaves it and the
        later ones of its case aside; the others pass.
        """
        after = Position(int(rows[-1]["xid"]), rows[-1]["seq"])
        try:
            async with asyncio.timeout(kafka.SEND_TIMEOUT_S), producer.transaction():
                sent = []
                for row in rows:
                    headers = list(zip(row["header_names"], row["header_values"], strict=True))
                    try:
                        sent.append(
                            await producer.send(
                                row["topic"], row["value"], key=row["key"], headers=headers
                            )
                        )
                    except MessageSizeTooLargeError as error:
                        raise _RefusedError(row["seq"], error) from error
                results = await asyncio.gather(*sent, return_exceptions=True)
                for row, result in zip(rows, results, strict=True):
                    if isinstance(result, MessageSizeTooLargeError):
                        raise _RefusedError(row["seq"], result) from result
                    if isinstance(result, BaseException):
                        raise result
                await self._commit(producer, after)
        except _RefusedError as refused:
            await self._pool.execute(
                f"UPDATE {self._schema}.outbox SET refused = $2 WHERE seq = $1",
                refused.seq,
                repr(refused.reason),
            )
            metrics.RELAY_REFUSED.labels(self._schema).inc()
            log.error("relay.row_refused", outbox=self._schema, seq=refused.seq)
            # Just before the first of these rows, so that the rest is read again.
            return Position(int(rows[0]["xid"]), rows[0]["seq"] - 1)
        metrics.RELAYED.labels(self._schema).inc(len(rows))
        return after

    async def _commit(self, producer: AIOKafkaProducer, position: Position) -> None:
        offset = OffsetAndMetadata(position.seq, str(position))
        await producer.send_offsets_to_transaction({_POSITION: offset}, group(self._schema))


class _RefusedError(Exception):
    def __init__(self, seq: int, reason: Exception) -> None:
        super().__init__(str(reason))
        self.seq = seq
        self.reason = reason


async def _stop(producer: AIOKafkaProducer) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(3):
            await producer.stop()
