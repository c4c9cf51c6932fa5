"""A stream goes on where its database stands, whatever the group has committed in Kafka."""

import asyncio
import re
from collections.abc import Mapping, Sequence

import faust
import pytest
from aiokafka import TopicPartition
from structlog.testing import capture_logs

from deploy.local.ports import choose
from shared.contract.errors import TransientError
from shared.runtime import kafka, metrics, stream
from shared.runtime.marks import mark, misfits
from shared.runtime.settings import Settings
from tests.broker.ground import forwarding, running
from tests.broker.office import Office, fails_on
from tests.city import eventually

_KEPT = ("consumed", "inbox", "written", "parked", "outbox")


class Looks:
    """Counts the looks that a stream has taken at what waits, and can stop them."""

    def __init__(self) -> None:
        self.count = 0
        self._at = stream._records_at
        self._last = False
        self._stands_still = asyncio.Event()

    async def at(
        self, settings: Settings, positions: Mapping[TopicPartition, int]
    ) -> set[TopicPartition]:
        found = await self._at(settings, positions)
        self.count += 1
        if self._last:
            self._stands_still.set()
            await asyncio.Event().wait()
        return found

    async def end(self) -> None:
        """aiokafka leaves a connection open when it is cancelled while it opens one."""
        self._last = True
        async with asyncio.timeout(20):
            await self._stands_still.wait()


