"""The relay: each outbox row once and in the order of transactions, whatever happens to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from shared.contract.wire import Outgoing
from shared.runtime import kafka
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Pool
from shared.runtime.relay import PositionLostError, Relay, group, read_position
from tests.broker.ground import Ground, running
from tests.city import eventually

_TOO_LARGE = b"x" * 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Outbox:
    """An outbox, the topic that its rows name, and a relay between them when it is started."""

    ground: Ground
    schema: str
    topic: str
    pool: Pool

    @contextlib.asynccontextmanager
    async def relay(self) -> AsyncIterator["asyncio.Future[None]"]:
        """A relay that runs beside the test."""
        async with self.ground.pool(f"relay-{self.schema}") as pool:
            async with running(Relay(self.ground.settings(), pool, self.schema).run()) as task:
                yield task

    async def append(self, *values: bytes, key: bytes = b"case-1") -> None:
        """One transaction with a row for each value."""
        rows = [Outgoing(self.topic, key, (("n", value[:20]),), value) for value in values]
        async with self.pool.acquire() as connection, connection.transaction():
            await Tables(self.schema).append(connection, rows)

    async def values(self) -> list[bytes | None]:
        return [record.value for record in await self.ground.records(self.topic)]

    async def arrived(self, wanted: Sequence[bytes]) -> None:
        """Until the relay stands behind the last row; then Kafka has just these, in this order."""
        await self.at_end()
        assert await self.values() == list(wanted)

    async def at_end(self) -> None:
        last = await self.pool.fetchval(
            f"SELECT xid || ':' || seq FROM {self.schema}.outbox ORDER BY xid DESC, seq DESC"
        )

        async def position() -> str:
            return str(await read_position(self.ground.settings(), self.schema))

        await eventually(position, lambda found: found == last)


@pytest_asyncio.fixture
async def outbox(ground: Ground) -> AsyncIterator[Outbox]:
    schema = await ground.schema()
    async with ground.pool(schema) as pool:
        yield Outbox(ground, schema, await ground.topic("told"), pool)


async def _use_up_transactions(pool: Pool, below: int) -> None:
    """Until ids under `below` lie in the past, as in a database that has lived for a while."""
    while await pool.fetchval("SELECT pg_current_xact_id()::text::bigint") <= below:
        pass


async def test_rows_go_in_the_order_of_transactions_also_where_the_ids_get_longer(
    outbox: Outbox,
) -> None:
    await _use_up_transactions(outbox.pool, 1100)
    # 9 and 10, 99 and 100, 999 and 1000, in more than two batches; later ones have earlier seqs.
    xids = range(2, 1102)
    rows = [(2000 - xid, str(xid), outbox.topic, str(xid).encode()) for xid in xids]
    await outbox.pool.executemany(
        f"INSERT INTO {outbox.schema}.outbox"
        " (seq, xid, topic, key, header_names, header_values, value)"
        " OVERRIDING SYSTEM VALUE VALUES ($1, $2::text::xid8, $3, 'case-1', '{}', '{}', $4)",
        rows,
    )
    async with outbox.relay():
        await outbox.arrived([str(xid).encode() for xid in xids])


async def test_a_relay_that_stops_where_the_ids_get_longer_repeats_nothing(
    outbox: Outbox,
) -> None:
    insert = (
        f"INSERT INTO {outbox.schema}.outbox (xid, topic, key, header_names, header_values, value)"
        " VALUES ($1::text::xid8, $2, 'case-1', '{}', '{}', $3)"
    )
    await _use_up_transactions(outbox.pool, 1000)
    sent = []
    for xid in (9, 10, 99, 100, 999, 1000):
        await outbox.pool.execute(insert, str(xid), outbox.topic, str(xid).encode())
        sent.append(str(xid).encode())
        async with outbox.relay():
            await outbox.arrived(sent)


async def test_a_transaction_that_commits_late_is_not_passed_over(outbox: Outbox) -> None:
    async with outbox.relay():
        await outbox.append(b"before")
        await outbox.arrived([b"before"])
        late = await asyncpg.connect(outbox.ground.server.admin_uri)
        try:
            async with late.transaction():
                await Tables(outbox.schema).append(
                    late, [Outgoing(outbox.topic, b"case-1", (), b"late, with the earlier seq")]
                )
                await outbox.append(b"early, with the later seq")
                await _looked_again(outbox)
                assert await outbox.values() == [b"before"]
        finally:
            await late.close()
        await outbox.arrived(
            [b"before", b"late, with the earlier seq", b"early, with the later seq"]
        )


async def test_a_sequence_that_runs_against_the_transactions_loses_nothing(outbox: Outbox) -> None:
    async with outbox.relay():
        old = await asyncpg.connect(outbox.ground.server.admin_uri)
        try:
            async with old.transaction():
                await old.execute("SELECT pg_current_xact_id()")
                await outbox.append(b"younger transaction, earlier seq")
                await _looked_again(outbox)
                await Tables(outbox.schema).append(
                    old, [Outgoing(outbox.topic, b"case-1", (), b"older transaction, later seq")]
                )
        finally:
            await old.close()
        await outbox.arrived([b"older transaction, later seq", b"younger transaction, earlier seq"])


async def _looked_again(outbox: Outbox) -> None:
    """Until the relay has read its outbox anew. Its pool's connections are used by it alone."""
    for _ in range(2):  # the first may be the end of a read that began before
        now = await outbox.pool.fetchval("SELECT clock_timestamp()")

        async def looked(now: datetime = now) -> bool:
            found = await outbox.pool.fetchval(
                "SELECT max(query_start) > $1 FROM pg_stat_activity"
                " WHERE application_name = $2 AND state = 'idle'",
                now,
                f"casebus-relay-{outbox.schema}",
            )
            return bool(found)

        await eventually(looked)


