"""What an audit goes by: Kafka's records, read anew, and PostgreSQL's rows, as the operator."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition

from casebus.setaside import LETTERS, all_set_aside
from catalogue import load_catalogue
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.events import (
    ApplicationSubmitted,
    CaseAssigned,
    CaseReturned,
    CaseStepCompleted,
    Event,
)
from shared.contract.wire import Record, decode
from shared.runtime import kafka
from shared.runtime.migrations import SERVICES
from shared.runtime.postgres import Connection
from shared.runtime.reading import committed_records, up_to
from shared.runtime.settings import Settings

# Beside the time to wait: a broker that does not answer for so long ends the audit with an error.
_READ_S = 120.0
Aside = set[tuple[str, str]]
"""Who set it aside (a service), and what: TOPIC:PARTITION:OFFSET, or `row:CASE` of its outbox."""


class Asking(NamedTuple):
    """Who needs a decision. `place` of the record that asks; None before it is on Kafka."""

    case_id: UUID
    number: str
    place: str | None


@dataclass(slots=True)
class Rows:
    """Of PostgreSQL, at one moment. `done` is the place in the history of what was done when."""

    applications: dict[UUID, tuple[UUID, str]]
    assignments: set[UUID]
    cases: set[UUID]
    notices: Counter[tuple[UUID, str]]
    notices_unknown: int
    done: dict[tuple[UUID, datetime], int]

    @classmethod
    async def of(cls, connection: Connection) -> "Rows":
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            fetch = connection.fetch
            found = await fetch("SELECT event_id, case_id, number FROM intake.applications")
            inbox = await fetch("SELECT assignment_id FROM backoffice.assignments")
            cases = await fetch("SELECT case_id FROM backoffice.cases")
            notices = await fetch("SELECT cause, channel, state FROM notifier.notices")
            history = await fetch("SELECT case_id, done_at, seq FROM backoffice.history")
        return cls(
            {row["event_id"]: (row["case_id"], row["number"]) for row in found},
            {row["assignment_id"] for row in inbox},
            {row["case_id"] for row in cases},
            Counter((row["cause"], row["channel"]) for row in notices),
            sum(row["state"] == "unknown" for row in notices),
            {(row["case_id"], row["done_at"]): row["seq"] for row in history},
        )


class Records:
    """Every record of the agencies' topics and of those that everybody reads, in their order."""

    def __init__(self) -> None:
        self.assigned: list[tuple[CaseAssigned, str]] = []
        self.public: list[tuple[Event, str]] = []
        self.unreadable: list[str] = []
        self.asking: dict[UUID, Asking] = {}
        self.causes: Counter[UUID] = Counter()
        # Up to here (in `assigned`) all that caused them has been read too.
        self.explained = 0

    async def read(self, settings: Settings, wanted: set[UUID], wait_s: float) -> set[UUID]:
        """Read to the end, and on until all who ask have an answer or the time is over.

        `wanted` are the applications' events. All those that had to have an answer, these and
        whoever asked before the reading began. Raises KafkaError, TimeoutError.
        """
        names = [topics.agency_cases(code) for code in load_catalogue().agencies]
        async with kafka.started(kafka.consumer(settings)) as consumer:
            async with asyncio.timeout(wait_s + _READ_S):
                found = await kafka.partitions_of(
                    consumer, [*names, topics.APPLICATIONS, topics.CASES]
                )
                consumer.assign(found)
                await consumer.seek_to_beginning(*found)
                await self._on(consumer, found)
                due = wanted | self.asking.keys()
                deadline = time.monotonic() + wait_s
                while not due <= self.causes.keys() and time.monotonic() < deadline:
                    await asyncio.sleep(0.3)
                    await self._on(consumer, found)
                # A second copy would stand behind the first, and so a cause that is not read yet.
                await asyncio.sleep(1)
                self.explained = len(self.assigned)
                await self._on(consumer, found)
        return due

    async def _on(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        """To where the topics end now."""
        ends = await consumer.end_offsets(partitions)
        async for records in up_to(consumer, ends):
            for record in records:
                self._take(record)

    def _take(self, record: Record) -> None:
        place = f"{record.topic}:{record.partition}:{record.offset}"
        try:
            event = decode(record)
        except PermanentError:
            self.unreadable.append(place)
            return
        assert event is not None
        if isinstance(event, CaseAssigned):
            self.assigned.append((event, place))
            self.causes[event.cause] += 1
            return
        self.public.append((event, place))
        asks = isinstance(event, ApplicationSubmitted | CaseReturned) or (
            isinstance(event, CaseStepCompleted) and event.chain
        )
        if asks:
            self.asking.setdefault(event.id, Asking(event.case_id, event.number, place))


async def what_is_aside(settings: Settings, connection: Connection) -> Aside:
    """What is set aside now, and what an operator has dropped."""
    found: Aside = set()
    for one in await all_set_aside(settings, connection):
        if one.kind == "refused":  # a command, its agency's to send again
            continue
        who = "router" if one.kind == "letter" else one.name.split(":")[0]
        found.add((who, f"row:{one.case_id}" if one.kind == "row" else one.origin))
    dropped = set()
    for service in SERVICES:
        rows = await connection.fetch(
            f"SELECT kind, target FROM {service}.dead_orders WHERE action = 'drop' AND settled"
        )
        for kind, target in rows:
            # Of a parked event only its case stays known: NUMBER:CASE.
            dropped.add(target if kind == "letter" else f"{service}:{target.partition(':')[2]}")
    if dropped:
        every = {*LETTERS, topics.AGENCY_CASES_DEAD, topics.dead(topics.NOTICES)}
        async for letter in committed_records(settings, sorted(every)):
            who = (letter.header("dead_group") or "").partition("-")[0]
            name = f"{letter.topic}:{letter.partition}:{letter.offset}"
            if name in dropped or f"{who}:{letter.case_id}" in dropped:
                parts = (letter.header(f"dead_{part}") for part in ("topic", "partition", "offset"))
                found.add((who, ":".join(part or "" for part in parts)))
    return found
