"""The relay: outbox rows to Kafka, each exactly once and in order.

Records and the position behind them are one Kafka transaction. The position is a group offset
on the topic outbox.positions: its metadata says "xid:seq:cluster:event", the row, the database
cluster that it is of, and the event that it holds. A second relay of the same outbox is fenced by
the transactional id.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
)
from aiokafka.structs import OffsetAndMetadata

from shared.contract import topics
from shared.runtime import kafka, metrics
from shared.runtime.cancellation import raise_if_cancelled
from shared.runtime.orders import Done, Order, carry_out
from shared.runtime.outbox import Tables
from shared.runtime.postgres import TRANSIENT, Connection, Pool
from shared.runtime.process import side_by_side
from shared.runtime.settings import Settings, StoreSettings

log = structlog.get_logger()

_BATCH_ROWS = 500
_SLOW_POLL_S = 0.5
# A row may be hidden for a moment by another running transaction: look again soon after a ring.
_QUICK_POLL_S = 0.004
_QUICK_POLLS = 25
# Group offsets expire when nobody commits them: say the position again although nothing moved.
_REPEAT_POSITION_S = 6 * 3600
_PURGE_EVERY_S = 3600
_LOOK_AGAIN_S = 5.0
# Another relay of the same outbox has taken over.
FENCED = (ProducerFenced, InvalidProducerEpoch)
POSITION = TopicPartition(topics.POSITIONS, 0)


class PositionLostError(Exception):
    """Kafka's position and the rows disagree; going on would lose or repeat. See operations.md."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """After the row (xid, seq). `Position(0, 0)` is before the first.

    `cluster` is PostgreSQL's system identifier, `event` the id of the event in that row; empty
    where it is not known.
    """

    xid: int
    seq: int
    cluster: str = field(default="", compare=False)
    event: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.xid}:{self.seq}"

    @property
    def metadata(self) -> str:
        return f"{self}:{self.cluster}:{self.event}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        xid, seq, *rest = text.split(":", 3)
        return cls(int(xid), int(seq), *rest)


# A row's event, in SQL. A dead letter's headers are anybody's: no text perhaps, or a long one.
EVENT = (
    "coalesce(left(encode(header_values[array_position(header_names, 'ce_id')], 'escape'), 36), '')"
)


def not_held(schema: str) -> str:
    """That the row `o` of the outbox is neither refused nor behind a refused one of its case.

    A dead letter that is refused holds nobody back: it may bear a key that an agency made up, and
    is no step of a case.
    """
    return (
        f"o.refused IS NULL AND NOT EXISTS (SELECT FROM {schema}.outbox r"
        " WHERE r.key = o.key AND r.refused IS NOT NULL AND r.topic NOT LIKE '%.dead'"
        " AND (r.xid, r.seq) < (o.xid, o.seq))"
    )


async def cluster_of(connection: "Connection | Pool") -> str:
    """PostgreSQL's system identifier: a restored dump has another."""
    return str(await connection.fetchval("SELECT system_identifier FROM pg_control_system()"))


def group(schema: str) -> str:
    """The consumer group under which the relay of a service's outbox keeps its position."""
    return f"relay-{schema}"


async def read_position(settings: Settings, schema: str) -> Position | None:
    """Where the relay stands, or None when it never committed."""
    async with kafka.started(kafka.admin(settings)) as admin:
        offsets = await admin.list_consumer_group_offsets(group(schema), partitions=[POSITION])
    found = offsets.get(POSITION)
    if found is None or found.offset < 0 or not found.metadata:
        return None
    return Position.parse(found.metadata)


