"""The sink: each event once, in the order of its case, and what is bad aside with its case."""

import random
from collections.abc import Awaitable
from dataclasses import replace

from structlog.testing import capture_logs

from shared.contract import topics
from shared.contract.errors import PermanentError, TransientError
from shared.contract.events import CaseStatusChanged, Event
from shared.contract.wire import Outgoing, Record
from shared.runtime import kafka
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection
from shared.runtime.relay import Relay
from shared.runtime.sink import Sink
from tests.broker.ground import running
from tests.broker.office import Office, fails_on
from tests.city import eventually
from tests.examples import DEAD_HEADERS


async def test_a_handler_that_raises_parks_its_case_and_the_others_go_on(office: Office) -> None:
    office.trouble = fails_on("bad")
    batch = [
        office.record("a", "a1"),
        office.record("b", "b1"),
        office.record("a", "bad"),
        office.record("b", "b2"),
        office.record("a", "a3"),
    ]
    await office.sink.take(batch)
    assert await office.written() == ["a1", "b1", "b2"]
    assert await office.parked() == [("handler.failed", 3), ("case.waiting", 5)]


async def test_what_comes_later_for_a_parked_case_waits_though_it_is_sound(office: Office) -> None:
    office.trouble = fails_on("bad")
    await office.sink.take([office.record("a", "bad")])
    office.trouble = fails_on()
    await office.sink.take([office.record("a", "a2"), office.record("b", "b1")])
    assert await office.written() == ["b1"]
    assert await office.parked() == [("handler.failed", 1), ("case.waiting", 2)]


async def test_a_refusal_by_the_domain_is_parked_under_its_own_code(office: Office) -> None:
    office.trouble = lambda reason: PermanentError("case.unknown", "no such case")
    await office.sink.take([office.record("a", "a1")])
    assert await office.parked() == [("case.unknown", 1)]
    assert await office.written() == []


async def test_a_repeat_of_an_event_changes_nothing(office: Office) -> None:
    batch = [office.record("a", "a1"), office.record("a", "a2")]
    await office.sink.take([*batch, batch[0]])
    await office.sink.take(batch)
    await office.sink.take([replace(batch[0], offset=77)])
    assert await office.written() == ["a1", "a2"]
    assert await office.parked() == []


async def test_a_repeated_batch_with_a_parked_case_changes_nothing(office: Office) -> None:
    """The process died after the commit and before the acknowledgement."""
    office.trouble = fails_on("bad")
    batch = [office.record("a", "a1"), office.record("a", "bad"), office.record("a", "a3")]
    await office.sink.take(batch)
    before = await office.written(), await office.parked(), await office.letters()
    await office.sink.take(batch)
    assert (await office.written(), await office.parked(), await office.letters()) == before
    assert before == (["a1"], [("handler.failed", 2), ("case.waiting", 3)], 1)


async def test_what_is_down_is_tried_again_in_place(office: Office) -> None:
    left = 2

    def trouble(reason: str) -> BaseException | None:
        nonlocal left
        if reason != "a2" or not left:
            return None
        left -= 1
        return TransientError("the other side is down")

    office.trouble = trouble
    with capture_logs() as logs:
        await office.sink.take([office.record("a", n) for n in ("a1", "a2", "a3")])
    assert [one["event"] for one in logs] == ["stream.retry", "stream.retry"]
    assert await office.written() == ["a1", "a2", "a3"]
    assert await office.parked() == []


async def test_a_dropped_connection_is_tried_again_in_place(office: Office) -> None:
    """PostgreSQL ends the very connection that handles the batch."""
    killed: list[int] = []

    async def handle(connection: Connection, told: Event, taken: Record) -> None:
        await office.handle(connection, told, taken)
        if not killed:
            killed.append(await connection.fetchval("SELECT pg_backend_pid()"))
            async with office.ground.pool("killer") as pool:
                await pool.execute("SELECT pg_terminate_backend($1)", killed[0])

    tables = Tables(office.schema)
    sink = Sink(office.pool, tables, office.schema, [CaseStatusChanged], handle, lambda: None)
    await sink.take([office.record("a", "a1"), office.record("a", "a2")])
    assert killed
    assert await office.written() == ["a1", "a2"]


