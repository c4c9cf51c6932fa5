"""The topics of a city, read from a day of the past up to now."""

import time
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from casebus.replay.way import Stretch, Way
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.events import RulesReleased
from shared.contract.wire import Record, decode_release
from shared.runtime import kafka
from shared.runtime.settings import Settings

_CITY = ZoneInfo("Asia/Taipei")
# Records are found by their time, cases counted by the day of receipt: clocks may differ so much.
_MARGIN = timedelta(hours=1)
_PATIENCE_S = 60.0


class TopicNames(NamedTuple):
    """The topics of a city."""

    applications: str = topics.APPLICATIONS
    cases: str = topics.CASES
    rules: str = topics.RULES


class ShapeError(Exception):
    """The topics are not as a replay needs them; the message says in what."""


class History:
    """The past of a city, as its operator may read it; committed records only."""

    def __init__(
        self, settings: Settings, names: TopicNames | None = None, most_records: int = 1000
    ) -> None:
        self._settings = settings
        self._names = names or TopicNames()
        self._most_records = most_records
        self._consumer: AIOKafkaConsumer = kafka.consumer(settings)

    async def __aenter__(self) -> "History":
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def way(self, since: date) -> Way:
        """From a little before `since` (a day in Taipei) to the ends of now. Raises ShapeError."""
        names = self._names
        partitions = await kafka.partitions_of(self._consumer, (names.applications, names.cases))
        applications = [one for one in partitions if one.topic == names.applications]
        cases = [one for one in partitions if one.topic == names.cases]
        if not applications or len(applications) != len(cases):
            raise ShapeError(
                f"{names.applications} has {len(applications)} partitions and {names.cases} "
                f"{len(cases)}: a case must have all its events in one partition of each"
            )
        start_ms = _start_ms(since)
        starts = await self._consumer.offsets_for_times(dict.fromkeys(partitions, start_ms))
        # First the ends of the applications: those that are decided meanwhile are told so.
        ends = await self._consumer.end_offsets(applications)
        ends |= await self._consumer.end_offsets(cases)

        def stretch(one: TopicPartition) -> Stretch:
            found, end = starts[one], ends[one]
            start = min(found.offset, end) if found else end
            return Stretch(one.topic, one.partition, start, end, start)

        pairs = [(stretch(c), stretch(a)) for c, a in zip(cases, applications, strict=True)]
        return Way(await self._cluster(), pairs)

    async def _cluster(self) -> str:
        async with kafka.started(kafka.admin(self._settings)) as admin:
            return str((await admin.describe_cluster())["cluster_id"])

    async def releases(self) -> list[RulesReleased]:
        """Every release that is on the topic and can be read, as a router does."""
        partition = TopicPartition(self._names.rules, 0)
        starts = await self._consumer.beginning_offsets([partition])
        ends = await self._consumer.end_offsets([partition])
        start, end = starts[partition], ends[partition]
        found = []
        async for records in self.read(Stretch(partition.topic, 0, start, end, start)):
            for record in records:
                try:
                    found.append(decode_release(record))
                except PermanentError:
                    continue
        return found

    async def read(self, stretch: Stretch) -> AsyncIterator[list[Record]]:
        """The records of a stretch from its start, in batches. Raises KafkaError."""
        if stretch.start >= stretch.end:
            return
        partition = TopicPartition(stretch.topic, stretch.partition)
        self._consumer.assign([partition])
        self._consumer.seek(partition, stretch.start)
        last = time.monotonic()
        while await self._consumer.position(partition) < stretch.end:
            got = await self._consumer.getmany(
                partition, timeout_ms=500, max_records=self._most_records
            )
            if messages := got.get(partition):
                last = time.monotonic()
                yield [kafka.record_of(one) for one in messages if one.offset < stretch.end]
            elif time.monotonic() - last > _PATIENCE_S:
                raise KafkaTimeoutError(f"nothing came from {partition} for {_PATIENCE_S:.0f} s")


def _start_ms(since: date) -> int:
    """A little before that day begins in Taipei, in milliseconds since 1970, when time begins."""
    if since.year <= 1970:
        return 0
    midnight = datetime(since.year, since.month, since.day, tzinfo=_CITY)
    return int((midnight - _MARGIN).timestamp() * 1000)
