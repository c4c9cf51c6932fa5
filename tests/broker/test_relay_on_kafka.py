"""The relay: each outbox row once and in the order of transactions, whatever happens to it."""

import contextlib
from collections.abc import MutableMapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from shared.contract import topics
from shared.contract.wire import Outgoing
from shared.runtime import kafka, metrics, relay
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Pool
from shared.runtime.relay import group, read_position
from tests.broker.outbox import Outbox
from tests.city import eventually

_TOO_LARGE = b"x" * 2 * 1024 * 1024


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


@pytest.fixture
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_LOOK_AGAIN_S", 0.1)


async def _told_lost(logs: Sequence[MutableMapping[str, Any]]) -> list[str]:
    return [one["error"] for one in logs if one["event"] == "relay.position_lost"]


async def _stops(outbox: Outbox, *why: str) -> None:
    """A relay that is started says why, again and again, and sends nothing meanwhile."""
    before = await outbox.values()
    with capture_logs() as logs:
        async with outbox.relay() as task:
            said = await eventually(lambda: _told_lost(logs), lambda found: len(found) > 1)
            assert not task.done()
    for part in why:
        assert part in said[0]
    assert await outbox.values() == before


@pytest.mark.usefixtures("_looks_often")
async def test_a_position_ahead_of_the_database_stops_the_relay_and_says_why(
    outbox: Outbox,
) -> None:
    """The database was restored from a backup: going on would pass over new rows in silence."""
    await outbox.append(b"new")
    await outbox.ground.put_position(outbox.schema, "987654321:5")
    await _stops(outbox, "position 987654321:5 in Kafka lies ahead", "casebus recover")


@pytest.mark.usefixtures("_looks_often")
async def test_a_lost_position_is_not_taken_for_the_beginning(outbox: Outbox) -> None:
    """Rows were sent, and Kafka knows no position any more."""
    await outbox.append(b"old")
    async with outbox.relay():
        await outbox.arrived([b"old"])
    await outbox.append(b"new")
    await outbox.lose_position()
    await _stops(outbox, "Kafka has no position, although rows were sent")


@pytest.mark.usefixtures("_looks_often")
async def test_a_position_of_another_database_stops_the_relay(outbox: Outbox) -> None:
    await outbox.append(b"new")
    await outbox.ground.put_position(outbox.schema, "1:1:4711:")
    await _stops(outbox, "position 1:1 in Kafka is of another database than this one")


@pytest.mark.usefixtures("_looks_often")
async def test_a_position_on_a_row_that_holds_another_event_stops_the_relay(
    outbox: Outbox,
) -> None:
    await outbox.append(b"new")
    select = f"SELECT xid::text AS xid, seq FROM {outbox.schema}.outbox"
    (row,) = await outbox.pool.fetch(select)
    cluster = await relay.cluster_of(outbox.pool)
    await outbox.ground.put_position(
        outbox.schema, f"{row['xid']}:{row['seq']}:{cluster}:another-event"
    )
    await _stops(outbox, "is not the one that was sent")


@pytest.mark.usefixtures("_looks_often")
async def test_rows_of_transactions_that_lie_ahead_stop_the_relay(outbox: Outbox) -> None:
    """A dump, and a Kafka that is new too: these rows would wait without end, others pass them."""
    await outbox.append(b"of the dump", b"and this")
    await outbox.pool.execute(f"UPDATE {outbox.schema}.outbox SET xid = '987654321'")
    await outbox.append(b"new")
    await _stops(outbox, "rows are of transactions that lie ahead")


@pytest.mark.usefixtures("_looks_often")
async def test_a_relay_that_was_stopped_goes_on_by_itself_once_it_is_mended(
    outbox: Outbox,
) -> None:
    await outbox.append(b"old")
    async with outbox.relay():
        await outbox.arrived([b"old"])
    await outbox.append(b"new")
    said = await read_position(outbox.ground.settings(), outbox.schema)
    assert said is not None
    await outbox.lose_position()
    with capture_logs() as logs:
        async with outbox.relay():
            await eventually(lambda: _told_lost(logs))
            assert metrics.POSITION_LOST.labels(outbox.schema)._value.get() == 1
            await outbox.ground.put_position(outbox.schema, said.metadata)
            await outbox.arrived([b"old", b"new"])
            assert metrics.POSITION_LOST.labels(outbox.schema)._value.get() == 0


