"""Orders about what was set aside: each is carried out once, and the case keeps its order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from shared.contract import topics
from shared.contract.wire import Outgoing
from shared.runtime import orders
from shared.runtime.orders import Do, Done, Order
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection
from tests.broker.ground import running
from tests.broker.office import Office, case_of, fails_on
from tests.broker.outbox import Outbox
from tests.city import eventually


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_POLL_S", 0.02)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where orders are given to one service."""

    office: Office | Outbox

    async def give(self, action: str, target: str, kind: str = "parked") -> int:
        given = (
            f"INSERT INTO {self.office.schema}.dead_orders (kind, target, action, ordered_by)"
            " VALUES ($1, $2, $3, 'somebody') RETURNING id"
        )
        return int(await self.office.pool.fetchval(given, kind, target, action))

    async def result(self, number: int) -> tuple[bool, str] | None:
        """(settled, outcome) once it is done."""
        row = await self.office.pool.fetchrow(
            f"SELECT settled, outcome FROM {self.office.schema}.dead_orders"
            " WHERE id = $1 AND done_at IS NOT NULL",
            number,
        )
        return None if row is None else (row["settled"], row["outcome"])

    async def done(self, action: str, target: str, kind: str = "parked") -> tuple[bool, str]:
        number = await self.give(action, target, kind)
        found = await eventually(lambda: self.result(number))
        assert found is not None
        return found


async def _target(office: Office, nth: int, case: str = "a") -> str:
    """How an order names the nth parked event of the case."""
    rows = await office.pool.fetch(
        f"SELECT seq FROM {office.schema}.parked WHERE case_id = $1 ORDER BY seq", _id(case)
    )
    return f"{rows[nth]['seq']}:{_id(case)}"


def _id(case: str) -> str:
    return str(case_of(case))


@contextlib.asynccontextmanager
async def _service(office: Office, do: Do | None = None) -> AsyncIterator[None]:
    """The part of a stream that carries out orders; without a broker."""
    sink = office.sink

    async def carried(order: Order, _: Connection) -> Done:
        return await sink.carry_out(order, [office.topic])

    async def mine(target: str) -> bool:
        async with office.pool.acquire() as connection:
            record = await sink.tables.parked(connection, int(target.partition(":")[0]))
        return record is None or record.topic == office.topic

    work = orders.carry_out(office.pool, office.schema, "parked", do or carried, mine)
    async with running(work):
        yield


async def _park(office: Office, *reasons: str) -> None:
    """The case a with these, of which the first one cannot be handled."""
    office.trouble = fails_on(reasons[0])
    await office.sink.take([office.record("a", reason) for reason in reasons])
    office.trouble = fails_on()
    assert len(await office.parked()) == len(reasons)


async def test_a_replay_handles_all_parked_events_of_the_case_in_their_order(
    office: Office,
) -> None:
    await _park(office, "a1", "a2", "a3")
    async with _service(office):
        assert await Desk(office).done("replay", await _target(office, 0)) == (True, "3 handled")
    assert await office.written() == ["a1", "a2", "a3"]
    assert await office.parked() == []
    await office.sink.take([office.record("a", "a4")])
    assert await office.written() == ["a1", "a2", "a3", "a4"]


async def test_a_replay_named_by_a_later_event_begins_with_the_first(office: Office) -> None:
    await _park(office, "a1", "a2", "a3")
    async with _service(office):
        await Desk(office).done("replay", await _target(office, 2))
    assert await office.written() == ["a1", "a2", "a3"]


async def test_what_fails_again_stays_in_front_with_its_tries_counted(office: Office) -> None:
    await _park(office, "a1", "a2", "a3")
    office.trouble = fails_on("a2")
    async with _service(office):
        settled, outcome = await Desk(office).done("replay", await _target(office, 0))
    assert (settled, outcome) == (False, "1 handled; parked again: handler.failed cannot do a2")
    row, after = await office.pool.fetch(
        "SELECT code, error, tries, last_at > parked_at AS later"
        f" FROM {office.schema}.parked ORDER BY seq"
    )
    assert dict(row) == {
        "code": "handler.failed",
        "error": "ValueError('cannot do a2')",
        "tries": 2,
        "later": True,
    }
    assert (after["code"], after["tries"], after["later"]) == ("case.waiting", 1, False)
    await office.sink.take([office.record("a", "a4")])
    assert await office.written() == ["a1"]
    office.trouble = fails_on()
    async with _service(office):
        await Desk(office).done("replay", await _target(office, 0))
    assert await office.written() == ["a1", "a2", "a3", "a4"]


async def test_the_same_replay_ordered_twice_handles_nothing_twice(office: Office) -> None:
    await _park(office, "a1", "a2")
    desk, target = Desk(office), await _target(office, 0)
    numbers = [await desk.give("replay", target) for _ in range(3)]
    async with _service(office), _service(office):
        await eventually(lambda: desk.result(numbers[-1]))
    assert [await desk.result(n) for n in numbers] == [
        (True, "2 handled"),
        (True, "nothing is parked any more"),
        (True, "nothing is parked any more"),
    ]
    assert await office.written() == ["a1", "a2"]


