"""The transactional engine: what follows from each record exactly once, and what is bad aside."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from services.router.engine import Engine
from shared.contract import topics
from shared.contract.events import ApplicationSubmitted
from shared.contract.wire import Outgoing, Record, decode, encode
from shared.runtime import kafka
from shared.runtime.settings import Settings
from tests.broker.ground import Ground, running
from tests.city import eventually
from tests.examples import DEAD_HEADERS, event

_SMALL_BATCH = 7
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Route:
    """An input, its dead letters, an output, and a group that reads the one into the other."""

    ground: Ground
    group: str
    source: str
    target: str

    def follow(self, record: Record) -> Sequence[Outgoing]:
        """Each sound application, as it is, to the target."""
        decode(record, [ApplicationSubmitted])
        return [Outgoing(self.target, record.key or b"", record.headers, record.value)]

    @contextlib.asynccontextmanager
    async def engine(
        self,
        transform: Callable[[Record], Sequence[Outgoing]] | None = None,
        settings: Settings | None = None,
    ) -> AsyncIterator[None]:
        engine = Engine(
            settings or self.ground.settings(),
            self.group,
            [self.source],
            transform or self.follow,
            max_records=_SMALL_BATCH,
        )

        async def ready() -> None: ...

        async with running(engine.run(ready)):
            yield

    async def results(self) -> list[Record]:
        return await self.ground.records(self.target)

    async def dead(self) -> list[Record]:
        return await self.ground.records(topics.dead(self.source))

    async def handled(self, count: int) -> None:
        """Until the group has committed `count` records of the source, over all partitions."""

        async def done() -> int:
            return sum(at.offset for at in await self.ground.committed(self.group, self.source))

        await eventually(done, lambda offsets: offsets == count)


@pytest_asyncio.fixture
async def route(ground: Ground) -> Route:
    source = await ground.topic("source", partitions=2)
    await ground.topics(topics.dead(source))
    return Route(ground, ground.name("group"), source, await ground.topic("target"))


def _application(topic: str) -> Outgoing:
    from uuid import uuid4

    return encode(topic, event(ApplicationSubmitted, case_id=uuid4()))


def _keys(records: Sequence[Record | Outgoing]) -> Counter[bytes | None]:
    return Counter(record.key for record in records)


async def test_each_record_is_followed_once_through_restarts(route: Route) -> None:
    sent = []
    for _ in range(3):
        more = [_application(route.source) for _ in range(40)]
        sent += more
        await route.ground.send(route.source, more)
        async with route.engine():
            await route.handled(len(sent))
    assert _keys(await route.results()) == _keys(sent)


async def test_an_engine_stopped_at_any_moment_repeats_nothing(route: Route) -> None:
    sent = [_application(route.source) for _ in range(300)]
    await route.ground.send(route.source, sent)

    async def some(more_than: int) -> int:
        return len(await route.results()) - more_than

    for share in (0, 60, 120):
        async with route.engine():
            await eventually(lambda share=share: some(share), lambda more: more > 0)
    async with route.engine():
        await route.handled(len(sent))
    assert _keys(await route.results()) == _keys(sent)


async def test_a_new_owner_takes_back_what_a_dead_one_left_open(route: Route) -> None:
    """It died between its sends and its commit: its records must not show, the rest must."""
    sent = [_application(route.source) for _ in range(20)]
    await route.ground.send(route.source, sent)
    left = [
        kafka.producer(
            route.ground.settings(), transactional_id=f"{route.group}-{route.source}-{partition}"
        )
        for partition in (0, 1)
    ]
    for producer in left:
        await producer.start()
        await producer.begin_transaction()
        for out in sent:
            await producer.send_and_wait(route.target, out.value, key=out.key)
    async with route.engine():
        await route.handled(len(sent))
    assert _keys(await route.results()) == _keys(sent)
    for producer in left:
        with contextlib.suppress(Exception):  # it was fenced, and says so once more
            await producer.stop()


async def test_what_cannot_be_read_is_a_dead_letter_byte_for_byte_and_the_rest_goes_on(
    route: Route,
) -> None:
    sound = [_application(route.source) for _ in range(30)]
    example = sound[0]
    headers = (*example.headers, ("twice", b"1"), ("twice", b"2"), ("binary", b"\xff\x00"))
    bad = {
        "event.not_json": Outgoing(route.source, b"case-a", headers, b"\xff\xfe no JSON \x00"),
        "event.schema": Outgoing(route.source, b"case-b", headers, b'{"case_id": 7}'),
        "event.no_type": Outgoing(route.source, b"case-c", (), b"{}"),
        "event.unknown_type": Outgoing(route.source, b"case-d", (("ce_type", b"x.v9"),), None),
    }
    await route.ground.send(route.source, [*sound[:10], *bad.values(), *sound[10:]])
    async with route.engine():
        await route.handled(len(sound) + len(bad))
    assert _keys(await route.results()) == _keys(sound)
    at = {one.key: one for one in await route.ground.records(route.source)}
    letters = {one.key: one for one in await route.dead()}
    assert len(await route.dead()) == len(bad)
    for code, sent in bad.items():
        letter = letters[sent.key]
        _assert_letter(letter, at[sent.key], code, "PermanentError: ")


def _assert_letter(letter: Record, source: Record, code: str, error: str) -> None:
    """`letter` is `source` and, after its headers, why and from where it was set aside."""
    assert (letter.key, letter.value) == (source.key, source.value)
    own = len(source.headers)
    assert letter.headers[:own] == source.headers
    names = [name for name, _ in letter.headers[own:]]
    assert names == DEAD_HEADERS
    assert letter.header("dead_tries") == "1"
    assert letter.header("dead_code") == code
    assert (letter.header("dead_error") or "").startswith(error)
    assert letter.header("dead_topic") == source.topic
    assert letter.header("dead_partition") == str(source.partition)
    assert letter.header("dead_offset") == str(source.offset)


async def test_a_transform_that_raises_sets_aside_its_record_alone(route: Route) -> None:
    sent = [_application(route.source) for _ in range(20)]
    bad = sent[11].key

    def transform(record: Record) -> Sequence[Outgoing]:
        if record.key == bad:
            raise ZeroDivisionError("a mistake in the rules")
        return route.follow(record)

    await route.ground.send(route.source, sent)
    async with route.engine(transform):
        await route.handled(len(sent))
    assert _keys(await route.results()) == _keys([one for one in sent if one.key != bad])
    (letter,) = await route.dead()
    (source,) = (one for one in await route.ground.records(route.source) if one.key == bad)
    _assert_letter(letter, source, "handler.failed", "ZeroDivisionError: a mistake in the rules")


async def test_what_follows_and_is_too_large_for_kafka_is_set_aside(route: Route) -> None:
    sent = [_application(route.source) for _ in range(10)]
    bad = sent[4].key

    def transform(record: Record) -> Sequence[Outgoing]:
        if record.key == bad:
            return [Outgoing(route.target, record.key or b"", (), b"x" * 2 * 1024 * 1024)]
        return route.follow(record)

    await route.ground.send(route.source, sent)
    async with route.engine(transform):
        await route.handled(len(sent))
    assert _keys(await route.results()) == _keys([one for one in sent if one.key != bad])
    (letter,) = await route.dead()
    assert (letter.key, letter.header("dead_code")) == (bad, "record.too_large")


async def _until_retried(logs: Sequence[object]) -> None:
    async def retries() -> list[object]:
        return [one for one in logs if isinstance(one, dict) and one["event"] == "engine.retry"]

    await eventually(retries, lambda found: len(found) >= 2)


async def test_a_batch_whose_output_topic_is_missing_is_tried_again_and_not_committed(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "SEND_TIMEOUT_S", 1.0)
    missing = route.ground.name("missing")
    sent = [_application(route.source) for _ in range(6)]

    def transform(record: Record) -> Sequence[Outgoing]:
        (out,) = route.follow(record)
        return [out, Outgoing(missing, out.key, out.headers, out.value)]

    await route.ground.send(route.source, sent)
    with capture_logs() as logs:
        async with route.engine(transform):
            await _until_retried(logs)
            assert await route.ground.committed(route.group, route.source) == []
            assert await route.results() == []
            await route.ground.topics(missing)
            await route.handled(len(sent))
    assert _keys(await route.results()) == _keys(sent)
    assert _keys(await route.ground.records(missing)) == _keys(sent)


async def test_a_batch_that_may_not_be_written_is_tried_again_and_not_committed(
    route: Route,
) -> None:
    """The grant of one agency's topic is missing: nothing of the batch may go anywhere."""
    forbidden = await route.ground.topic("forbidden")
    user = route.ground.name("engine")
    ids = [f"{route.group}-{route.source}-{partition}" for partition in (0, 1)]
    settings = await asyncio.to_thread(
        route.ground.user,
        user,
        [
            ("READ", "GROUP", route.group),
            ("READ", "TOPIC", route.source),
            ("READ", "TOPIC", topics.POSITIONS),
            ("WRITE", "TOPIC", route.target),
            *(("WRITE", "TRANSACTIONAL_ID", one) for one in ids),
            *(("READ", "GROUP", one) for one in ids),
        ],
    )
    sent = [_application(route.source) for _ in range(6)]

    def transform(record: Record) -> Sequence[Outgoing]:
        (out,) = route.follow(record)
        return [out, Outgoing(forbidden, out.key, out.headers, out.value)]

    await route.ground.send(route.source, sent)
    with capture_logs() as logs:
        async with route.engine(transform, settings):
            await _until_retried(logs)
            assert await route.ground.committed(route.group, route.source) == []
            assert await route.results() == []
            grant = [("WRITE", "TOPIC", forbidden)]
            await asyncio.to_thread(route.ground.allow, user, grant)
            await route.handled(len(sent))
    assert any("AuthorizationFailed" in str(one.get("error")) for one in logs)
    assert _keys(await route.results()) == _keys(sent)
    assert _keys(await route.ground.records(forbidden)) == _keys(sent)


