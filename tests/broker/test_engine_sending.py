"""What the engine sends in batches, and what it tells aside: as one by one, and in time."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from services.router import sending
from services.router.aside import Aside
from services.router.engine import Engine
from services.router.sending import Sender
from shared.contract import topics
from shared.contract.wire import Outgoing, Record
from shared.runtime import kafka
from tests.broker.ground import Ground, processes, running
from tests.city import eventually


def _records(topic: str, count: int, size: int = 100) -> list[Outgoing]:
    return [
        Outgoing(topic, b"case-%d" % (n % 17), (("n", b"%d" % n), ("n", b"\xff\x00")), b"x" * size)
        for n in range(count)
    ]


def _seen(records: Sequence[Record]) -> list[object]:
    return [(one.partition, one.key, one.headers, one.value) for one in records]


@given(st.binary(max_size=80), st.integers(1, 50))
def test_a_case_has_the_partition_that_every_other_client_gives_it(key: bytes, count: int) -> None:
    assert sending._hash(key) % count == DefaultPartitioner()(key, list(range(count)), [])


async def _sent(ground: Ground, records: Sequence[Outgoing], narrow: set[str]) -> None:
    producer = kafka.producer(ground.settings())
    await producer.start()
    try:
        await Sender(producer, narrow).send(records)
    finally:
        await producer.stop()


async def test_batches_leave_what_sending_one_by_one_leaves(ground: Ground) -> None:
    """More than a batch a partition, so that their order is seen too."""
    single, batched = [await ground.topic("sent", partitions=5) for _ in range(2)]
    await ground.send(single, _records(single, 1500, size=1000))
    await _sent(ground, _records(batched, 1500, size=1000), set())
    assert _seen(await ground.records(batched)) == _seen(await ground.records(single))


async def test_batches_are_part_of_the_transaction(ground: Ground) -> None:
    topic = await ground.topic("transaction")
    producer: AIOKafkaProducer = kafka.producer(ground.settings(), transactional_id=topic)
    await producer.start()
    try:
        sender = Sender(producer, set())
        with contextlib.suppress(ZeroDivisionError):
            async with producer.transaction():
                await sender.send(_records(topic, 5))
                raise ZeroDivisionError
        async with producer.transaction():
            await sender.send(_records(topic, 3))
    finally:
        await producer.stop()
    assert len(await ground.records(topic)) == 3


async def _engine_ends(engine: Engine, ground: Ground, group: str, source: str, count: int) -> None:
    async def ready() -> None: ...

    async def done() -> int:
        return sum(at.offset for at in await ground.committed(group, source))

    async with running(engine.run(ready)):
        await eventually(done, lambda offsets: offsets == count)


async def test_a_topic_whose_limit_is_below_a_batch_refuses_only_what_is_above_its_limit(
    ground: Ground,
) -> None:
    source, target, group = await ground.topic("source"), ground.name("target"), ground.name("g")
    await ground.topics(topics.dead(source))
    admin = kafka.admin(ground.settings())
    await admin.start()
    try:
        limit = {"max.message.bytes": "3000"}
        await admin.create_topics([NewTopic(target, 1, 1, topic_configs=limit)])
    finally:
        await admin.close()
    sent = [Outgoing(source, b"case-%d" % n, (), b"x" * 1000) for n in range(12)]
    for n in (3, 8):
        sent[n] = Outgoing(source, b"case-%d" % n, (), b"x" * 5000)
    await ground.send(source, sent)
    engine = Engine(
        ground.settings(),
        group,
        [source],
        lambda record: [Outgoing(target, record.key or b"", (), record.value)],
    )
    await _engine_ends(engine, ground, group, source, len(sent))
    letters = await ground.records(topics.dead(source))
    assert sorted(one.key or b"" for one in letters) == [b"case-3", b"case-8"]
    assert {one.header("dead_code") for one in letters} == {"record.too_large"}
    assert [one.key for one in await ground.records(target)] == [
        one.key for n, one in enumerate(sent) if n not in (3, 8)
    ]


@pytest.mark.parametrize("there", [True, False], ids=["its topic is there", "its topic is not"])
async def test_what_is_told_aside_holds_no_record_up(ground: Ground, there: bool) -> None:
    source, target, group = await ground.topic("source"), await ground.topic("to"), ground.name("g")
    beside = await ground.topic("beside") if there else ground.name("beside")
    lost: list[Outgoing] = []

    def both(record: Record) -> list[Outgoing]:
        key = record.key or b""
        return [Outgoing(target, key, (), record.value), Outgoing(beside, key, (), record.value)]

    await ground.send(source, _records(source, 30))
    engine = Engine(
        ground.settings(),
        group,
        [source],
        both,
        aside=Aside(ground.settings(), beside, lost.append),
    )
    began = time.monotonic()
    await _engine_ends(engine, ground, group, source, 30)
    assert time.monotonic() - began < kafka.SEND_TIMEOUT_S + 5
    assert len(await ground.records(target)) == 30
    assert len(lost) == (0 if there else 30)
    if there:
        assert len(await ground.records(beside)) == 30


def test_more_than_can_wait_aside_is_given_up_and_said(ground: Ground) -> None:
    lost: list[Outgoing] = []
    aside = Aside(ground.settings(), "beside", lost.append)
    aside.offer(_records("beside", 10_003))
    aside.offer(_records("beside", 2))
    assert len(lost) == 5


async def test_an_engine_whose_broker_is_gone_ends_in_five_seconds() -> None:
    with tempfile.TemporaryDirectory(prefix="casebus-ground-") as folder:
        up = contextlib.ExitStack()
        ground = await asyncio.to_thread(up.enter_context, processes(Path(folder)))
        try:
            await ground.ready()
            await ground.topics(topics.POSITIONS, "source", "target")
            await ground.send("source", _records("source", 30))
            engine = Engine(
                ground.settings(),
                "group",
                ["source"],
                lambda record: [Outgoing("target", record.key or b"", (), record.value)],
            )

            async def ready() -> None: ...

            async def done() -> int:
                return sum(at.offset for at in await ground.committed("group", "source"))

            task = asyncio.ensure_future(engine.run(ready))
            await eventually(done, lambda offsets: offsets == 30)
        finally:
            await asyncio.to_thread(up.close)
        began = time.monotonic()
        task.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.done()
        assert time.monotonic() - began < 5
