"""The auditor: Kafka's records against the rows of intake, back offices and notifier.

It trusts nobody: it reads every agency topic, applications.events and cases.events from the
beginning, committed records only, and compares multisets. Whoever asks for a decision (an
application, a return, a finished step of a chain) must have exactly one assignment, told once to
everybody; each assignment must be in the back office's inbox, each event that a citizen is told
of in the notifier's ledger, once for each channel. What an operator can see as set aside is
counted as that, and not as lost.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from casebus.evidence import Aside, Records, Rows, what_is_aside
from services.notifier.domain import channels_of, template_of
from shared.contract import topics
from shared.contract.events import (
    ApplicationConfirmationRequested,
    ApplicationSubmitted,
    CaseReturned,
    CaseRouted,
    CaseStatusChanged,
)
from shared.runtime.migrations import SERVICES
from shared.runtime.postgres import Connection
from shared.runtime.settings import Settings


@dataclass(slots=True)
class Verdict:
    """`assigned` are applications with the assignment that their submission caused.

    `lost` counts who asked for a decision (applications, returns, steps of a chain) and has no
    assignment; `duplicated` second copies on any topic; `unexpected` assignments that nobody
    asked for, or on another agency's topic, and rows of inboxes that no topic knows; `untold`
    submissions and decisions that stand on one topic and not on the other. `in_back_offices` are
    applications whose case a back office holds, `not_in_inbox` assignments that no inbox has.
    `reassigned` counts assignments after a return or for the next step of a chain; `unreadable`
    records are no events at all and nobody set them aside. `set_aside` counts records and rows
    that are parked, dead letters or refused by Kafka: what would follow from them is neither lost
    nor missing. Of the notices, `notices_unknown` may or may not have been sent: no fault.
    """

    applications: int = 0
    assigned: int = 0
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    in_back_offices: int = 0
    reassigned: int = 0
    unreadable: int = 0
    unexpected: int = 0
    untold: int = 0
    not_in_inbox: int = 0
    set_aside: int = 0
    notices: int = 0
    notices_missing: int = 0
    notices_doubled: int = 0
    notices_unexpected: int = 0
    notices_unknown: int = 0
    lost_numbers: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> dict[str, int]:
        """What must not be, by name: empty when all is well."""
        found = {
            "lost": self.lost,
            "duplicated": self.duplicated,
            "out of order": self.out_of_order,
            "unreadable": self.unreadable,
            "unexpected": self.unexpected,
            "untold": self.untold,
            "not in an inbox": self.not_in_inbox,
            "notices missing": self.notices_missing,
            "notices doubled": self.notices_doubled,
            "notices unexpected": self.notices_unexpected,
        }
        return {name: count for name, count in found.items() if count}


async def audit(settings: Settings, postgres: str, wait_s: float) -> Verdict:
    """The city as it is, once what is on its way has arrived, or after `wait_s` as it is then.

    Raises KafkaError, TimeoutError and what the database raises.
    """
    connection: Connection = await asyncpg.connect(postgres)
    try:
        before = await Rows.of(connection)
        records = Records()
        due = await records.read(settings, set(before.applications), wait_s)
        deadline = time.monotonic() + wait_s
        while True:
            now = await Rows.of(connection)
            verdict = judge(records, due, before, now, await what_is_aside(settings, connection))
            waits = verdict.not_in_inbox or verdict.notices_missing
            if not waits or time.monotonic() > deadline:
                return verdict
            await asyncio.sleep(1)
    finally:
        await connection.close()


def judge(records: Records, due: set[UUID], before: Rows, now: Rows, aside: Aside) -> Verdict:
    """`before` was read before the records, `now` after them."""
    verdict = Verdict(applications=len(before.applications))

    def missing(who: str, what: str) -> bool:
        """Whether nobody knows what became of it."""
        return (who, what) not in aside

    routed = Counter(event.cause for event, _ in records.public if isinstance(event, CaseRouted))
    for cause in due:
        case, number = before.applications.get(cause) or records.asking[cause][:2]
        asks = records.asking.get(cause)
        if cause not in records.causes:
            is_lost = (
                missing("router", asks.place or "") if asks else missing("intake", f"row:{case}")
            )
            if is_lost:
                verdict.lost += 1
                verdict.lost_numbers.append(number)
        else:
            verdict.assigned += cause in before.applications
            verdict.untold += (asks is None) + (cause not in routed)
    verdict.lost_numbers = sorted(verdict.lost_numbers)[:20]

    ids = Counter(event.id for event, _ in records.public)
    verdict.duplicated = _seconds(records.causes) + _seconds(ids)
    verdict.reassigned = sum(event.step > 1 or bool(event.tried) for event, _ in records.assigned)
    verdict.out_of_order = sum(1 for _ in _out_of_order(records, now))
    verdict.unreadable = sum(
        all(missing(who, place) for who in ("router", *SERVICES)) for place in records.unreadable
    )

    known = now.applications.keys() | records.asking.keys()
    for event, place in records.assigned[: records.explained]:
        astray = not place.startswith(topics.agency_cases(event.agency) + ":")
        if event.cause not in known or (astray and missing("backoffice", place)):
            verdict.unexpected += 1
        if event.id not in now.assignments and not astray:
            verdict.not_in_inbox += missing("backoffice", place)
    verdict.unexpected += len(before.assignments - {event.id for event, _ in records.assigned})
    of_applications = {case for case, _ in before.applications.values()}
    verdict.in_back_offices = len(of_applications & now.cases)

    told = {
        (event.id, channel): place
        for event, place in records.public
        if template_of(event)
        for channel in channels_of(event)
    }
    verdict.notices = now.notices.total()
    verdict.notices_missing = sum(
        missing("notifier", place) for one, place in told.items() if one not in now.notices
    )
    verdict.notices_doubled = _seconds(now.notices)
    verdict.notices_unexpected = len(before.notices.keys() - told.keys())
    verdict.notices_unknown = now.notices_unknown
    verdict.set_aside = len({what for _, what in aside})
    return verdict


def _seconds(counts: Counter[UUID] | Counter[tuple[UUID, str]]) -> int:
    """How many there are beyond one of each."""
    return counts.total() - len(counts)


def _out_of_order(records: Records, rows: Rows) -> Iterator[UUID]:
    """Cases, once for each record of theirs that stands before an earlier one of its topic.

    What the router told goes by its time; what was done to a case by its place in the history,
    which was given under the case's lock; an application's submission comes before all else.
    """
    last: dict[tuple[str, UUID, str], datetime | int] = {}
    told = [(e, p) for e, p in records.public if isinstance(e, CaseRouted)]
    for event, place in [*records.assigned, *told]:
        key = (place.rsplit(":", 2)[0], event.case_id, event.type)
        before = last.get(key)
        if isinstance(before, datetime) and before > event.time:
            yield event.case_id
        last[key] = event.time
    begun: set[UUID] = set()
    for event, place in records.public:
        if place.startswith(topics.APPLICATIONS):
            if isinstance(event, ApplicationSubmitted) and event.case_id in begun:
                yield event.case_id
            # What asks to confirm comes before: no case is there yet.
            if not isinstance(event, ApplicationConfirmationRequested):
                begun.add(event.case_id)
        done = rows.done.get((event.case_id, event.time))
        if done is not None and isinstance(event, CaseStatusChanged | CaseReturned):
            key = (topics.CASES, event.case_id, "history")
            before = last.get(key)
            if isinstance(before, int) and before > done:
                yield event.case_id
            last[key] = done