async def _recreated(route: Route, records: Sequence[Outgoing]) -> None:
    """The source, deleted and made again with these records."""
    await route.ground.topic_again(route.source, partitions=2)
    await route.ground.send(route.source, records)


@pytest.mark.parametrize("count", [3, 60], ids=["fewer than before", "more than before"])
async def test_a_topic_that_was_lost_and_made_again_is_not_read_on_from_the_middle(
    route: Route, count: int
) -> None:
    before = [_application(route.source) for _ in range(20)]
    await route.ground.send(route.source, before)
    async with route.engine():
        await route.handled(len(before))
    await _recreated(route, [_application(route.source) for _ in range(count)])
    with capture_logs() as logs:
        async with route.engine():
            await eventually(
                _async(lambda: {one["partition"] for one in logs if "partition" in one}),
                lambda found: len(found) == 2,
            )
    lost = [one for one in logs if one["event"] == "engine.position_lost"]
    assert {one["partition"] for one in lost} == {f"{route.source}:0", f"{route.source}:1"}
    assert all("casebus recover router" in one["hint"] for one in lost)
    assert _keys(await route.results()) == _keys(before)


def _async(found: Callable[[], T]) -> Callable[[], Awaitable[T]]:
    async def ask() -> T:
        return found()

    return ask
