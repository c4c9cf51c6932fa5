"""The sink: each event once, in the order of its case, and what is bad aside with its case."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from uuid import uuid4

import pytest_asyncio
from structlog.testing import capture_logs

from shared.contract import topics
from shared.contract.errors import PermanentError, TransientError
from shared.contract.events import CaseStatusChanged, Event
from shared.contract.wire import Outgoing, Record, encode
from shared.runtime import kafka
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection, Pool
from shared.runtime.relay import Relay
from shared.runtime.sink import Sink
from shared.runtime.stream import consume
from tests.broker.ground import Ground, running
from tests.city import eventually
from tests.examples import event, record


@dataclass(slots=True)
class Office:
    """A service that writes down (case, reason) of each event; a test says what goes wrong."""

    ground: Ground
    schema: str
    topic: str
    pool: Pool
    trouble: Callable[[str], BaseException | None] = field(default=lambda reason: None)
    _offset: int = 0

    @property
    def sink(self) -> Sink:
        tables = Tables(self.schema)
        return Sink(self.pool, tables, self.schema, [CaseStatusChanged], self.handle, lambda: None)

    async def handle(self, connection: Connection, told: Event, _: Record) -> None:
        assert isinstance(told, CaseStatusChanged)
        await connection.execute(
            f"INSERT INTO {self.schema}.written VALUES ($1, $2)", str(told.case_id), told.reason
        )
        if (trouble := self.trouble(told.reason)) is not None:
            raise trouble

    def record(self, case: str, reason: str) -> Record:
        """What the consumer would hand over next: an event of `case` (a name of this test)."""
        told = event(CaseStatusChanged, case_id=_case(case), reason=reason)
        self._offset += 1
        return record(encode(self.topic, told), offset=self._offset)

    async def written(self) -> list[str]:
        rows = await self.pool.fetch(f"SELECT reason FROM {self.schema}.written ORDER BY seq")
        return [row["reason"] for row in rows]

    async def parked(self) -> list[tuple[str, int]]:
        rows = await self.pool.fetch(
            f'SELECT code, "offset" FROM {self.schema}.parked ORDER BY seq'
        )
        return [(row["code"], row["offset"]) for row in rows]

    async def letters(self) -> int:
        found = await self.pool.fetchval(
            f"SELECT count(*) FROM {self.schema}.outbox WHERE topic = $1", topics.dead(self.topic)
        )
        return int(found)


_cases: dict[str, object] = {}


def _case(name: str) -> object:
    return _cases.setdefault(name, uuid4())


@pytest_asyncio.fixture
async def office(ground: Ground) -> AsyncIterator[Office]:
    schema = await ground.schema()
    topic = await ground.topic("heard")
    await ground.topics(topics.dead(topic))
    async with ground.pool(schema) as pool:
        await pool.execute(
            f"CREATE TABLE {schema}.written"
            " (case_id text, reason text, seq bigint GENERATED ALWAYS AS IDENTITY)"
        )
        yield Office(ground, schema, topic, pool)


def _fails_on(*reasons: str) -> Callable[[str], BaseException | None]:
    return lambda reason: ValueError(f"cannot do {reason}") if reason in reasons else None


async def test_a_handler_that_raises_parks_its_case_and_the_others_go_on(office: Office) -> None:
    office.trouble = _fails_on("bad")
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
    office.trouble = _fails_on("bad")
    await office.sink.take([office.record("a", "bad")])
    office.trouble = _fails_on()
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
    office.trouble = _fails_on("bad")
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

    async with _streaming(office), running(_relay(office)):
        (letter,) = await eventually(letters)
        await eventually(office.written)
    assert await office.written() == ["b1"]
    assert (letter.key, letter.value) == (poison.key, poison.value)
    assert letter.headers[:2] == headers
    assert [name for name, _ in letter.headers[2:]] == [
        "dead_code",
        "dead_error",
        "dead_topic",
        "dead_partition",
        "dead_offset",
    ]
    assert letter.header("dead_code") == "event.not_json"
    assert (letter.header("dead_error") or "").startswith("PermanentError: the body is no JSON")
    assert letter.header("dead_topic") == office.topic
    assert (letter.header("dead_partition"), letter.header("dead_offset")) == ("0", "0")


async def test_the_stream_never_sees_what_a_transaction_took_back(office: Office) -> None:
    await _in_transactions(office, ("taken back", False), ("kept", True))
    async with _streaming(office):
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

    async with _streaming(office):
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


@contextlib.asynccontextmanager
async def _streaming(office: Office) -> AsyncIterator["asyncio.Future[None]"]:
    work = consume(office.ground.settings(), office.schema, [office.topic], office.sink)
    async with running(work) as task:
        yield task
