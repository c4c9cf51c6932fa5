"""Lag: of every consumer over every topic it reads, and none where nobody waits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import TopicPartition

from catalogue import load_catalogue
from services.backoffice import worker as backoffice
from services.console import lag
from services.console import worker as console
from services.console.lag import GROUPS, OUTBOXES, _timestamps, _waiting
from services.intake import worker as intake
from services.notifier import worker as notifier
from services.router import worker as router
from shared.contract import topics
from shared.runtime import migrations

CATALOGUE = load_catalogue()
WATCHED = console.topics_of(CATALOGUE)


def test_every_consumer_of_the_city_is_watched() -> None:
    consumers = (intake, router, backoffice, notifier, console)

    groups = {worker.GROUP for worker in consumers} | {console.SHADOW_GROUP}

    assert set(WATCHED) == set(GROUPS) == groups


def test_the_back_offices_lag_is_measured_over_all_that_it_reads() -> None:
    assert set(WATCHED["backoffice-inbox"]) == set(backoffice.topic_names(CATALOGUE))


def test_only_topics_that_exist_are_watched() -> None:
    own_system = [a.code for a in CATALOGUE.agencies.values() if a.own_system]
    known = {spec.name for spec in topics.all_topics(list(CATALOGUE.agencies), own_system)}

    assert {name for names in WATCHED.values() for name in names} <= known


def test_every_outbox_is_watched() -> None:
    assert set(OUTBOXES) == set(migrations.SERVICES)


@dataclass
class _Message:
    offset: int
    timestamp: int


class FakeConsumer:
    """A log of records by partition: {offset: timestamp}, and the end offset (markers count)."""

    def __init__(self, logs: Mapping[TopicPartition, tuple[Mapping[int, int], int]]) -> None:
        self._logs = logs
        self._positions: dict[TopicPartition, int] = {}

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._positions = dict.fromkeys(partitions, 0)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        assert partition in self._positions
        self._positions[partition] = offset

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int) -> dict[Any, Any]:
        found = {}
        for partition in partitions:
            records, end = self._logs[partition]
            at = self._positions[partition]
            found[partition] = [_Message(n, t) for n, t in sorted(records.items()) if n >= at][:1]
            self._positions[partition] = found[partition][0].offset + 1 if found[partition] else end
        return found

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[Any, int]:
        return {partition: self._logs[partition][1] for partition in partitions}

    async def position(self, partition: TopicPartition) -> int:
        return self._positions[partition]


ONE, OTHER = TopicPartition("cases.events", 0), TopicPartition("cases.events", 1)


async def _oldest(
    logs: Mapping[TopicPartition, tuple[Mapping[int, int], int]],
    *wanted: tuple[TopicPartition, int],
) -> dict[tuple[TopicPartition, int], float | None]:
    return await _timestamps(FakeConsumer(logs), set(wanted))


async def test_the_age_is_that_of_the_first_record_that_is_not_handled() -> None:
    logs = {ONE: ({0: 100, 1: 200, 2: 300}, 3)}

    assert await _oldest(logs, (ONE, 1)) == {(ONE, 1): 200}


async def test_a_marker_at_the_committed_offset_is_passed_over() -> None:
    logs = {ONE: ({0: 100, 2: 300}, 4)}

    assert await _oldest(logs, (ONE, 1)) == {(ONE, 1): 300}


async def test_where_only_markers_are_left_nobody_waits() -> None:
    logs = {ONE: ({0: 100}, 2), OTHER: ({5: 500}, 6)}

    oldest = await _oldest(logs, (ONE, 1), (OTHER, 5))

    assert oldest == {(ONE, 1): None, (OTHER, 5): 500}
    assert _waiting((ONE, 1), 2, oldest, 1500) == (0, 0.0)
    assert _waiting((OTHER, 5), 6, oldest, 1500) == (1, 1.0)


async def test_a_partition_that_answers_too_late_has_records_of_an_age_that_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lag, "_READ_S", 0.0)

    oldest = await _oldest({ONE: ({0: 100}, 1)}, (ONE, 0))

    assert oldest == {}
    assert _waiting((ONE, 0), 1, oldest, 1500) == (1, None)


def test_at_the_end_nothing_waits() -> None:
    assert _waiting((ONE, 3), 3, {}, 1500) == (0, 0.0)


async def test_two_consumers_at_different_places_of_a_partition_each_have_their_own_age() -> None:
    logs = {ONE: ({0: 100, 1: 200, 2: 300}, 3), OTHER: ({0: 900}, 1)}

    assert await _oldest(logs, (ONE, 0), (ONE, 2), (OTHER, 0)) == {
        (ONE, 0): 100,
        (ONE, 2): 300,
        (OTHER, 0): 900,
    }
