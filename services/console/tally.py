"""Dead letters, counted by topic, consumer group and code.

They are read once, from the beginning of their topics at the start of the process, and then as
they come.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aiokafka import TopicPartition

from shared.contract.wire import Record
from shared.runtime import kafka
from shared.runtime.settings import Settings

# What is not read by then is read at the next time.
_READ_S = 2.0


@dataclass(frozen=True, slots=True)
class Tallied:
    """`letters` of one kind that wait for somebody, `since` the oldest."""

    topic: str
    group: str
    code: str
    letters: int
    since: datetime


class Tally:
    """`parking` are the groups that park what they set aside: it waits there, and not here."""

    def __init__(self, settings: Settings, names: Sequence[str], parking: Collection[str]) -> None:
        self._settings = settings
        self._names = names
        self._parking = parking
        self._next: dict[TopicPartition, int] = {}
        self._letters: dict[str, tuple[tuple[str, str, str], datetime]] = {}

    async def read(self) -> None:
        """Read what has come since the last time. Raises KafkaError."""
        async with kafka.started(kafka.consumer(self._settings)) as consumer:
            partitions = await kafka.partitions_of(consumer, self._names)
            beginnings = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            consumer.assign(partitions)
            for partition in partitions:
                known = self._next.get(partition, 0)
                # A topic that was lost and made again is read from its beginning.
                if known > ends[partition]:
                    self._forget(partition)
                    known = 0
                self._next[partition] = max(known, beginnings[partition])
                consumer.seek(partition, self._next[partition])
            deadline = time.monotonic() + _READ_S
            while time.monotonic() < deadline:
                behind = [p for p in partitions if self._next[p] < ends[p]]
                if not behind:
                    break
                got = await consumer.getmany(*behind, timeout_ms=100)
                for messages in got.values():
                    for message in messages:
                        self.add(kafka.record_of(message))
                for partition in behind:
                    self._next[partition] = await consumer.position(partition)

    def add(self, letter: Record) -> None:
        """Take one letter into account; the headers say what it is about."""
        group = letter.header("dead_group") or ""
        # An agency's command is refused and not parked: it is nowhere but here.
        command = (letter.header("dead_topic") or "").endswith(".updates")
        if group in self._parking and not command:
            return
        since = datetime.fromtimestamp(letter.timestamp_ms / 1000, UTC)
        kind = (letter.topic, group, letter.header("dead_code") or "")
        self._letters[f"{letter.topic}:{letter.partition}:{letter.offset}"] = (kind, since)

    def counted(self, settled: Collection[str]) -> list[Tallied]:
        """What waits for somebody, without the `settled` ones (TOPIC:PARTITION:OFFSET)."""
        of: dict[tuple[str, str, str], list[datetime]] = {}
        for place, (kind, since) in self._letters.items():
            if place not in settled:
                of.setdefault(kind, []).append(since)
        return [Tallied(*kind, len(times), min(times)) for kind, times in sorted(of.items())]

    def _forget(self, partition: TopicPartition) -> None:
        gone = f"{partition.topic}:{partition.partition}:"
        self._letters = {
            place: letter for place, letter in self._letters.items() if not place.startswith(gone)
        }