async def test_bytes_that_a_text_column_cannot_hold_are_parked_all_the_same(
    office: Office,
) -> None:
    """A NUL in a key or in a header's name: one record must not stop the whole stream."""
    poison = Record(office.topic, 0, 1, 0, b"case\x00", (("na\x00me", b"\x00"),), b"\x00")
    await office.sink.take([poison, replace(office.record("b", "b1"), offset=2)])
    assert await office.written() == ["b1"]
    assert await office.parked() == [("event.no_type", 1)]
    assert await office.letters() == 1


async def test_a_key_too_long_for_an_index_stops_no_stream(office: Office) -> None:
    """PostgreSQL's usual index takes 2,700 bytes; a key may be as long as a record."""
    key = random.Random(5).randbytes(100_000).hex().encode()
    await office.sink.take(
        [Record(office.topic, 0, n, 0, key, (), b"%d" % n) for n in range(2)]
        + [replace(office.record("b", "b1"), offset=2)]
    )
    assert await office.written() == ["b1"]
    assert await office.parked() == [("event.no_type", 0), ("event.no_type", 1)]


async def test_what_a_topic_that_was_made_again_has_at_the_place_of_a_parked_event_is_kept(
    office: Office,
) -> None:
    office.trouble = fails_on("bad")
    old = [office.record("a", "bad"), office.record("a", "a2")]
    await office.sink.take(old)
    new = [office.record("a", "a3"), office.record("c", "bad")]
    await office.sink.take([replace(one, offset=n + 1) for n, one in enumerate(new)])
    assert await office.parked() == [
        ("handler.failed", 1),
        ("case.waiting", 2),
        ("case.waiting", 1),
        ("handler.failed", 2),
    ]
    assert await office.letters() == 2


async def test_what_is_parked_is_told_on_the_dead_letter_topic_byte_for_byte(
    office: Office,
) -> None:
    """From Kafka to PostgreSQL and, by the outbox and its relay, to Kafka again."""
    sound = office.record("b", "b1")
    headers = (("ce_type", b"case.status_changed.v1"), ("binary", b"\xff\x00"))
    poison = Outgoing(office.topic, b"case-a", headers, b"\xff\xfe no JSON \x00")
    await office.ground.send(
        office.topic, [poison, Outgoing(office.topic, sound.key or b"", sound.headers, sound.value)]
    )

    async def letters() -> list[Record]:
        return await office.ground.records(topics.dead(office.topic))

    async with office.streaming(), running(_relay(office)):
        (letter,) = await eventually(letters)
        await eventually(office.written)
    assert await office.written() == ["b1"]
    assert (letter.key, letter.value) == (poison.key, poison.value)
    assert letter.headers[:2] == headers
    assert [name for name, _ in letter.headers[2:]] == DEAD_HEADERS
    assert letter.header("dead_code") == "event.not_json"
    assert (letter.header("dead_error") or "").startswith("PermanentError: the body is no JSON")
    assert letter.header("dead_topic") == office.topic
    assert (letter.header("dead_partition"), letter.header("dead_offset")) == ("0", "0")


async def test_the_stream_never_sees_what_a_transaction_took_back(office: Office) -> None:
    await _in_transactions(office, ("taken back", False), ("kept", True))
    async with office.streaming():
        await eventually(office.written)
    assert await office.written() == ["kept"]


async def test_what_a_transaction_took_back_holds_up_no_later_commit(office: Office) -> None:
    """Offsets that no consumer sees lie behind the first record: the group must pass over them."""
    last = ("last", True)
    await _in_transactions(office, ("first", True), ("taken back", False), ("second", True), last)
    (*_, newest) = await office.ground.records(office.topic)

    async def committed() -> list[int]:
        found = await office.ground.committed(office.schema, office.topic)
        return [at.offset for at in found]

    async with office.streaming():
        await eventually(committed, lambda found: found == [newest.offset + 1])
    assert await office.written() == ["first", "second", "last"]


async def _in_transactions(office: Office, *told: tuple[str, bool]) -> None:
    """An event of case a with each reason, in a transaction that is committed or taken back."""
    producer = kafka.producer(office.ground.settings(), transactional_id=office.schema)
    await producer.start()
    try:
        for reason, kept in told:
            one = office.record("a", reason)
            await producer.begin_transaction()
            await producer.send_and_wait(
                office.topic, one.value, key=one.key, headers=list(one.headers)
            )
            await (producer.commit_transaction() if kept else producer.abort_transaction())
    finally:
        await producer.stop()


def _relay(office: Office) -> Awaitable[None]:
    return Relay(office.ground.settings(), office.pool, office.schema).run()
