"""`casebus up --brokers 3`: any one broker may fail, even with its disk. One city, started once."""

import asyncio
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from shared.runtime import kafka
from tests.city import City, application, eventually


@pytest.fixture(scope="module")
def city() -> Iterator[City]:
    # PostgreSQL of root must come in again: not in pytest's own folder.
    with tempfile.TemporaryDirectory(prefix="casebus-brokers-") as folder:
        city = City.start(Path(folder) / "data", "--brokers", "3")
        yield city
        city.stop()


async def _partitions(city: City) -> list[dict[str, Any]]:
    admin = kafka.admin(city.kafka("admin"))
    await admin.start()
    try:
        topics = await admin.describe_topics(await admin.list_topics())
    finally:
        await admin.close()
    return [one | {"topic": topic["topic"]} for topic in topics for one in topic["partitions"]]


def _written(city: City, names: Collection[str]) -> dict[str, str]:
    """How many copies must be written before a record counts, by topic."""
    admin = KafkaAdminClient(**kafka.connection(city.kafka("admin")))
    try:
        wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        found = admin.describe_configs(wanted, config_filter="all")["topic"]
    finally:
        admin.close()
    return {name: settings["min.insync.replicas"]["value"] for name, settings in found.items()}


async def _out_of_sync(city: City) -> list[str]:
    return [one["topic"] for one in await _partitions(city) if len(one["isr"]) < 3]


async def _restarted(city: City, name: str, killed: int) -> None:
    """The broker runs again and has all records that the others have."""

    async def pid() -> int:
        return city.running.pids[name]

    await eventually(pid, lambda found: found != killed)
    await eventually(lambda: _out_of_sync(city), lambda found: found == [], 60)


def _records(folder: Path) -> dict[str, bytes]:
    """What a broker has of the city's topics, by partition."""
    return {
        path.parent.name: path.read_bytes()
        for path in (folder / "log").glob("*/*.log")
        if not path.parent.name.startswith("__") and path.stat().st_size
    }


async def _assert_all_arrive(city: City, wanted: int) -> None:
    async def verdict() -> dict[str, int]:
        found: dict[str, int] = await city.acommand("audit", status=None)
        return found

    found = await eventually(verdict, lambda one: one["in_back_offices"] >= wanted, 60)
    numbers = (found["applications"], found["assigned"], found["in_back_offices"])
    assert numbers == (wanted, wanted, wanted)


def test_all_three_are_named_where_kafka_is(city: City) -> None:
    assert city.brokers == ["kafka-1", "kafka-2", "kafka-3"]
    assert len(set(city.running.kafka.split(","))) == 3
    assert city.command("doctor", "--json", status=0)


async def test_each_record_has_three_copies_of_which_two_must_be_written(city: City) -> None:
    receipt = await city.submit(application())
    await city.at(receipt, "IPC", "ASSIGNED")
    partitions = await _partitions(city)
    assert {tuple(sorted(one["replicas"])) for one in partitions} == {(1, 2, 3)}
    names = {one["topic"] for one in partitions}
    assert names >= {"__consumer_offsets", "__transaction_state", "cases.events"}
    found = await asyncio.to_thread(_written, city, names)
    assert found == dict.fromkeys(names, "2")


async def test_a_broker_that_is_killed_costs_no_application(city: City) -> None:
    before = (await city.acommand("audit"))["applications"]
    killed = city.kill("kafka-1")
    await asyncio.gather(*(city.submit(application()) for _ in range(20)))
    await _assert_all_arrive(city, before + 20)
    await _restarted(city, "kafka-1", killed)


@pytest.mark.full
async def test_a_broker_whose_disk_was_emptied_comes_back_with_every_record(city: City) -> None:
    before = (await city.acommand("audit"))["applications"]
    folder = city.folder / "kafka-2"
    folder.rename(city.folder / "lost")
    killed = city.kill("kafka-2")
    await asyncio.gather(*(city.submit(application()) for _ in range(20)))
    await _assert_all_arrive(city, before + 20)
    await _restarted(city, "kafka-2", killed)

    async def copies() -> bool:
        mine, others = _records(folder), _records(city.folder / "kafka-3")
        return "cases.events-0" in mine and mine == others

    await eventually(copies)