async def test_a_drop_of_the_first_lets_those_pass_that_waited_behind_it(office: Office) -> None:
    await _park(office, "a1", "a2", "a3")
    first = office.record("a", "again")
    async with _service(office):
        found = await Desk(office).done("drop", await _target(office, 0))
    assert found == (True, "dropped; 2 handled")
    assert await office.written() == ["a2", "a3"]
    await office.sink.take([first])
    assert await office.written() == ["a2", "a3", "again"]


async def test_a_dropped_event_counts_as_seen(office: Office) -> None:
    bad = office.record("a", "a1")
    office.trouble = fails_on("a1")
    await office.sink.take([bad])
    office.trouble = fails_on()
    async with _service(office):
        await Desk(office).done("drop", await _target(office, 0))
    await office.sink.take([bad])
    assert (await office.written(), await office.parked()) == ([], [])


async def test_a_drop_of_a_later_one_lets_nothing_pass(office: Office) -> None:
    await _park(office, "a1", "a2", "a3")
    target = await _target(office, 1)
    async with _service(office):
        settled, outcome = await Desk(office).done("drop", target)
        assert settled
        assert outcome.startswith("dropped; ")
        assert "(handler.failed) still stands before the rest" in outcome
        # As if the process had died between the drop and the note of it.
        await Desk(office).done("drop", target)
    assert await office.written() == []
    assert await office.parked() == [("handler.failed", 1), ("case.waiting", 3)]
    async with _service(office):
        await Desk(office).done("replay", await _target(office, 0))
    assert await office.written() == ["a1", "a3"]


async def test_events_that_come_during_a_replay_neither_overtake_nor_are_left(
    office: Office,
) -> None:
    """A live stream and a replay at the same cases, again and again."""
    desk = Desk(office)
    async with _service(office):
        for n in range(25):
            case = f"live{n}"
            office.trouble = fails_on(f"{n}-0")
            await office.sink.take([office.record(case, f"{n}-{k}") for k in range(3)])
            office.trouble = fails_on()
            number = await desk.give("replay", await _target(office, 0, case))
            sink, k = office.sink, 3
            while await desk.result(number) is None or k < 6:
                await sink.take([office.record(case, f"{n}-{k}")])
                k += 1
            rows = await office.pool.fetch(
                f"SELECT reason FROM {office.schema}.written WHERE case_id = $1 ORDER BY seq",
                _id(case),
            )
            assert [row["reason"] for row in rows] == [f"{n}-{i}" for i in range(k)]
    assert await office.parked() == []


async def test_an_interrupted_order_is_carried_out_again(office: Office) -> None:
    """PostgreSQL ends the connection that holds the order, when its work is half done."""
    await _park(office, "a1", "a2")
    times = []

    async def do(order: Order, connection: Connection) -> Done:
        done = await office.sink.carry_out(order, [office.topic])
        times.append(done.outcome)
        if len(times) == 1:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await office.pool.execute("SELECT pg_terminate_backend($1)", pid)
        return done

    async with _service(office, do):
        assert await Desk(office).done("replay", await _target(office, 0)) == (
            True,
            "nothing is parked any more",
        )
    assert times == ["2 handled", "nothing is parked any more"]
    assert await office.written() == ["a1", "a2"]


async def test_two_processes_carry_out_an_order_once(office: Office) -> None:
    times = []

    async def do(order: Order, connection: Connection) -> Done:
        times.append(order.id)
        await connection.fetchval("SELECT pg_sleep(0.01)")
        return Done("done")

    desk = Desk(office)
    async with _service(office, do), _service(office, do), _service(office, do):
        numbers = [await desk.give("replay", f"{n}:nobody") for n in range(40)]
        for number in numbers:
            await eventually(lambda number=number: desk.result(number))  # type: ignore[misc]
    assert sorted(times) == numbers


async def test_orders_of_another_stream_are_left_alone_however_many_there_are(
    office: Office,
) -> None:
    await _park(office, "a1", "a2")
    other = await office.pool.fetch(
        f'INSERT INTO {office.schema}.parked (topic, partition, "offset", case_id, header_names,'
        " header_values, value, code, error) SELECT 'other', 0, n, 'other', '{}', '{}', '', 'x.y',"
        " '' FROM generate_series(1, 30) n RETURNING seq"
    )
    desk = Desk(office)
    left = [await desk.give("replay", f"{row['seq']}:other") for row in other]
    async with _service(office):
        assert await desk.done("replay", await _target(office, 0)) == (True, "2 handled")
    assert [await desk.result(n) for n in left] == [None] * 30


