"""An outbox whose position in Kafka does not fit, brought into line with what Kafka has.

After the database was restored from an older copy or a dump, after Kafka or one of its topics was
lost. The rows are compared with the records, byte for byte and as multisets: what Kafka has is
not sent again, what it lacks is.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from shared.runtime import kafka
from shared.runtime.postgres import Connection, Pool
from shared.runtime.reading import up_to
from shared.runtime.relay import EVENT, POSITION, Position, cluster_of, group
from shared.runtime.settings import StoreSettings

_ROWS = "SELECT xid::text AS xid, seq, topic, key, header_names, header_values, value"


class MissingTopicError(Exception):
    """A topic that the outbox names is not there; the message says which."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """`in_kafka` rows were there already, `to_send` are sent now, from `position` on.

    `unknown` are records on these topics for which the outbox has no row: purged since, or lost
    with a database that was restored from an older copy.
    """

    in_kafka: int
    to_send: int
    unknown: int
    position: Position


async def recover_outbox(
    settings: StoreSettings, pool: Pool, schema: str, say: Callable[[str], None]
) -> Recovered:
    """Let the relay of `schema` go on where Kafka ends. It may run meanwhile, and waits.

    Doing it again changes nothing. Raises MissingTopicError, KafkaError, and what
    the database raises.
    """
    names = [
        row["topic"]
        for row in await pool.fetch(f"SELECT DISTINCT topic FROM {schema}.outbox ORDER BY topic")
    ]
    reader = _Reader(settings)
    try:
        await reader.start(names)
        say(f"reading {len(names)} topics")
        await reader.read()
        async with pool.acquire() as connection, connection.transaction():
            # Nobody writes or relays from here on; a relay that is about to begin waits for it.
            await connection.execute("SET LOCAL lock_timeout = '20s'")
            await connection.execute(
                f"LOCK TABLE {schema}.outbox_purged, {schema}.outbox IN ACCESS EXCLUSIVE MODE"
            )
            producer = kafka.producer(settings, transactional_id=group(schema))
            await producer.start()  # fences the relay, and ends what it left open
            try:
                await reader.read()
                rows = await connection.fetch(f"{_ROWS} FROM {schema}.outbox ORDER BY xid, seq")
                found = await _sort_out(connection, schema, rows, reader.records)
                async with producer.transaction():
                    offset = OffsetAndMetadata(found.position.seq, found.position.metadata)
                    await producer.send_offsets_to_transaction({POSITION: offset}, group(schema))
            finally:
                await producer.stop()
        return found
    finally:
        await reader.stop()


async def _sort_out(
    connection: Connection, schema: str, rows: Sequence[asyncpg.Record], records: Counter[bytes]
) -> Recovered:
    """Put the rows that Kafka lacks behind the others, in their order."""
    left = Counter(records)
    missing: list[int] = []
    there: list[int] = []
    for row in rows:
        identity = _identity(
            row["topic"],
            row["key"],
            tuple(zip(row["header_names"], row["header_values"], strict=True)),
            row["value"],
        )
        if left[identity]:
            left[identity] -= 1
            there.append(row["seq"])
        else:
            missing.append(row["seq"])
    # One transaction number for all: a restored dump brings numbers that lie in the future.
    await connection.execute(f"UPDATE {schema}.outbox SET xid = pg_current_xact_id()")
    await connection.execute(
        f"WITH moved AS (DELETE FROM {schema}.outbox WHERE seq = ANY($1) RETURNING *)"
        f" INSERT INTO {schema}.outbox"
        " (topic, key, header_names, header_values, value, created_at, refused)"
        " SELECT topic, key, header_names, header_values, value, created_at, refused FROM moved"
        " ORDER BY array_position($1, seq)",
        missing,
    )
    await connection.execute(
        f"INSERT INTO {schema}.outbox_purged (xid, seq) VALUES ('0', 0)"
        " ON CONFLICT (one) DO UPDATE SET xid = '0', seq = 0"
    )
    xid = int(await connection.fetchval("SELECT pg_current_xact_id()::text"))
    cluster = await cluster_of(connection)
    last = await connection.fetchrow(
        f"SELECT seq, {EVENT} AS event FROM {schema}.outbox WHERE seq = ANY($1)"
        " ORDER BY seq DESC LIMIT 1",
        there,
    )
    # Were this undone after Kafka has it, the first position would not fit the rows, and the
    # second is true of them as they were.
    position = (
        Position(xid, last["seq"], cluster, last["event"]) if last else Position(0, 0, cluster)
    )
    return Recovered(len(there), len(missing), left.total(), position)


class _Reader:
    """Counts the committed records of some topics, from the beginning; can read on later."""

    def __init__(self, settings: StoreSettings) -> None:
        self._consumer: AIOKafkaConsumer = kafka.consumer(settings)
        # To the reader of committed records a topic ends before the first open transaction, and
        # behind that others may have committed.
        self._ends = AIOKafkaConsumer(
            isolation_level="read_uncommitted", **kafka.connection(settings)
        )
        self._partitions: list[TopicPartition] = []
        self.records: Counter[bytes] = Counter()

    async def start(self, names: Sequence[str]) -> None:
        await self._consumer.start()
        await self._ends.start()
        self._partitions = await kafka.partitions_of(self._consumer, names)
        if missing := set(names) - {p.topic for p in self._partitions}:
            raise MissingTopicError(
                f"no topic {', '.join(sorted(missing))}: run `casebus topics apply` first"
            )
        await kafka.partitions_of(self._ends, names)
        self._consumer.assign(self._partitions)
        if self._partitions:
            await self._consumer.seek_to_beginning(*self._partitions)

    async def read(self) -> None:
        """Up to the end as it is now; transactions that are open are waited for."""
        ends = await self._ends.end_offsets(self._partitions)
        async for records in up_to(self._consumer, ends):
            self.records.update(
                _identity(one.topic, one.key or b"", one.headers, one.value) for one in records
            )

    async def stop(self) -> None:
        await self._consumer.stop()
        await self._ends.stop()


def _identity(
    topic: str, key: bytes, headers: Sequence[tuple[str, bytes]], value: bytes | None
) -> bytes:
    return hashlib.sha256(repr((topic, key, tuple(headers), value)).encode()).digest()
