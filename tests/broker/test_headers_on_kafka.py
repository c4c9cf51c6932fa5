"""Header names that are no UTF-8: anybody may write them, and they stop nobody."""

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.producer import message_accumulator
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaProducer

from shared.contract import topics
from shared.contract.events import ApplicationSubmitted
from shared.contract.wire import Outgoing, Record, encode
from shared.runtime import headers, kafka
from shared.runtime.outbox import Tables
from shared.runtime.relay import Relay
from tests.broker.ground import Ground, running
from tests.broker.office import Office
from tests.broker.test_engine_on_kafka import Route
from tests.city import eventually
from tests.examples import event

BAD = b"na\xff\x80me"
# Without the stand-ins themselves, which nobody has in a name.
TEXTS = st.text(st.characters(max_codepoint=0x10FDFF, exclude_categories=["Cs"]))


@given(st.binary() | TEXTS.map(str.encode))
def test_a_name_is_the_same_bytes_after_it_was_a_text(name: bytes) -> None:
    found = headers.text(name)
    assert headers.original(found) == name
    assert headers.original(headers.storable(found)) == name
    assert "\0" not in headers.storable(found)


@given(TEXTS)
def test_a_name_that_is_a_text_is_left_as_it_is(name: str) -> None:
    assert headers.text(name.encode()) == name


def test_a_flood_of_such_batches_between_others_is_read_in_order() -> None:
    """As many as a fetch has room for, with nobody's patience or stack used up."""
    fetch = bytearray()
    for n in range(5_000):
        batch = message_accumulator.BatchBuilder(1000, 0)
        name = headers.text(BAD) if n % 3 else "good"
        batch.append(timestamp=1, key=None, value=b"%d" % n, headers=[(name, b"")])
        built = batch._build()
        struct.pack_into(">q", built, 0, n)  # the broker's part: the offset
        fetch += built
    partition, records = TopicPartition("flood", 0), fetcher.MemoryRecords(bytes(fetch))
    reader = fetcher.PartitionRecords(partition, records, [], 0, None, None, True, 1)
    found = list(reader)
    assert [one.offset for one in found] == list(range(5_000))
    assert [one.value for one in found] == [b"%d" % n for n in range(5_000)]
    assert reader.next_fetch_offset == 5_000


class _Raw(str):
    """kafka-python's writer, in Python all through, asks a name for its bytes."""

    def encode(self, *_: object) -> bytes:
        return BAD


def _write(ground: Ground, sent: Sequence[Outgoing], **options: object) -> None:
    """One batch in which every name "bad" becomes the bytes of BAD."""
    producer = KafkaProducer(linger_ms=60_000, **options, **kafka.connection(ground.settings()))
    try:
        for one in sent:
            named = [(_Raw() if name == "bad" else name, value) for name, value in one.headers]
            producer.send(one.topic, one.value, key=one.key, headers=named)
        producer.flush()
    finally:
        producer.close()


def _marked(out: Outgoing) -> Outgoing:
    return replace(out, headers=(*out.headers, ("bad", b"\xff\x00")))