class Relay:
    """Runs until cancelled; retries what is down, forever, from the committed position."""

    def __init__(self, settings: StoreSettings, pool: Pool, schema: str) -> None:
        self._settings = settings
        self._tables = Tables(schema)
        self._cluster = ""
        self._pool = pool
        self._schema = schema
        self._wake = asyncio.Event()
        self._marked = False
        self._select = (
            "SELECT xid::text AS xid, seq, topic, key, header_names, header_values, value,"
            f" {EVENT} AS event"
            f" FROM {schema}.outbox o"
            " WHERE (xid, seq) > ($1::text::xid8, $2)"
            " AND xid < pg_snapshot_xmin(pg_current_snapshot())"
            f" AND {not_held(schema)} ORDER BY o.xid, o.seq LIMIT {_BATCH_ROWS}"
        )

    async def run(self) -> None:
        await side_by_side(
            self._relay(),
            self._purge(),
            carry_out(self._pool, self._schema, "row", self._carry_out),
        )

    async def _relay(self) -> None:
        delay_s = 0.2
        while True:
            began = time.monotonic()
            try:
                await self._session()
            except PositionLostError as error:
                # Somebody has to mend it; the rest of the service goes on, and so do we after it.
                metrics.POSITION_LOST.labels(self._schema).set(1)
                log.error("relay.position_lost", outbox=self._schema, error=str(error))
                delay_s = _LOOK_AGAIN_S
            except (KafkaError, *TRANSIENT) as error:
                if isinstance(error, FENCED):
                    metrics.FENCES.labels(group(self._schema)).inc()
                metrics.RETRIES.labels(group(self._schema)).inc()
                log.warning("relay.retry", outbox=self._schema, error=repr(error), in_s=delay_s)
            raise_if_cancelled()
            if time.monotonic() - began > 30:
                delay_s = 0.2
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, 5.0)

    async def _session(self) -> None:
        # Waits here while `casebus recover` is at work, and does not fence it.
        await self._purged()
        producer = kafka.producer(self._settings, transactional_id=group(self._schema))
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_stop, producer)
            await producer.start()  # fences and completes what an earlier relay left open
            position = await self._resume()
            metrics.POSITION_LOST.labels(self._schema).set(0)
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

    async def until_it_fits(self) -> None:
        """Returns once the position in Kafka fits the rows: the database is none of before."""
        while True:
            try:
                await self._resume()
                return
            except PositionLostError as error:
                log.error("relay.position_lost", outbox=self._schema, error=str(error))
            except (KafkaError, *TRANSIENT) as error:
                log.warning("relay.retry", outbox=self._schema, error=repr(error))
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _purged(self) -> Position | None:
        """Up to where rows were purged; (0, 0) when none was, but some were sent."""
        row = await self._pool.fetchrow(
            f"SELECT xid::text AS xid, seq FROM {self._schema}.outbox_purged"
        )
        return None if row is None else Position(int(row["xid"]), row["seq"])

    async def _resume(self) -> Position:
        position = await read_position(self._settings, self._schema)
        self._cluster = await cluster_of(self._pool)
        wrong = await self._misfit(position)
        if wrong:
            raise PositionLostError(
                f"outbox {self._schema}: {wrong}; casebus recover {self._schema}, see "
                "docs/operations.md, 'A position that does not fit'"
            )
        return position or Position(0, 0)

    async def _misfit(self, position: Position | None) -> str:
        """What is wrong with the position in Kafka; empty when it fits the rows."""
        purged = await self._purged()
        future = await self._pool.fetchval(
            f"SELECT max(xid) >= pg_snapshot_xmax(pg_current_snapshot()) FROM {self._schema}.outbox"
        )
        if future:
            return "rows are of transactions that lie ahead: the database was filled from a dump"
        if position is None:
            return "Kafka has no position, although rows were sent" if purged else ""
        if position.cluster and position.cluster != self._cluster:
            return f"position {position} in Kafka is of another database than this one"
        ahead = await self._pool.fetchval(
            "SELECT $1::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot())", str(position.xid)
        )
        if ahead:
            return f"position {position} in Kafka lies ahead of the database"
        # Of old, positions said no more than the row; what was purged cannot be looked at.
        if not position.cluster or position <= (purged or Position(0, 0)):
            return ""
        found = await self._pool.fetchval(
            f"SELECT {EVENT} FROM {self._schema}.outbox WHERE xid = $1::text::xid8 AND seq = $2",
            str(position.xid),
            position.seq,
        )
        if found != position.event:
            return f"the row at Kafka's position {position} is not the one that was sent"
        return ""

    async def _mark_sent(self) -> None:
        """From now on a missing position is a lost one, and not the beginning."""
        await self._pool.execute(
            f"INSERT INTO {self._schema}.outbox_purged (xid, seq) VALUES ('0', 0)"
            " ON CONFLICT DO NOTHING"
        )

    async def _carry_out(self, order: Order, connection: Connection) -> Done:
        drop = order.action == "drop"
        moved = await self._tables.send_anew(connection, int(order.target), drop=drop)
        self._wake.set()
        if moved is None:
            return Done("no row under this number is refused any more")
        return Done(f"{moved} rows are on their way" if moved else "dropped")

    async def _purge(self) -> None:
        """Delete rows that were sent long ago, again and again until cancelled.

        The row at the position stays, and so does what is refused or waits behind it. Releases
        of rules stay for ever: a topic that was lost is filled from here.
        """
        while True:
            try:
                position = await read_position(self._settings, self._schema)
                # Before a position that does not fit lie rows that were never sent.
                if (
                    position is not None
                    and position.cluster == self._cluster
                    and not await self._misfit(position)
                ):
                    await self._purge_before(position)
            except (KafkaError, *TRANSIENT) as error:
                log.warning("relay.purge_failed", outbox=self._schema, error=repr(error))
            await asyncio.sleep(_PURGE_EVERY_S)

    async def _purge_before(self, position: Position) -> None:
        schema = self._schema
        async with self._pool.acquire() as connection, connection.transaction():
            count = await connection.fetchval(
                f"WITH gone AS (DELETE FROM {schema}.outbox o WHERE (xid, seq) < ($1::text::xid8,"
                " $2) AND created_at < now() - make_interval(days => $3) AND topic <> $4"
                " AND refused IS NULL AND NOT EXISTS (SELECT FROM"
                f" {schema}.outbox r WHERE r.key = o.key AND r.refused IS NOT NULL) RETURNING 1)"
                " SELECT count(*) FROM gone",
                str(position.xid),
                position.seq,
                self._settings.outbox_keep_days,
                topics.RULES,
            )
        if count:
            log.info("relay.purged", outbox=schema, rows=count)

    async def _loop(self, producer: AIOKafkaProducer, position: Position) -> None:
        quick = 0
        said = time.monotonic()
        while True:
            self._wake.clear()
            rows = await self._pool.fetch(self._select, str(position.xid), position.seq)
            if rows:
                position = await self._publish(producer, rows, position)
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
        self, producer: AIOKafkaProducer, rows: Sequence[asyncpg.Record], before: Position
    ) -> Position:
        """Send `rows` in one transaction; returns the position behind them.

        A row that Kafka refuses for good is marked, so that the next read, from `before` on, leaves
        it and the later ones of its case aside; the others pass.
        """
        last = rows[-1]
        after = Position(int(last["xid"]), last["seq"], self._cluster, last["event"])
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
            return before
        except BaseException:
            metrics.TRANSACTIONS.labels(group(self._schema), "aborted").inc()
            raise
        metrics.TRANSACTIONS.labels(group(self._schema), "committed").inc()
        metrics.RELAYED.labels(self._schema).inc(len(rows))
        if not self._marked:
            await self._mark_sent()
            self._marked = True
        return after

    async def _commit(self, producer: AIOKafkaProducer, position: Position) -> None:
        offset = OffsetAndMetadata(position.seq, position.metadata)
        await producer.send_offsets_to_transaction({POSITION: offset}, group(self._schema))


class _RefusedError(Exception):
    def __init__(self, seq: int, reason: Exception) -> None:
        super().__init__(str(reason))
        self.seq = seq
        self.reason = reason


async def _stop(producer: AIOKafkaProducer) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(3):
            await producer.stop()