async def test_a_dead_letter_whose_id_is_no_text_stops_no_relay(outbox: Outbox) -> None:
    """Its headers are anybody's; the position names the event of the row it stands at."""
    ids = (b"\xff\x00\xfe", b"", b"\\", b"i" * 8000, "\u65b0".encode())
    rows = [Outgoing(outbox.topic, b"case-1", (("ce_id", one),), one) for one in ids]
    for row in rows:
        async with outbox.pool.acquire() as connection, connection.transaction():
            await Tables(outbox.schema).append(connection, [row])
        for _ in range(2):  # the second begins at the position that the first left
            async with outbox.relay():
                await outbox.at_end()
    assert await outbox.values() == list(ids)


async def _left(outbox: Outbox) -> list[bytes]:
    """The rows that a purge has left."""
    rows = await outbox.pool.fetch(f"SELECT value FROM {outbox.schema}.outbox ORDER BY xid, seq")
    return [row["value"] for row in rows]


async def _age(outbox: Outbox) -> None:
    await outbox.pool.execute(
        f"UPDATE {outbox.schema}.outbox SET created_at = now() - interval '31 days'"
        " WHERE value NOT LIKE 'young%'"
    )


async def test_a_purge_takes_old_rows_that_were_sent_and_nothing_else(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = Outgoing(topics.RULES, b"lead:v1", (), b"release")
    async with outbox.pool.acquire() as connection, connection.transaction():
        await Tables(outbox.schema).append(connection, [release])
    await outbox.ground.topics(topics.RULES)
    await outbox.append(b"held's first", _TOO_LARGE, b"held", key=b"held")
    await outbox.append(b"sent", b"young", b"sent too", b"at the position")
    sent = [b"held's first", b"sent", b"young", b"sent too", b"at the position"]
    async with outbox.relay():
        await outbox.at_end()
    assert await outbox.values() == sent
    await _age(outbox)
    monkeypatch.setattr(relay, "_PURGE_EVERY_S", 0.05)
    kept = [b"release", b"held's first", _TOO_LARGE, b"held", b"young", b"at the position"]
    async with outbox.relay():
        await eventually(lambda: _left(outbox), lambda found: len(found) == len(kept))
        assert await _left(outbox) == kept
        await outbox.append(b"young and new")
        await outbox.at_end()
    async with outbox.relay():  # begins at a row that was spared, and repeats nothing
        await outbox.append(b"young and newer")
        await outbox.at_end()
    assert await outbox.values() == [*sent, b"young and new", b"young and newer"]
    # The one topic here that is no test's own.
    await outbox.ground.delete_topic(topics.RULES)


@pytest.mark.usefixtures("_looks_often")
async def test_nothing_is_purged_before_a_position_that_does_not_fit(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database from an older copy: its old rows may never have been sent."""
    await outbox.append(b"never sent")
    await _age(outbox)
    cluster = await relay.cluster_of(outbox.pool)
    await outbox.ground.put_position(outbox.schema, f"987654321:5:{cluster}:")
    monkeypatch.setattr(relay, "_PURGE_EVERY_S", 0.02)
    with capture_logs() as logs:
        async with outbox.relay():
            await eventually(lambda: _told_lost(logs), lambda found: len(found) > 2)
    assert await _left(outbox) == [b"never sent"]


async def test_a_relay_of_which_only_refused_rows_are_left_keeps_its_position(
    outbox: Outbox,
) -> None:
    await outbox.append(b"first")
    async with outbox.relay():
        await outbox.arrived([b"first"])
        await outbox.append(_TOO_LARGE)
        refused = f"SELECT seq FROM {outbox.schema}.outbox WHERE refused IS NOT NULL"
        await eventually(lambda: outbox.pool.fetchval(refused))
        await outbox.append(b"other", key=b"case-2")
        await outbox.arrived([b"first", b"other"])