@pytest.fixture
def slower_looks(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Such as give Faust the time to begin anew."""
    monkeypatch.setattr(stream, "_LOOK_EVERY_S", 1.5)
    return looks


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Looks in quick succession."""
    found = Looks()
    monkeypatch.setattr(stream, "_records_at", found.at)
    monkeypatch.setattr(stream, "_LOOK_EVERY_S", 0.3)
    return found


async def _has_written(office: Office, *reasons: str) -> None:
    """Until the last of these is written; then these are, each once and in this order."""
    await eventually(office.written, lambda found: reasons[-1] in found)
    assert await office.written() == list(reasons)


async def _committed(office: Office, offset: int) -> None:
    """Until the group has said so to Kafka."""

    async def offsets() -> list[int]:
        found = await office.ground.committed(office.schema, office.topic)
        return [at.offset for at in found]

    await eventually(offsets, lambda found: found == [offset])


async def _copy(office: Office) -> None:
    for name in _KEPT:
        await office.pool.execute(
            f"CREATE TABLE {office.schema}.{name}_copy AS SELECT * FROM {office.schema}.{name}"
        )


async def _restore(office: Office) -> None:
    for name in _KEPT:
        full = f"{office.schema}.{name}"
        await office.pool.execute(f"DELETE FROM {full}")
        await office.pool.execute(
            f"INSERT INTO {full} OVERRIDING SYSTEM VALUE SELECT * FROM {full}_copy"
        )


def _reasons(first: int, last: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{n}" for n in range(first, last + 1)]


async def _send(office: Office, reasons: Sequence[str]) -> None:
    await office.send(*[("a", reason) for reason in reasons])


async def test_a_database_from_an_older_copy_takes_up_by_itself_what_it_lost(
    office: Office,
) -> None:
    await _send(office, _reasons(1, 3))
    async with office.streaming():
        await _has_written(office, *_reasons(1, 3))
        await _committed(office, 3)
    await _copy(office)
    await _send(office, _reasons(4, 6))
    async with office.streaming():
        await _has_written(office, *_reasons(1, 6))
        await _committed(office, 6)
    await _restore(office)
    assert await office.written() == _reasons(1, 3)
    async with office.streaming():
        await _has_written(office, *_reasons(1, 6))
        await _send(office, ["7"])
        await _has_written(office, *_reasons(1, 7))
        await _committed(office, 7)


async def test_a_database_from_an_older_copy_parks_again_what_it_lost(office: Office) -> None:
    office.trouble = fails_on("2")
    await _send(office, ["1"])
    async with office.streaming():
        await _has_written(office, "1")
    await _copy(office)
    await office.send(("a", "2"), ("a", "3"), ("b", "4"))
    async with office.streaming():
        await _has_written(office, "1", "4")
    await _restore(office)
    async with office.streaming():
        await _has_written(office, "1", "4")
    assert await office.parked() == [("handler.failed", 1), ("case.waiting", 2)]
    assert await office.letters() == 1


@pytest.mark.parametrize("new", [2, 3, 6])
async def test_a_topic_that_was_made_again_is_handled_from_its_beginning(
    office: Office, new: int
) -> None:
    """With fewer records than the old position, with as many, and with more."""
    await _send(office, _reasons(1, 3))
    async with office.streaming():
        await _has_written(office, *_reasons(1, 3))
        await _committed(office, 3)
    await office.ground.topic_again(office.topic)
    await _send(office, _reasons(1, new, "new "))
    with capture_logs() as logs:
        async with office.streaming():
            await _has_written(office, *_reasons(1, 3), *_reasons(1, new, "new "))
    assert "stream.position_lost" in [one["event"] for one in logs]


@pytest.mark.parametrize("new", [2, 6])
async def test_a_topic_that_is_made_again_under_a_running_stream_is_handled_as_a_whole(
    office: Office, new: int, monkeypatch: pytest.MonkeyPatch, slower_looks: Looks
) -> None:
    monkeypatch.setattr(kafka, "METADATA_MAX_AGE_MS", 500)
    await _send(office, _reasons(1, 3))
    async with office.streaming():
        await _has_written(office, *_reasons(1, 3))
        await office.ground.topic_again(office.topic)
        await _send(office, _reasons(1, new, "new "))
        await _has_written(office, *_reasons(1, 3), *_reasons(1, new, "new "))
        await slower_looks.end()


def _failures(logs: Sequence[Mapping[str, str]]) -> list[str]:
    return [one["error"] for one in logs if one["event"] == "stream.failed"]


async def test_a_running_stream_whose_position_fits_no_more_begins_anew(
    office: Office, slower_looks: Looks
) -> None:
    """As when a topic was made again, and has grown past the position, between two looks."""
    await _send(office, _reasons(1, 3))
    with capture_logs() as logs:
        async with office.streaming():
            await _has_written(office, *_reasons(1, 3))
            first = (await office.ground.records(office.topic))[0]
            await office.pool.execute(
                f"DELETE FROM {office.schema}.inbox WHERE event_id = $1::uuid",
                first.header("ce_id"),
            )
            await office.pool.execute(f"UPDATE {office.schema}.consumed SET mark = 'another'")
            await eventually(office.written, lambda found: found == ["1", "2", "3", "1"])
            await slower_looks.end()
    (failure,) = _failures(logs)
    assert "not what they were" in failure


async def test_the_first_start_with_a_position_only_in_kafka_repeats_nothing(
    office: Office,
) -> None:
    """As after the update to the release that keeps positions in the database."""
    office.trouble = fails_on("3")
    await office.send(("a", "1"), ("a", "2"), ("b", "3"), ("b", "4"))
    async with office.streaming():
        await _has_written(office, "1", "2")
        await _committed(office, 4)
    await office.pool.execute(f"DELETE FROM {office.schema}.consumed")
    await office.send(("a", "5"))
    async with office.streaming():
        await _has_written(office, "1", "2", "5")
        await _committed(office, 5)
    assert metrics.REPEATED.labels(office.schema)._value.get() == 2
    assert await office.parked() == [("handler.failed", 2), ("case.waiting", 3)]
    assert await office.letters() == 1


async def test_a_group_that_kafka_has_forgotten_changes_nothing(office: Office) -> None:
    await _send(office, _reasons(1, 3))
    async with office.streaming():
        await _has_written(office, *_reasons(1, 3))
    from kafka.admin import KafkaAdminClient

    def forget() -> None:
        admin = KafkaAdminClient(**kafka.connection(office.ground.settings()))
        try:
            admin.delete_groups([office.schema])
        finally:
            admin.close()

    await asyncio.to_thread(forget)
    await office.pool.execute(f"DELETE FROM {office.schema}.inbox")  # would repeat if it could
    async with office.streaming():
        await _send(office, ["4"])
        await _has_written(office, *_reasons(1, 4))


async def test_a_stream_that_owns_partitions_and_takes_nothing_begins_anew(
    office: Office, monkeypatch: pytest.MonkeyPatch, slower_looks: Looks
) -> None:
    """Seen of Faust; here its consumer is paused."""
    apps = []
    start = faust.App.start

    async def kept(app: faust.App) -> None:
        apps.append(app)
        await start(app)

    monkeypatch.setattr(faust.App, "start", kept)
    await _send(office, ["1"])
    with capture_logs() as logs:
        async with office.streaming():
            await _has_written(office, "1")
            (app,) = apps
            app.consumer.pause_partitions(app.consumer.assignment())
            await _send(office, ["2"])
            await _has_written(office, "1", "2")
            await slower_looks.end()
    (failure,) = _failures(logs)
    assert re.search(r"owns .*heard.* and takes no record of it", failure)


async def test_a_stream_that_crashes_begins_anew_and_repeats_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = []
    start = faust.App.start

    async def kept(app: faust.App) -> None:
        apps.append(app)
        await start(app)

    monkeypatch.setattr(faust.App, "start", kept)
    with capture_logs() as logs:
        async with office.streaming():
            for n in range(3):
                await _send(office, [f"{n}"])
                await _has_written(office, *_reasons(0, n))
                await apps[-1].crash(RuntimeError(f"crash {n}"))
            await _send(office, ["3"])
            await _has_written(office, *_reasons(0, 3))
    assert len(apps) == 4
    assert [f"crash {n}" in one for n, one in enumerate(_failures(logs))] == [True] * 3


async def test_a_stream_that_starts_while_no_broker_answers_waits_for_one(office: Office) -> None:
    port = choose({"kafka": 0}, told=lambda line: None)["kafka"]
    settings = office.ground.settings().model_copy(update={"kafka": f"127.0.0.1:{port}"})
    work = stream.consume(settings, office.schema, [office.topic], office.sink)
    with capture_logs() as logs:
        async with running(work) as task:

            async def failed() -> bool:
                return bool(_failures(logs))

            await eventually(failed)
            await _send(office, ["1"])
            async with forwarding(port, office.ground.kafka):
                await _has_written(office, "1")
            assert not task.done()


async def test_a_stream_stops_in_time_while_a_broker_is_met_that_says_nothing(
    office: Office,
) -> None:
    met = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.set()
        await asyncio.sleep(5)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        settings = office.ground.settings().model_copy(update={"kafka": f"{host}:{port}"})
        work = stream.consume(settings, office.schema, [office.topic], office.sink)
        task = asyncio.ensure_future(work)
        async with asyncio.timeout(20):
            await met.wait()
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(task, return_exceptions=True)


async def test_what_the_database_has_is_committed_at_the_next_start(office: Office) -> None:
    """As after a death between the two: otherwise the group would seem to stand still."""
    await _send(office, _reasons(1, 3))
    async with office.streaming():
        await _has_written(office, *_reasons(1, 3))
        await _committed(office, 3)
    await office.ground.set_committed(office.schema, office.topic, 1)
    async with office.streaming():
        await _committed(office, 3)
    assert await office.written() == _reasons(1, 3)


async def test_a_stream_that_waits_for_what_is_down_is_not_taken_for_stuck(
    office: Office, looks: Looks
) -> None:
    office.trouble = lambda _: TransientError("down") if looks.count < 4 else None
    await _send(office, ["1"])
    async with office.streaming():
        await _has_written(office, "1")
        await looks.end()


async def test_an_idle_stream_is_not_taken_for_stuck_by_what_a_transaction_took_back(
    office: Office, looks: Looks
) -> None:
    producer = kafka.producer(office.ground.settings(), transactional_id=office.schema)
    await producer.start()
    await _send(office, ["1"])
    await producer.begin_transaction()
    one = office.outgoing("a", "taken back")
    await producer.send_and_wait(office.topic, one.value, key=one.key, headers=list(one.headers))
    await producer.abort_transaction()
    await producer.stop()
    async with office.streaming():
        await _has_written(office, "1")
        before = looks.count

        async def looked() -> bool:
            return looks.count > before + 3

        await eventually(looked)
        await looks.end()


async def test_a_mark_fits_only_the_record_before_it(office: Office) -> None:
    await _send(office, _reasons(1, 3))
    records = await office.ground.records(office.topic)
    assert len({mark(one) for one in records}) == 3
    partition = TopicPartition(office.topic, 0)
    settings = office.ground.settings()
    assert await misfits(settings, {}) == {}
    for one in records:
        assert await misfits(settings, {partition: (one.offset + 1, mark(one))}) == {}
    wrong = await misfits(settings, {partition: (2, mark(records[0]))})
    assert wrong == {partition: "another record stands before offset 2"}
    wrong = await misfits(settings, {partition: (4, mark(records[2]))})
    assert wrong == {partition: "offset 4 lies outside of 0-3"}


async def test_a_position_behind_records_that_are_gone_by_their_age_fits(office: Office) -> None:
    await _send(office, _reasons(1, 3))
    records = await office.ground.records(office.topic)
    partition = TopicPartition(office.topic, 0)
    admin = kafka.admin(office.ground.settings())
    await admin.start()
    try:
        await admin.delete_records({partition: _until(2)})
    finally:
        await admin.close()
    settings = office.ground.settings()
    assert await misfits(settings, {partition: (2, mark(records[1]))}) == {}
    assert list(await misfits(settings, {partition: (1, mark(records[0]))})) == [partition]


def _until(offset: int) -> object:
    from aiokafka.admin.records_to_delete import RecordsToDelete

    return RecordsToDelete(before_offset=offset)
