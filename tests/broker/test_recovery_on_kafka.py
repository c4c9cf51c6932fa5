"""Recovery: what Kafka lacks is sent, once and in order; what it has is not sent again."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs

from shared.contract.wire import Outgoing
from shared.runtime import kafka, relay
from shared.runtime.outbox import Tables
from shared.runtime.recovery import MissingTopicError, Recovered, recover_outbox
from tests.broker.outbox import Outbox
from tests.city import eventually


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_LOOK_AGAIN_S", 0.3)


async def _recover(outbox: Outbox) -> Recovered:
    async with outbox.ground.pool(f"recover-{outbox.schema}") as pool:
        return await recover_outbox(
            outbox.ground.settings(), pool, outbox.schema, lambda line: None
        )


async def _sent(outbox: Outbox, *values: bytes) -> None:
    """Rows that are in Kafka, and a relay that has stopped since."""
    await outbox.append(*values)
    async with outbox.relay():
        await outbox.at_end()
    assert await outbox.values() == list(values)


def _values(first: int, last: int) -> list[bytes]:
    return [b"%d" % n for n in range(first, last + 1)]


async def _older_copy(outbox: Outbox, *, without: bytes) -> None:
    """As a database that was restored from a copy from before these rows; the ids come again."""
    await outbox.pool.execute(f"DELETE FROM {outbox.schema}.outbox WHERE value = $1", without)
    await outbox.pool.execute(
        f"SELECT setval('{outbox.schema}.outbox_seq_seq',"
        f" (SELECT max(seq) FROM {outbox.schema}.outbox))"
    )


async def _dump(outbox: Outbox) -> None:
    """As a database that was filled from a dump: a young cluster, and ids that lie ahead."""
    await outbox.pool.execute(
        f"UPDATE {outbox.schema}.outbox SET xid = (xid::text::bigint + 1000000000)::text::xid8"
    )
    said = await relay.read_position(outbox.ground.settings(), outbox.schema)
    assert said is not None
    await outbox.ground.put_position(
        outbox.schema, f"{said.xid + 1000000000}:{said.seq}:4711:{said.event}"
    )


async def _group_lost(outbox: Outbox) -> None:
    await outbox.lose_position()


@pytest.mark.parametrize("lost", [_dump, _group_lost])
@pytest.mark.parametrize("running", [False, True])
async def test_after_a_loss_just_the_missing_rows_are_sent_once_and_in_order(
    outbox: Outbox, lost: Callable[[Outbox], Awaitable[None]], running: bool
) -> None:
    await _sent(outbox, *_values(1, 5))
    await lost(outbox)
    await outbox.append(*_values(6, 7))
    await outbox.append(b"8")
    with capture_logs() as logs:

        async def told() -> bool:
            return any(one["event"] == "relay.position_lost" for one in logs)

        async with outbox.relay():
            await eventually(told)
            if running:
                found = await _recover(outbox)
        if not running:
            found = await _recover(outbox)
    assert (found.in_kafka, found.to_send, found.unknown) == (5, 3, 0)
    async with outbox.relay():
        await outbox.append(b"9")
        await outbox.arrived(_values(1, 9))


async def test_a_database_from_an_older_copy_sends_what_it_wrote_since_and_only_that(
    outbox: Outbox,
) -> None:
    await _sent(outbox, *_values(1, 4))
    await _older_copy(outbox, without=b"4")
    await outbox.append(b"new 1", b"new 2")
    with capture_logs() as logs:

        async def told() -> list[str]:
            return [one["error"] for one in logs if one["event"] == "relay.position_lost"]

        async with outbox.relay():
            (said, *_) = await eventually(told)
            assert "the row at Kafka's position" in said
            assert await outbox.values() == _values(1, 4)
            found = await _recover(outbox)
            assert (found.in_kafka, found.to_send, found.unknown) == (3, 2, 1)
            await outbox.arrived([*_values(1, 4), b"new 1", b"new 2"])


async def test_recovering_twice_in_a_row_changes_nothing(outbox: Outbox) -> None:
    await _sent(outbox, *_values(1, 3))
    await outbox.lose_position()
    await outbox.append(*_values(4, 5))
    first = await _recover(outbox)
    second = await _recover(outbox)
    assert (second.in_kafka, second.to_send) == (first.in_kafka, first.to_send) == (3, 2)
    async with outbox.relay():
        await outbox.arrived(_values(1, 5))
    assert (await _recover(outbox)).to_send == 0
    async with outbox.relay():
        await outbox.append(b"6")
        await outbox.arrived(_values(1, 6))


async def test_a_topic_that_was_made_again_gets_all_its_rows_and_the_others_none(
    outbox: Outbox,
) -> None:
    other = await outbox.ground.topic("other")
    async with outbox.pool.acquire() as connection, connection.transaction():
        for value in _values(1, 3):
            rows = [Outgoing(name, b"case-1", (), value) for name in (outbox.topic, other)]
            await Tables(outbox.schema).append(connection, rows)
    async with outbox.relay():
        await outbox.at_end()
        await outbox.ground.topic_again(other)
        found = await _recover(outbox)
        assert (found.in_kafka, found.to_send) == (3, 3)
        await outbox.at_end()
    assert await outbox.values() == _values(1, 3)
    assert [one.value for one in await outbox.ground.records(other)] == _values(1, 3)


async def test_rows_of_one_content_are_counted_one_by_one(outbox: Outbox) -> None:
    await _sent(outbox, b"same", b"same")
    await outbox.lose_position()
    await outbox.append(b"same")
    assert (await _recover(outbox)).to_send == 1
    async with outbox.relay():
        await outbox.arrived([b"same"] * 3)


async def test_an_outbox_of_which_kafka_has_nothing_is_sent_as_a_whole(outbox: Outbox) -> None:
    await outbox.append(*_values(1, 3))
    await outbox.pool.execute(
        f"UPDATE {outbox.schema}.outbox SET xid = (xid::text::bigint + 1000000000)::text::xid8"
    )
    assert (await _recover(outbox)).to_send == 3
    async with outbox.relay():
        await outbox.append(b"4")
        await outbox.arrived(_values(1, 4))


async def test_an_empty_outbox_is_recovered_to_its_beginning(outbox: Outbox) -> None:
    assert (await _recover(outbox)).to_send == 0
    async with outbox.relay():
        await outbox.append(b"1")
        await outbox.arrived([b"1"])


async def test_a_topic_that_is_missing_is_named_and_nothing_is_changed(outbox: Outbox) -> None:
    await outbox.append(b"1")
    missing = [Outgoing("not-there", b"case-1", (), b"2")]
    async with outbox.pool.acquire() as connection, connection.transaction():
        await Tables(outbox.schema).append(connection, missing)
    with pytest.raises(MissingTopicError, match=r"no topic not-there: run `casebus topics apply`"):
        await _recover(outbox)
    assert await relay.read_position(outbox.ground.settings(), outbox.schema) is None


async def test_what_is_refused_stays_so_and_those_behind_it_wait(outbox: Outbox) -> None:
    await outbox.append(b"1", b"x" * 2 * 1024 * 1024, b"behind it")
    async with outbox.relay():
        refused = f"SELECT seq FROM {outbox.schema}.outbox WHERE refused IS NOT NULL"
        await eventually(lambda: outbox.pool.fetchval(refused))
        await outbox.append(b"other", key=b"case-2")
        await outbox.arrived([b"1", b"other"])
    await outbox.lose_position()
    found = await _recover(outbox)
    assert (found.in_kafka, found.to_send) == (2, 2)
    async with outbox.relay():
        await outbox.append(b"other too", key=b"case-2")
        await outbox.arrived([b"1", b"other", b"other too"])


async def test_what_stands_behind_an_open_transaction_of_another_is_not_sent_again(
    outbox: Outbox,
) -> None:
    """A topic ends before it, to the reader of committed records; others have gone on."""
    other = kafka.producer(outbox.ground.settings(), transactional_id=outbox.schema)
    await other.start()
    try:
        await other.begin_transaction()
        await other.send_and_wait(outbox.topic, b"of another", key=b"case-2")
        await outbox.append(*_values(1, 2))
        async with outbox.relay():
            await outbox.at_end()
        await outbox.lose_position()
        recovering = asyncio.ensure_future(_recover(outbox))
        finished, _ = await asyncio.wait([recovering], timeout=1)
        assert not finished
        await other.commit_transaction()
        found = await recovering
    finally:
        await other.stop()
    assert (found.in_kafka, found.to_send, found.unknown) == (2, 0, 1)
    async with outbox.relay():
        await outbox.append(b"3")
        await eventually(outbox.values, lambda values: b"3" in values)
    assert await outbox.values() == [b"of another", *_values(1, 3)]


async def test_a_recovery_that_ends_between_kafka_and_the_database_loses_nothing(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka has the new position, and the rows are as they were: so the relay must stop."""
    await _sent(outbox, *_values(1, 3))
    await outbox.lose_position()
    await outbox.append(*_values(4, 5))
    stop = AIOKafkaProducer.stop

    async def dies(self: AIOKafkaProducer) -> None:
        await stop(self)
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as patched:
        patched.setattr(AIOKafkaProducer, "stop", dies)
        with pytest.raises(RuntimeError):
            await _recover(outbox)
    with capture_logs() as logs:

        async def told() -> bool:
            return any(one["event"] == "relay.position_lost" for one in logs)

        async with outbox.relay():
            await eventually(told)
    assert await outbox.values() == _values(1, 3)
    await _recover(outbox)
    async with outbox.relay():
        await outbox.arrived(_values(1, 5))
