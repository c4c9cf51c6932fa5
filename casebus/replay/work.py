"""A replay from its first record to its last, or to an interruption from which it goes on.

A case has all its events in one partition, the same of both topics: of one partition after the
other the decisions are read first, then the applications, and no more than one partition's
decisions are ever held.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from aiokafka.errors import KafkaError

from casebus.replay.counting import Counting
from casebus.replay.journal import Journal
from casebus.replay.past import PastRules
from casebus.replay.totals import Totals
from casebus.replay.way import Stretch, Way
from services.router.rules import RuleSet
from shared.contract.errors import PermanentError
from shared.contract.events import ApplicationSubmitted, CaseRouted, Event, RulesReleased
from shared.contract.wire import Record, decode

# After so many records the state is saved anew.
SAVE_EVERY = 5_000
Told = Callable[[Way, Totals], None]


class Source(Protocol):
    """Where the history lies; History is Kafka's."""

    async def way(self, since: date) -> Way:
        """What there is to be read from that day on, up to now."""

    async def releases(self) -> Iterable[RulesReleased]:
        """Every release of rules."""

    def read(self, stretch: Stretch) -> AsyncIterator[list[Record]]:
        """The records of a stretch from its start, in batches."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is replayed. `candidate` decides the applications received from `since` on (a day in
    Taipei)."""

    candidate: RuleSet
    since: date
    save_every: int = SAVE_EVERY

    async def run(
        self, source: Source, journal: Journal, resumed: Told, told: Told, *, restart: bool
    ) -> Totals:
        """Count all since the day, going on where an earlier run was interrupted.

        `resumed` hears where that was, `told` after each batch how far it is. Raises KafkaError,
        OSError, ShapeError or BusyError; what was counted until a KafkaError is kept.
        """
        way = await source.way(self.since)
        found = None if restart else journal.resumed(way.cluster)
        totals = Totals()
        if found is None:
            journal.begin()
        else:
            way, totals = found
            resumed(way, totals)
        past = PastRules(await source.releases())
        counting = Counting(self.candidate, past, self.since, totals)
        unsaved = 0

        def passed(records: int) -> None:
            nonlocal unsaved
            unsaved += records
            if unsaved >= self.save_every:
                journal.save(way, totals)
                unsaved = 0
            told(way, totals)

        try:
            for decisions, applications in way.pairs:
                if not (decisions.finished and applications.finished):
                    await _partition(source, decisions, applications, counting, journal, passed)
        except (asyncio.CancelledError, KafkaError):
            # Between two batches: what is counted and how far it is belong together.
            journal.save(way, totals)
            raise
        journal.finish()
        return totals


async def _partition(
    source: Source,
    decisions: Stretch,
    applications: Stretch,
    counting: Counting,
    journal: Journal,
    passed: Callable[[int], None],
) -> None:
    counting.begin()
    async for record in _records(source, decisions, passed):
        again = record.offset < decisions.done
        event = _event(record, CaseRouted, counting, again)
        if isinstance(event, CaseRouted):
            counting.decided(event, again=again)
    async for record in _records(source, applications, passed):
        again = record.offset < applications.done
        event = _event(record, ApplicationSubmitted, counting, again)
        if isinstance(event, ApplicationSubmitted):
            move = counting.submitted(event, again=again)
            if move is not None:
                journal.write(move)


async def _records(
    source: Source, stretch: Stretch, passed: Callable[[int], None]
) -> AsyncIterator[Record]:
    """The records of a stretch; it is done up to the last batch, never to the midst of one."""
    async for records in source.read(stretch):
        for record in records:
            yield record
        if records:
            stretch.done = max(stretch.done, records[-1].offset + 1)
            passed(len(records))
    stretch.done = stretch.end
    passed(0)


def _event(record: Record, wanted: type[Event], counting: Counting, again: bool) -> Event | None:
    try:
        return decode(record, (wanted,))
    except PermanentError:
        counting.unreadable(again=again)
        return None