async def test_a_relay_goes_on_from_where_it_stopped(outbox: Outbox) -> None:
    sent = []
    for n in range(3):
        sent += [b"%d of round %d" % (k, n) for k in range(50)]
        await outbox.append(*sent[-50:])
        async with outbox.relay():
            await outbox.arrived(sent)


async def test_what_a_dead_relay_left_open_is_taken_back_and_sent_once(outbox: Outbox) -> None:
    """It died between the sends and the commit: nothing of it may show, and nothing be missing."""
    await outbox.append(b"one", b"two")
    dead = kafka.producer(outbox.ground.settings(), transactional_id=group(outbox.schema))
    await dead.start()
    await dead.begin_transaction()
    await dead.send_and_wait(outbox.topic, b"one", key=b"case-1")
    async with outbox.relay():
        await outbox.arrived([b"one", b"two"])
    with contextlib.suppress(Exception):  # it was fenced, and says so once more
        await dead.stop()


async def test_a_second_relay_fences_the_first_and_nothing_is_sent_twice(outbox: Outbox) -> None:
    sent = [b"%d" % n for n in range(60)]

    async def starts() -> int:
        return [one["event"] for one in logs].count("relay.started")

    with capture_logs() as logs:
        async with outbox.relay():
            await outbox.append(*sent[:20])
            await outbox.arrived(sent[:20])
            async with outbox.relay():
                await eventually(starts, lambda count: count == 2)
                for value in sent[20:]:
                    await outbox.append(value)
                await outbox.arrived(sent)
    fenced = [one["error"] for one in logs if one["event"] == "relay.retry"]
    assert any("Fenced" in error for error in fenced), fenced


async def test_a_row_that_kafka_refuses_holds_back_its_own_case_only(outbox: Outbox) -> None:
    await outbox.append(b"first of case-1")
    await outbox.append(b"first of case-2", key=b"case-2")
    await outbox.append(_TOO_LARGE)
    await outbox.append(b"second of case-2", key=b"case-2")
    await outbox.append(b"must wait", b"must wait too")
    await outbox.append(b"third of case-2", key=b"case-2")
    passed = [
        b"first of case-1",
        b"first of case-2",
        b"second of case-2",
        b"third of case-2",
    ]
    async with outbox.relay():
        await outbox.arrived(passed)
        await outbox.append(b"must wait for ever")
        await outbox.append(b"fourth of case-2", key=b"case-2")
        await outbox.arrived([*passed, b"fourth of case-2"])
    refused = await outbox.pool.fetch(
        f"SELECT value, refused FROM {outbox.schema}.outbox WHERE refused IS NOT NULL"
    )
    assert [row["value"] for row in refused] == [_TOO_LARGE]
    assert "MessageSizeTooLarge" in refused[0]["refused"]


async def test_a_topic_that_is_missing_is_waited_for(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "SEND_TIMEOUT_S", 1.0)
    missing = outbox.ground.name("missing")
    other = [Outgoing(missing, b"case-1", (), b"waits")]
    async with outbox.pool.acquire() as connection, connection.transaction():
        await Tables(outbox.schema).append(connection, other)
    await outbox.append(b"goes with it")
    with capture_logs() as logs:
        async with outbox.relay():

            async def retried() -> bool:
                return any(one["event"] == "relay.retry" for one in logs)

            await eventually(retried)
            assert await read_position(outbox.ground.settings(), outbox.schema) is None
            assert await outbox.values() == []
            await outbox.ground.topics(missing)
            await outbox.arrived([b"goes with it"])
    assert [one.value for one in await outbox.ground.records(missing)] == [b"waits"]


async def test_a_position_ahead_of_the_database_stops_the_relay_and_says_why(
    outbox: Outbox,
) -> None:
    """The database was restored from a backup: going on would pass over new rows in silence."""
    await outbox.append(b"new")
    await outbox.ground.put_position(outbox.schema, "987654321:5")
    with pytest.raises(PositionLostError, match=r"position 987654321:5 in Kafka does not fit"):
        async with asyncio.timeout(10), outbox.relay() as task:
            await task
    assert await outbox.values() == []


async def test_a_lost_position_is_not_taken_for_the_beginning(outbox: Outbox) -> None:
    """Rows were purged, and Kafka knows no position any more: what was sent cannot be told."""
    await outbox.pool.execute(
        f"INSERT INTO {outbox.schema}.outbox_purged (xid, seq) VALUES ('700', 41)"
    )
    await outbox.append(b"new")
    with pytest.raises(PositionLostError, match=r"position None .*purged up to .*700.*41"):
        async with asyncio.timeout(10), outbox.relay() as task:
            await task
    assert await outbox.values() == []
