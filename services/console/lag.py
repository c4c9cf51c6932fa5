"""Lag, as it is: end offsets minus committed, polled by us and not told by the consumer.

Seconds of lag are the age of the oldest record that is not yet handled. A partition whose rest
is transaction markers only has no lag: nobody waits behind a marker. An age that cannot be read
in time is not known, and never 0.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from shared.runtime import kafka
from shared.runtime.postgres import Connection
from shared.runtime.relay import Position, cluster_of, not_held, read_position
from shared.runtime.settings import Settings

GROUPS = (
    "intake-projection",
    "router",
    "backoffice-inbox",
    "notifier-ledger",
    "console-counts",
    "console-shadow",
)
OUTBOXES = ("intake", "backoffice", "notifier", "console")
# What is not read by then is said as not known: one measurement must not hold up the next.
_READ_S = 4.0
# But for what the relay passes over: a row that Kafka refused, and those of its case behind it.
_ROWS = {
    name: f"""
    SELECT count(*) AS rows, extract(epoch FROM now() - min(created_at))::float AS s,
        (SELECT count(*) FROM {name}.outbox WHERE refused IS NOT NULL) AS refused,
        $1::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot()) AS ahead
    FROM {name}.outbox o
    WHERE (o.xid, o.seq) > ($1::text::xid8, $2) AND {not_held(name)}
"""
    for name in OUTBOXES
}


@dataclass(frozen=True, slots=True)
class Lag:
    """One partition for one group. `committed` is None when the group never committed here,
    `seconds` when records wait and their age is not known, `members` when Kafka does not say how
    many the group has."""

    group: str
    topic: str
    partition: int
    committed: int | None
    end: int
    records: int
    seconds: float | None
    members: int | None = None
    beginning: int = 0


@dataclass(frozen=True, slots=True)
class RelayLag:
    """One outbox: rows that are not in Kafka yet, and the age of the oldest.

    `refused` rows are not among them, nor those that wait behind a refused one of their case: the
    relay passes over them. Where `fits` is False the position is none of this database, as when
    it was restored from an older copy: the relay waits until that is mended.
    """

    outbox: str
    position: str
    rows: int
    seconds: float
    refused: int
    fits: bool = True


async def group_lags(settings: Settings, topics_of: Mapping[str, Sequence[str]]) -> list[Lag]:
    """The lag of every group in GROUPS over the topics it should read."""
    async with (
        kafka.started(kafka.admin(settings)) as admin,
        kafka.started(kafka.consumer(settings)) as consumer,
    ):
        committed = {group: await admin.list_consumer_group_offsets(group) for group in topics_of}
        members = await _members(admin, list(topics_of))
        names = sorted({name for names in topics_of.values() for name in names})
        partitions = await kafka.partitions_of(consumer, names)
        beginnings = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[tuple[str, TopicPartition, int | None, int]] = []
        for group, group_topics in topics_of.items():
            for partition in partitions:
                if partition.topic in group_topics:
                    known = committed[group].get(partition)
                    at = known.offset if known and known.offset >= 0 else None
                    found.append((group, partition, at, max(at or 0, beginnings[partition])))
        behind = {(p, next_) for _, p, _, next_ in found if next_ < ends[p]}
        oldest = await _timestamps(consumer, behind)
    now_ms = time.time() * 1000
    lags = []
    for group, p, at, next_ in found:
        records, seconds = _waiting((p, next_), ends[p], oldest, now_ms)
        lags.append(
            Lag(
                *(group, p.topic, p.partition, at, ends[p], records, seconds),
                members=members.get(group),
                beginning=beginnings[p],
            )
        )
    return lags


def _waiting(
    place: tuple[TopicPartition, int],
    end: int,
    oldest: Mapping[tuple[TopicPartition, int], float | None],
    now_ms: float,
) -> tuple[int, float | None]:
    """Records from `place` on, and the age of the oldest in seconds; None when it is not known."""
    if place[1] >= end:
        return 0, 0.0
    since_ms = oldest.get(place)
    if since_ms is not None:
        return end - place[1], round(max(0.0, (now_ms - since_ms) / 1000), 1)
    return (0, 0.0) if place in oldest else (end - place[1], None)


async def _members(admin: AIOKafkaAdminClient, groups: list[str]) -> dict[str, int]:
    """How many members each group has; 0 of a group that there is none of."""
    # One by one: aiokafka takes the answer for one of an older version, and would lose its place in
    # it after the first group.
    answers = [await admin.describe_consumer_groups([group]) for group in groups]
    return {
        group["group"]: len(group["members"])
        for (answer,) in answers
        for group in answer.to_object()["groups"]
        if not group["error_code"]
    }


async def _timestamps(
    consumer: AIOKafkaConsumer, wanted: set[tuple[TopicPartition, int]]
) -> dict[tuple[TopicPartition, int], float | None]:
    """The broker's time of the first record at or after each offset, in ms. None where there are
    only markers; absent when it could not be read in time."""
    found: dict[tuple[TopicPartition, int], float | None] = {}
    rounds: dict[TopicPartition, list[int]] = {}
    for partition, offset in wanted:
        rounds.setdefault(partition, []).append(offset)
    deadline = time.monotonic() + _READ_S
    while rounds and time.monotonic() < deadline:
        # One offset of each partition at a time: a consumer has one position in each.
        now = {partition: offsets.pop() for partition, offsets in rounds.items()}
        rounds = {partition: offsets for partition, offsets in rounds.items() if offsets}
        consumer.assign(list(now))
        for partition, offset in now.items():
            consumer.seek(partition, offset)
        waiting = dict(now)
        while waiting and time.monotonic() < deadline:
            got = await consumer.getmany(*waiting, timeout_ms=100)
            for partition, messages in got.items():
                if messages and partition in waiting:
                    found[partition, waiting.pop(partition)] = messages[0].timestamp
            ends = await consumer.end_offsets(list(waiting)) if waiting else {}
            for partition in list(waiting):
                if await consumer.position(partition) >= ends[partition]:
                    found[partition, waiting.pop(partition)] = None
    return found


async def relay_lags(settings: Settings, connection: Connection) -> list[RelayLag]:
    positions = await asyncio.gather(*(read_position(settings, name) for name in OUTBOXES))
    cluster = await cluster_of(connection)
    found = []
    for name, position in zip(OUTBOXES, positions, strict=True):
        at = position or Position(0, 0)
        row: Any = await connection.fetchrow(_ROWS[name], str(at.xid), at.seq)
        seconds = round(max(0.0, row["s"] or 0.0), 1)
        fits = at.cluster in ("", cluster) and not row["ahead"]
        found.append(RelayLag(name, str(at), row["rows"], seconds, row["refused"], fits))
    return found
