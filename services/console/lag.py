"""Lag, as it is: end offsets minus committed, polled by us and not told by the consumer.

Seconds of lag are the age of the oldest record that is not yet handled. A partition whose rest
is transaction markers only has no lag: nobody waits behind a marker.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.runtime import kafka
from shared.runtime.postgres import Connection
from shared.runtime.relay import Position, read_position
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


@dataclass(frozen=True, slots=True)
class Lag:
    """One partition for one group. `committed` is None when the group never committed here."""

    group: str
    topic: str
    partition: int
    committed: int | None
    end: int
    records: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RelayLag:
    """One outbox: rows that are not in Kafka yet, and the age of the oldest."""

    outbox: str
    position: str
    rows: int
    seconds: float
    refused: int


async def group_lags(settings: Settings, topics_of: Mapping[str, Sequence[str]]) -> list[Lag]:
    """The lag of every group in GROUPS over the topics it should read."""
    admin = kafka.admin(settings)
    consumer = kafka.consumer(settings)
    await admin.start()
    await consumer.start()
    try:
        committed = {group: await admin.list_consumer_group_offsets(group) for group in topics_of}
        names = sorted({name for names in topics_of.values() for name in names})
        partitions = await kafka.partitions_of(consumer, names)
        ends = await consumer.end_offsets(partitions)
        found: list[tuple[str, TopicPartition, int | None, int]] = []
        for group, group_topics in topics_of.items():
            for partition in partitions:
                if partition.topic in group_topics:
                    known = committed[group].get(partition)
                    at = known.offset if known and known.offset >= 0 else None
                    found.append((group, partition, at, ends[partition]))
        behind = {(p, at or 0) for _, p, at, end in found if (at or 0) < end}
        oldest = await _timestamps(consumer, behind)
    finally:
        await consumer.stop()
        await admin.close()
    now_ms = time.time() * 1000
    lags = []
    for group, partition, at, end in found:
        since_ms = oldest.get((partition, at or 0))
        records = end - (at or 0) if since_ms is not None else 0
        seconds = max(0.0, (now_ms - since_ms) / 1000) if since_ms is not None else 0.0
        lags.append(
            Lag(group, partition.topic, partition.partition, at, end, records, round(seconds, 1))
        )
    return lags


async def _timestamps(
    consumer: AIOKafkaConsumer, wanted: set[tuple[TopicPartition, int]]
) -> dict[tuple[TopicPartition, int], float]:
    """The broker's time of the first record at or after each offset; absent when there is none."""
    found: dict[tuple[TopicPartition, int], float] = {}
    rounds: dict[TopicPartition, list[int]] = {}
    for partition, offset in wanted:
        rounds.setdefault(partition, []).append(offset)
    while rounds:
        # One offset of each partition at a time: a consumer has one position in each.
        now = {partition: offsets.pop() for partition, offsets in rounds.items()}
        rounds = {partition: offsets for partition, offsets in rounds.items() if offsets}
        consumer.assign(list(now))
        for partition, offset in now.items():
            consumer.seek(partition, offset)
        waiting = dict(now)
        deadline = time.monotonic() + 2
        while waiting and time.monotonic() < deadline:
            got = await consumer.getmany(*waiting, timeout_ms=100)
            for partition, messages in got.items():
                if messages and partition in waiting:
                    found[partition, waiting.pop(partition)] = messages[0].timestamp
            ends = await consumer.end_offsets(list(waiting)) if waiting else {}
            for partition in list(waiting):
                if await consumer.position(partition) >= ends[partition]:
                    waiting.pop(partition)
    return found


async def relay_lags(settings: Settings, connection: Connection) -> list[RelayLag]:
    positions = await asyncio.gather(*(read_position(settings, name) for name in OUTBOXES))
    found = []
    for name, position in zip(OUTBOXES, positions, strict=True):
        at = position or Position(0, 0)
        row: Any = await connection.fetchrow(
            "SELECT count(*) AS rows, extract(epoch FROM now() - min(created_at))::float AS s,"
            f" (SELECT count(*) FROM {name}.outbox WHERE refused IS NOT NULL) AS refused"
            f" FROM {name}.outbox WHERE (xid, seq) > ($1::text::xid8, $2)",
            str(at.xid),
            at.seq,
        )
        seconds = round(max(0.0, row["s"] or 0.0), 1)
        found.append(RelayLag(name, str(at), row["rows"], seconds, row["refused"]))
    return found