def _numbered(topic: str, *bad: int) -> list[Outgoing]:
    """Twenty records; those of the numbers `bad` have the bad name."""
    found = [Outgoing(topic, b"key", (("n", b"%d" % n),), b"%d" % n) for n in range(20)]
    return [_marked(one) if n in bad else one for n, one in enumerate(found)]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the consumers of this test get from the broker, before anybody reads it."""
    found: list[bytes] = []

    class Kept(fetcher.MemoryRecords):  # type: ignore[misc]
        def __init__(self, raw: bytes) -> None:
            super().__init__(raw)
            found.append(bytes(raw))

    monkeypatch.setattr(fetcher, "MemoryRecords", Kept)
    return found


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("bad", [(0,), (7,), (19,), (3, 4, 11)])
async def test_every_record_of_the_batch_is_read_once_and_in_order(
    ground: Ground, compression: str | None, bad: tuple[int, ...]
) -> None:
    topic = await ground.topic("named")
    sent = _numbered(topic, *bad)
    await asyncio.to_thread(_write, ground, sent, compression_type=compression)
    await ground.send(topic, [b"20"])
    found = await ground.records(topic)
    assert [one.value for one in found] == [b"%d" % n for n in range(21)]
    for n in bad:
        assert found[n].headers == (("n", b"%d" % n), (headers.text(BAD), b"\xff\x00"))


async def test_a_reader_may_begin_anywhere_and_take_few_at_a_time(ground: Ground) -> None:
    topic = await ground.topic("named")
    await asyncio.to_thread(_write, ground, _numbered(topic, 9, 10, 15))
    consumer = kafka.consumer(ground.settings())
    await consumer.start()
    try:
        (partition,) = await kafka.partitions_of(consumer, [topic])
        consumer.assign([partition])
        for begin in (0, 10, 12, 16):
            consumer.seek(partition, begin)
            found: list[int] = []
            async with asyncio.timeout(20):
                while len(found) < 20 - begin:
                    got = await consumer.getmany(partition, timeout_ms=50, max_records=3)
                    found += [one.offset for one in got.get(partition, ())]
            assert found == list(range(begin, 20))
    finally:
        await consumer.stop()


async def test_what_a_transaction_took_back_stays_unseen_around_a_bad_name(
    ground: Ground, fetched: list[bytes]
) -> None:
    topic = await ground.topic("named")
    producer = kafka.producer(ground.settings(), transactional_id=topic)
    await producer.start()
    bad = headers.text(BAD)
    try:
        for n in range(9):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"%d" % n, headers=[("n", b""), (bad, b"x")])
            await (producer.abort_transaction() if n % 3 == 1 else producer.commit_transaction())
    finally:
        await producer.stop()
    found = await ground.records(topic)
    assert [one.value for one in found] == [b"%d" % n for n in range(9) if n % 3 != 1]
    assert b"".join(fetched).count(BAD) == 9
    assert {one.headers[1][0] for one in found} == {bad}


async def test_records_with_and_without_such_a_name_are_sent_in_order(
    ground: Ground, fetched: list[bytes]
) -> None:
    """aiokafka begins another batch for it."""
    topic = await ground.topic("named")
    producer = kafka.producer(ground.settings())
    await producer.start()
    try:
        sent = [
            await producer.send(
                topic, b"%d" % n, headers=[(headers.text(BAD), b"x"), ("路", b"1")] if odd else []
            )
            for n, odd in enumerate([False, True, True, False, False, True])
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()
    found = await ground.records(topic)
    assert [one.value for one in found] == [b"%d" % n for n in range(6)]
    assert found[1].headers == ((headers.text(BAD), b"x"), ("路", b"1"))
    assert b"".join(fetched).count(BAD) == 3


async def test_the_engine_sets_it_aside_byte_for_byte_and_the_rest_goes_on(
    ground: Ground, fetched: list[bytes]
) -> None:
    source = await ground.topic("source")
    await ground.topics(topics.dead(source))
    route = Route(ground, ground.name("group"), source, await ground.topic("target"))
    sent = _numbered(source, 5)
    sound = [encode(source, event(ApplicationSubmitted, case_id=uuid4())) for _ in range(12)]
    sound[7] = _marked(sound[7])  # good for all but its name: it is handled
    await asyncio.to_thread(_write, ground, [*sound[:6], sent[5], *sound[6:]])
    async with route.engine():
        await route.handled(13)
    results = await route.results()
    assert [one.key for one in results] == [one.key for one in sound]
    fetched.clear()
    (letter,) = await route.dead()
    assert b"".join(fetched).count(BAD) == 1
    assert (letter.key, letter.value) == (sent[5].key, sent[5].value)
    assert letter.headers[:2] == (("n", b"5"), (headers.text(BAD), b"\xff\x00"))
    assert letter.header("dead_code") == "event.no_type"


async def test_the_stream_parks_it_tells_it_byte_for_byte_and_goes_on(
    office: Office, fetched: list[bytes]
) -> None:
    sound = [office.outgoing("a", "a1"), _marked(office.outgoing("b", "b1"))]
    poison = _marked(Outgoing(office.topic, b"case-x", (), b"\xff no JSON"))
    batch = [sound[0], poison, sound[1], office.outgoing("a", "a2")]
    await asyncio.to_thread(_write, office.ground, batch)

    async def letters() -> list[Record]:
        return await office.ground.records(topics.dead(office.topic))

    relay = Relay(office.ground.settings(), office.pool, office.schema).run()
    async with office.streaming(), running(relay):
        await eventually(office.written, lambda found: len(found) == 3)
        await eventually(letters)
    assert await office.written() == ["a1", "b1", "a2"]
    assert await office.parked() == [("event.no_type", 1)]
    fetched.clear()
    (letter,) = await letters()
    assert b"".join(fetched).count(BAD) == 1
    assert (letter.key, letter.value) == (poison.key, poison.value)
    assert letter.headers[0] == (headers.text(BAD), b"\xff\x00")
    async with office.pool.acquire() as connection:
        seq = await connection.fetchval(f"SELECT seq FROM {office.schema}.parked")
        kept = await Tables(office.schema).parked(connection, seq)
    assert kept is not None
    assert [headers.original(name) for name, _ in kept.headers] == [BAD]
