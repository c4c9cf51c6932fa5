"""Poison in the middle of a batch: aside, byte for byte, and its neighbours once and in order."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiokafka.admin import NewTopic
from structlog.testing import capture_logs

from shared.contract import topics
from shared.contract.events import ApplicationSubmitted
from shared.contract.wire import Outgoing, Record, encode
from shared.runtime import kafka
from shared.runtime.relay import Relay
from tests.broker.ground import Ground, running
from tests.broker.office import Office
from tests.broker.test_engine_on_kafka import Route
from tests.city import eventually
from tests.examples import event

_OTHER = str(UUID(int=12345)).encode()


_NULL: Any = None  # Kafka takes it where a service of ours never writes it


def _headers(out: Outgoing, *changed: tuple[str, bytes]) -> Outgoing:
    """`out` with these headers, in place of its own of their names, at the end."""
    names = [name for name, _ in changed]
    return replace(out, headers=(*(one for one in out.headers if one[0] not in names), *changed))


def _without(out: Outgoing, name: str) -> Outgoing:
    return replace(out, headers=tuple(one for one in out.headers if one[0] != name))


def _body(out: Outgoing, **changes: Any) -> Outgoing:
    return replace(out, value=json.dumps(json.loads(out.value or b"") | changes).encode())


POISON: dict[str, tuple[str, Callable[[Outgoing], Outgoing]]] = {
    "bytes that are no JSON": ("event.not_json", lambda out: replace(out, value=b"\xff\xfe{\0")),
    "JSON that is no object": ("event.not_json", lambda out: replace(out, value=b"[1, 2]")),
    "nothing in it": ("event.not_json", lambda out: replace(out, value=b"")),
    "a tombstone": ("event.not_json", lambda out: replace(out, value=None)),
    "a wrong field": ("event.schema", lambda out: _body(out, number={"not": "a text"})),
    "a time that is none": ("event.schema", lambda out: _headers(out, ("ce_time", b"tomorrow"))),
    "no headers at all": ("event.no_type", lambda out: replace(out, headers=())),
    "no type": ("event.no_type", lambda out: _without(out, "ce_type")),
    "an unknown type": ("event.unknown_type", lambda out: _headers(out, ("ce_type", b"x.v9"))),
    "the key of another case": ("event.key", lambda out: replace(out, key=_OTHER)),
    "a key that is no text": ("event.key", lambda out: replace(out, key=b"\xff\x80")),
    "no key": ("event.key", lambda out: replace(out, key=_NULL)),
    "the subject of another case": ("event.key", lambda out: _headers(out, ("ce_subject", _OTHER))),
    "the body of another case": ("event.key", lambda out: _body(out, case_id=_OTHER.decode())),
    "headers of its own": (
        "event.not_json",
        lambda out: _headers(
            replace(out, value=b"{"),
            ("twice", b"1"),
            ("binary", b"\xff\x00"),
            ("", b"no name"),
            ("null", _NULL),
            ("dead_tries", b"9" * 5_000),
        ),
    ),
    "a huge header": (
        "event.not_json",
        lambda out: _headers(replace(out, value=b"{"), ("huge", b"h" * 1_000_000)),
    ),
}


def _between(
    sound: Sequence[Outgoing], make: Callable[[], Outgoing]
) -> tuple[list[Outgoing], list[Outgoing]]:
    """One poison of each kind, and all of them between the sound ones."""
    bad = [spoil(make()) for _, spoil in POISON.values()]
    pairs = zip(sound, bad, strict=True)
    return bad, [one for pair in pairs for one in pair]


def _assert_letters(found: Sequence[Record], bad: Sequence[Outgoing], source: str) -> None:
    """A letter for each of `bad`, in order, that is it byte for byte."""
    assert [one.header("dead_code") for one in found] == [code for code, _ in POISON.values()]
    for letter, sent in zip(found, bad, strict=True):
        own = tuple(one for one in sent.headers if not one[0].startswith("dead_"))
        assert (letter.key, letter.value) == (sent.key or b"", sent.value)
        assert letter.headers[: len(own)] == own
        added = [name for name, _ in letter.headers[len(own) :]]
        assert len(set(added)) == len(added)
        assert all(name.startswith("dead_") for name in added)
        assert letter.header("dead_topic") == source
        assert letter.header("dead_tries") == "1"
    assert len({one.header("dead_offset") for one in found}) == len(bad)


async def _dead_topic(ground: Ground, source: str) -> None:
    """As the city has it: a letter is a whole record with the reasons added."""
    admin = kafka.admin(ground.settings())
    await admin.start()
    try:
        limit = {"max.message.bytes": str(kafka.LARGEST_BYTES)}
        await admin.create_topics([NewTopic(topics.dead(source), 1, 1, topic_configs=limit)])
    finally:
        await admin.close()


async def _one_batch(ground: Ground, sent: Sequence[Outgoing]) -> None:
    """All of it in one transaction, so that a reader gets it together."""
    producer = kafka.producer(ground.settings(), transactional_id=ground.name("poisoner"))
    await producer.start()
    try:
        async with producer.transaction():
            told = [
                await producer.send(one.topic, one.value, key=one.key, headers=list(one.headers))
                for one in sent
            ]
            await asyncio.gather(*told)
    finally:
        await producer.stop()


# --- the engine


async def _route(ground: Ground) -> Route:
    """Of one partition: one order for all."""
    source = await ground.topic("source")
    return Route(ground, ground.name("group"), source, await ground.topic("target"))


def _application(topic: str, **changes: Any) -> Outgoing:
    return encode(topic, event(ApplicationSubmitted, case_id=uuid4(), **changes))


async def test_the_engine_sets_poison_aside_and_its_neighbours_go_on(ground: Ground) -> None:
    route = await _route(ground)
    await _dead_topic(ground, route.source)
    sound = [_application(route.source) for _ in POISON]
    bad, sent = _between(sound, lambda: _application(route.source))
    await _one_batch(ground, sent)
    async with route.engine():
        await route.handled(len(sent))
    assert [one.key for one in await route.results()] == [one.key for one in sound]
    _assert_letters(await route.dead(), bad, route.source)


async def test_the_engine_handles_an_event_from_the_future(ground: Ground) -> None:
    route = await _route(ground)
    sent = [_application(route.source) for _ in range(3)]
    sent[1] = _headers(sent[1], ("ce_time", b"2999-01-01T00:00:00+00:00"))
    await ground.send(route.source, sent)
    async with route.engine():
        await route.handled(3)
    assert [one.key for one in await route.results()] == [one.key for one in sent]


async def test_an_engine_that_may_not_write_its_letters_loses_neither_them_nor_the_rest(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The topic is missing, and then may not be written."""
    monkeypatch.setattr(kafka, "SEND_TIMEOUT_S", 1.0)
    route, user = await _route(ground), ground.name("engine")
    dead = topics.dead(route.source)
    identity = f"{route.group}-{route.source}-0"
    grants = [
        *(("READ", "GROUP", name) for name in (route.group, identity)),
        *(("READ", "TOPIC", name) for name in (route.source, topics.POSITIONS)),
        ("WRITE", "TOPIC", route.target),
        ("WRITE", "TRANSACTIONAL_ID", identity),
    ]
    settings = await asyncio.to_thread(ground.user, user, grants)
    sent = [_application(route.source) for _ in range(5)]
    sent[2] = replace(sent[2], value=b"{")
    await ground.send(route.source, sent)

    async def tried_again() -> None:
        with capture_logs() as logs:

            async def retries() -> bool:
                return any(one["event"] == "engine.retry" for one in logs)

            await eventually(retries)
        assert await route.results() == []
        assert await ground.committed(route.group, route.source) == []

    async with route.engine(settings=settings):
        await tried_again()
        await _dead_topic(ground, route.source)
        await tried_again()
        await asyncio.to_thread(ground.allow, user, [("WRITE", "TOPIC", dead)])
        await route.handled(len(sent))
    assert [one.key for one in await route.results()] == [sent[n].key for n in (0, 1, 3, 4)]
    (letter,) = await route.dead()
    assert (letter.key, letter.value, letter.headers[:7]) == (sent[2].key, b"{", sent[2].headers)


