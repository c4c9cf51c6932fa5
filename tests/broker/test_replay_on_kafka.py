"""A replay over a real broker: what it reads, and going on after Ctrl-C and after kill -9."""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from casebus.replay.history import History, ShapeError, TopicNames
from casebus.replay.way import Stretch
from shared.contract import topics
from shared.contract.wire import Outgoing, encode
from shared.runtime import kafka
from shared.runtime.settings import Settings
from tests.broker.ground import Ground
from tests.city import ROOT
from tests.histories import Past, made_up, submitted

PARTITIONS = 2


async def written(ground: Ground, past: Past) -> TopicNames:
    """This past on topics of its own; of every third transaction the first try is aborted."""
    names = TopicNames(
        *[await ground.topic(what, PARTITIONS) for what in ("applications", "cases")]
    )
    names = names._replace(rules=await ground.topic("rules"))
    for partition in range(PARTITIONS):
        await put(ground, names.applications, past.applications[partition], partition)
        await put(ground, names.cases, past.cases[partition], partition)
    await put(ground, names.rules, [encode(topics.RULES, one) for one in past.rules], 0)
    return names


async def put(
    ground: Ground,
    topic: str,
    records: Sequence[Outgoing],
    partition: int,
) -> None:
    producer = kafka.producer(ground.settings(), transactional_id=ground.name("writer"))
    await producer.start()

    async def send(some: Sequence[Outgoing]) -> None:
        for one in some:
            headers = list(one.headers)
            await producer.send(topic, one.value, one.key, partition=partition, headers=headers)
        await producer.flush()

    try:
        for number, first in enumerate(range(0, len(records), 10)):
            some = records[first : first + 10]
            if number % 3 == 0:
                await producer.begin_transaction()
                await send(some)
                await producer.abort_transaction()
            async with producer.transaction():
                await send(some)
        await producer.begin_transaction()
        await send(records[:3])
        await producer.abort_transaction()
    finally:
        await producer.stop()


def replayed(
    ground: Ground, names: TopicNames, table: Path, ends_at: int = 0, ending: str = "SIGKILL"
) -> "subprocess.CompletedProcess[str]":
    settings = ground.settings()
    environment = {
        "CASEBUS_KAFKA": settings.kafka,
        "CASEBUS_KAFKA_SECURITY": settings.kafka_security,
        "CASEBUS_KAFKA_USERNAME": settings.kafka_username,
        "CASEBUS_KAFKA_PASSWORD": settings.kafka_password.get_secret_value(),
    }
    arguments = [*names, str(table), str(ends_at), ending]
    return subprocess.run(
        [sys.executable, "-m", "tests.broker.replayer", *arguments],
        env={"PATH": os.environ["PATH"]} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_after_kill_9_and_ctrl_c_a_replay_comes_to_what_it_would_have_come_to(
    ground: Ground, tmp_path: Path
) -> None:
    past = made_up(1, 400, PARTITIONS)
    names = await written(ground, past)
    whole = replayed(ground, names, tmp_path / "whole.csv")
    assert whole.returncode == 0, whole.stderr
    expected = (tmp_path / "whole.csv").read_bytes()
    assert expected.count(b"\n") > 50

    table = tmp_path / "moves.csv"
    # In the decisions of the first partition, in its applications, and in the second one: from
    # there on the first is not read again.
    for ends_at, ending, status in (
        (20, "SIGKILL", -9),
        (70, "SIGINT", 130),
        (95, "SIGKILL", -9),
        (25, "SIGKILL", -9),
        (40, "SIGINT", 130),
    ):
        ended = replayed(ground, names, table, ends_at, ending)
        assert ended.returncode == status, (ends_at, ended.stdout, ended.stderr)
        assert "Traceback" not in ended.stderr
    last = replayed(ground, names, table)
    assert last.returncode == 0, last.stderr
    resumed, found = last.stdout.splitlines()
    assert resumed.startswith("resumed after ")
    assert [found] == whole.stdout.splitlines()
    assert table.read_bytes() == expected
    assert not table.with_suffix(".state").exists()


async def test_a_history_holds_what_is_committed_from_a_day_on_up_to_the_beginning(
    ground: Ground,
) -> None:
    names = TopicNames(*[await ground.topic(what) for what in ("applications", "cases", "rules")])
    midnight = datetime(2026, 11, 23, 16, tzinfo=UTC)  # in Taipei
    for hours in (-24, -2, -0.5, 0, 30):
        at = int((midnight + timedelta(hours=hours)).timestamp() * 1000)
        one = encode(topics.APPLICATIONS, submitted(number=str(hours)))
        producer = kafka.producer(ground.settings())
        await producer.start()
        await producer.send_and_wait(names.applications, one.value, timestamp_ms=at)
        await producer.stop()

    async def numbers(history: History, stretch: Stretch) -> list[bytes | None]:
        found = [one async for batch in history.read(stretch) for one in batch]
        return [(one.value or b"").split(b'"number":"')[1].split(b'"')[0] for one in found]

    async with History(ground.settings(), names) as history:
        way = await history.way(date(2026, 11, 24))
        ((cases, applications),) = way.pairs
        late = encode(topics.APPLICATIONS, submitted(number="late"))
        await ground.send(names.applications, [late])
        assert await numbers(history, applications) == [b"-0.5", b"0", b"30"]
        assert cases.finished
        assert (await history.way(date(2030, 1, 1))).records == 0
        # Of the same broker every history is the same.
        assert (await history.way(date(1, 1, 1))).cluster == way.cluster != ""


async def test_topics_of_different_widths_cannot_be_replayed(ground: Ground) -> None:
    names = TopicNames(
        await ground.topic("applications", 2), await ground.topic("cases"), await ground.topic("r")
    )
    async with History(ground.settings(), names) as history:
        with pytest.raises(ShapeError, match="2 partitions"):
            await history.way(date(2026, 11, 24))


async def test_a_history_that_cannot_be_opened_is_an_error_of_kafka(ground: Ground) -> None:
    wrong = Settings(
        kafka=ground.kafka,
        kafka_security="SASL_PLAINTEXT",
        kafka_username="admin",
        kafka_password=SecretStr("another"),
    )
    with pytest.raises(KafkaError):
        async with History(wrong):
            raise AssertionError("it was opened")