async def test_a_replay_does_not_touch_what_another_stream_parked_of_the_case(
    office: Office,
) -> None:
    """The other stream understands it; this one would take it for nothing."""
    await _park(office, "a1", "a2")
    await office.pool.execute(
        f"UPDATE {office.schema}.parked SET topic = 'other' WHERE seq = (SELECT max(seq)"
        f" FROM {office.schema}.parked)"
    )
    async with _service(office):
        settled, outcome = await Desk(office).done("replay", await _target(office, 0))
    assert settled
    assert outcome.endswith("(case.waiting) still stands before the rest")
    assert await office.written() == ["a1"]
    assert await office.parked() == [("case.waiting", 2)]


async def test_an_order_holds_no_relay_back_while_it_is_carried_out(office: Office) -> None:
    """Relays read below the oldest running transaction; an order may take long."""
    begun, end = asyncio.Event(), asyncio.Event()

    async def do(order: Order, _: Connection) -> Done:
        begun.set()
        await end.wait()
        return Done("done")

    async with _service(office, do):
        number = await Desk(office).give("replay", "1:nobody")
        await begun.wait()
        mine = await office.pool.fetchval("SELECT pg_current_xact_id()::text::bigint")
        first = await office.pool.fetchval(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        )
        assert first > mine
        end.set()
        await eventually(lambda: Desk(office).result(number))


@pytest.mark.parametrize(
    ("kind", "target"), [("parked", "7"), ("parked", "x:y"), ("row", "7:a"), ("letter", "t:0:x")]
)
async def test_an_order_whose_target_is_none_cannot_be_given(
    office: Office, kind: str, target: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await Desk(office).give("replay", target, kind)


_LARGE = b"x" * 1_200_000


async def _larger_records(outbox: Outbox) -> None:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    from shared.runtime import kafka

    admin = kafka.admin(outbox.ground.settings())
    await admin.start()
    try:
        limit = {"max.message.bytes": str(kafka.LARGEST_BYTES)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, outbox.topic, limit)])
    finally:
        await admin.close()


async def _refused(outbox: Outbox) -> str:
    """The number of the row that Kafka refused."""
    select = f"SELECT seq FROM {outbox.schema}.outbox WHERE refused IS NOT NULL"
    return str(await eventually(lambda: outbox.pool.fetchval(select)))


async def test_a_refused_row_is_replayed_with_those_behind_it_once_and_in_order(
    outbox: Outbox,
) -> None:
    desk = Desk(outbox)
    async with outbox.relay():
        await outbox.append(b"a1")
        await outbox.append(_LARGE)
        await outbox.append(b"a3")
        await outbox.append(b"b1", key=b"case-2")
        number = await _refused(outbox)
        # Before anything was mended: refused once more, under a new number.
        assert await desk.done("replay", number, "row") == (True, "2 rows are on their way")
        again = await eventually(lambda: _refused(outbox), lambda found: found != number)
        await outbox.append(b"a4")
        await _larger_records(outbox)
        assert await desk.done("replay", again, "row") == (True, "3 rows are on their way")
        await outbox.append(b"a5")
        await outbox.arrived([b"a1", b"b1", _LARGE, b"a3", b"a4", b"a5"])
        assert await desk.done("replay", again, "row") == (
            True,
            "no row under this number is refused any more",
        )
        await outbox.append(b"a6")
        await outbox.arrived([b"a1", b"b1", _LARGE, b"a3", b"a4", b"a5", b"a6"])


async def test_a_refused_row_that_is_dropped_lets_just_those_behind_it_pass(
    outbox: Outbox,
) -> None:
    async with outbox.relay():
        await outbox.append(b"a1", _LARGE, b"a3")
        number = await _refused(outbox)
        await outbox.append(b"b1", key=b"case-2")
        assert await Desk(outbox).done("drop", number, "row") == (True, "1 rows are on their way")
        await outbox.append(b"a4")
        await eventually(outbox.values, lambda found: len(found) == 4)
        values = await outbox.values()
    assert sorted(values, key=str) == [b"a1", b"a3", b"a4", b"b1"]
    assert [one for one in values if one != b"b1"] == [b"a1", b"a3", b"a4"]


@pytest.mark.parametrize("action", ["replay", "drop"])
async def test_an_order_about_a_refused_dead_letter_sends_no_later_row_again(
    outbox: Outbox, action: str
) -> None:
    """A refused dead letter holds nobody back: the rows behind it are in Kafka already."""
    await outbox.ground.topics(topics.dead(outbox.topic))
    letter = Outgoing(topics.dead(outbox.topic), b"case-1", (), _LARGE)
    async with outbox.relay():
        async with outbox.pool.acquire() as connection, connection.transaction():
            await Tables(outbox.schema).append(connection, [letter])
        await outbox.append(b"a1", b"a2")
        await outbox.arrived([b"a1", b"a2"])
        await Desk(outbox).done(action, await _refused(outbox), "row")
        await outbox.append(b"a3")
        await eventually(outbox.values, lambda found: b"a3" in found)
        assert await outbox.values() == [b"a1", b"a2", b"a3"]