# --- the stream and its sink


async def _office(ground: Ground, office: Office) -> Office:
    """Its dead letters lie on a topic that is as the city's."""
    office.topic = await ground.topic("heard")
    await _dead_topic(ground, office.topic)
    return office


def _relay(office: Office) -> Any:
    return Relay(office.ground.settings(), office.pool, office.schema).run()


async def test_the_stream_sets_poison_aside_and_its_neighbours_go_on(
    ground: Ground, office: Office
) -> None:
    office = await _office(ground, office)
    sound = [office.outgoing(f"sound {n}", str(n)) for n in range(len(POISON))]
    spoilt = iter(range(len(POISON)))
    bad, sent = _between(sound, lambda: office.outgoing(f"spoilt {next(spoilt)}", "never"))
    await _one_batch(ground, sent)

    async def letters() -> list[Record]:
        return await ground.records(topics.dead(office.topic))

    async with office.streaming(), running(_relay(office)):
        await eventually(letters, lambda found: len(found) == len(bad))
        await eventually(office.written, lambda found: len(found) == len(sound))
    assert await office.written() == [str(n) for n in range(len(sound))]
    parked = [(code, 2 * n + 1) for n, (code, _) in enumerate(POISON.values())]
    assert await office.parked() == parked
    _assert_letters(await letters(), bad, office.topic)


async def test_a_handler_that_raises_in_the_stream_holds_up_its_case_alone(
    office: Office,
) -> None:
    office.trouble = lambda reason: ZeroDivisionError("a mistake") if reason == "a2" else None
    await office.send(("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2"), ("a", "a3"), ("c", "c1"))
    async with office.streaming():
        await eventually(office.written, lambda found: "c1" in found)
    assert await office.written() == ["a1", "b1", "b2", "c1"]
    assert await office.parked() == [("handler.failed", 2), ("case.waiting", 4)]


async def test_the_stream_handles_an_event_from_the_future(office: Office) -> None:
    late = _headers(office.outgoing("a", "a2"), ("ce_time", b"2999-01-01T00:00:00+00:00"))
    sent = [office.outgoing("a", "a1"), late, office.outgoing("a", "a3")]
    await office.ground.send(office.topic, sent)
    async with office.streaming():
        await eventually(office.written, lambda found: len(found) == 3)
    assert await office.written() == ["a1", "a2", "a3"]
    assert await office.parked() == []
