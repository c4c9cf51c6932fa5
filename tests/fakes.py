"""Fakes of the services' ports: in memory, with the meaning that PostgreSQL gives them.

tests/conformance runs the same suite over these and over the real adapters.
"""

import asyncio
import copy
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from services.backoffice.domain import Case
from services.intake.handlers import Application, Duplicate, Known, RepeatedKeyError, Step
from services.notifier.channels import Accepted, Outgoing, Receipt
from services.notifier.domain import EXPIRES_AFTER, SUPERSEDES, Choice, Claimed, Notice
from services.notifier.handlers import Result
from services.notifier.routes import Attempt
from shared.contract.errors import PermanentError
from shared.contract.events import ApplicationSupplemented, CaseAssigned


class RepeatedAssignmentError(Exception):
    """PostgreSQL's unique violation: the same assignment was written before."""


class FakeApplications:
    """Intake's Applications and Steps over one set of dictionaries."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._by_key: dict[bytes, Known] = {}
        self._steps: dict[UUID, list[Step]] = {}
        self._seen: set[UUID] = set()
        self.kept: dict[str, Application] = {}
        self.wrapped_keys: dict[UUID, bytes] = {}
        self.told: list[Any] = []

    async def next_sequence(self) -> int:
        return next(self._numbers)

    async def put(self, application: Application, wrapped_key: bytes, event: Any) -> None:
        if application.key_sha256 is not None:
            if application.key_sha256 in self._by_key:
                raise RepeatedKeyError
            self._by_key[application.key_sha256] = Known(
                application.body_sha256,
                application.case_id,
                application.number,
                application.received_at,
            )
        self.kept[application.number] = application
        self.wrapped_keys[application.case_id] = wrapped_key
        self.told.append(event)

    async def duplicates(
        self, case_id: UUID, person: bytes, contact: bytes, since: datetime
    ) -> list[Duplicate]:
        mine = [
            one
            for one in self.kept.values()
            if one.person == person and one.received_at > since and one.case_id != case_id
            if not any(step.status == "WITHDRAWN" for step in self._steps.get(one.case_id, ()))
        ]
        mine.sort(key=lambda one: one.received_at, reverse=True)
        mine.sort(key=lambda one: one.proven is None)
        return [Duplicate(one.number, one.received_at, one.proven == contact) for one in mine][:5]

    async def by_key(self, key_sha256: bytes) -> Known | None:
        return self._by_key.get(key_sha256)

    async def by_number(self, number: str) -> tuple[UUID, str, datetime] | None:
        found = self.kept.get(number)
        return None if found is None else (found.case_id, found.service, found.received_at)

    async def steps(self, case_id: UUID) -> Sequence[Step]:
        return list(self._steps.get(case_id, ()))

    async def put_step(self, event_id: UUID, case_id: UUID, step: Step) -> None:
        if event_id not in self._seen:
            self._seen.add(event_id)
            self._steps.setdefault(case_id, []).append(step)


class FakeSteps:
    def __init__(self, applications: FakeApplications) -> None:
        self._applications = applications

    async def put(self, event_id: UUID, case_id: UUID, step: Step) -> None:
        await self._applications.put_step(event_id, case_id, step)


class FakeKey:
    """Seals by a table: what comes out says nothing of what went in."""

    def __init__(self) -> None:
        self._sealed: dict[str, bytes] = {}

    def seal(self, clear: bytes) -> str:
        token = os.urandom(16).hex()
        self._sealed[token] = clear
        return token

    def unseal(self, sealed: str) -> bytes:
        try:
            return self._sealed[sealed]
        except KeyError:
            raise PermanentError("vault.broken", "sealed data cannot be opened") from None


class FakeKeys:
    def __init__(self) -> None:
        self.made: dict[UUID, FakeKey] = {}

    def new_key(self, case_id: UUID) -> tuple[FakeKey, bytes]:
        self.made[case_id] = FakeKey()
        return self.made[case_id], os.urandom(32)


@dataclass
class _BackofficeRows:
    cases: dict[UUID, Case] = field(default_factory=dict)
    assignments: dict[UUID, CaseAssigned] = field(default_factory=dict)
    history: list[tuple[UUID, str, str, str, str, str]] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    supplements: list[ApplicationSupplemented] = field(default_factory=list)
    early: list[Any] = field(default_factory=list)


class FakeBackoffice:
    """The back office's tables. One transaction at a time: all of it is kept, or nothing."""

    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self.rows = _BackofficeRows()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["FakeCases"]:
        async with self._one:
            working = copy.deepcopy(self.rows)
            yield FakeCases(working)
            self.rows = working

    def history(self, case_id: UUID) -> list[tuple[str, str, str, str, str]]:
        """(agency, from, to, by, reason) in the order in which they were written."""
        return [row[1:] for row in self.rows.history if row[0] == case_id]


class FakeCases:
    def __init__(self, rows: _BackofficeRows) -> None:
        self._rows = rows

    async def lock(self, case_id: UUID) -> Case | None:
        return self._rows.cases.get(case_id)

    async def put(self, case: Case, now: datetime) -> None:
        known = self._rows.cases.get(case.case_id)
        if known is not None:
            # What the citizen handed in never changes.
            case = replace(
                case,
                number=known.number,
                service=known.service,
                facts=known.facts,
                received_at=known.received_at,
            )
        self._rows.cases[case.case_id] = case

    async def put_assignment(self, event: CaseAssigned) -> None:
        if event.id in self._rows.assignments:
            raise RepeatedAssignmentError
        self._rows.assignments[event.id] = event

    async def put_history(
        self, case: Case, from_status: str, to_status: str, by: str, reason: str, now: datetime
    ) -> None:
        self._rows.history.append((case.case_id, case.agency, from_status, to_status, by, reason))

    async def put_supplement(self, event: ApplicationSupplemented) -> None:
        self._rows.supplements.append(event)

    async def put_early(self, event: Any) -> None:
        self._rows.early.append(event)

    async def take_early(self, case_id: UUID) -> list[Any]:
        found = [event for event in self._rows.early if event.case_id == case_id]
        self._rows.early = [one for one in self._rows.early if one.case_id != case_id]
        return found

    async def tell(self, records: Sequence[Any]) -> None:
        self._rows.told.extend(records)


@dataclass
class _NoticeRow:
    notice: Notice
    seq: int
    next_try_at: datetime
    expires_at: datetime
    state: str = "created"
    reason: str = ""
    tries: int = 0
    leased_until: datetime | None = None
    provider: str | None = None
    address: bytes | None = None

    @property
    def order(self) -> tuple[datetime, int]:
        return self.notice.happened_at, self.seq

    def holds_back(self, other: "_NoticeRow", now: datetime) -> bool:
        """An earlier notice of the same case and channel that was not tried yet."""
        mine, its = self.notice, other.notice
        return (
            (mine.case_id, mine.channel) == (its.case_id, its.channel)
            and (
                self.state in ("created", "sending")
                or (self.state == "deferred" and self.next_try_at <= now)
            )
            and self.order < other.order
        )

    def supersedes(self, other: "_NoticeRow") -> bool:
        """A later notice of the same case and channel that says it too, or will."""
        mine, its = self.notice, other.notice
        return (
            (mine.case_id, mine.channel) == (its.case_id, its.channel)
            and mine.happened_at > its.happened_at
            and its.template in SUPERSEDES.get(mine.template, ())
            and self.state in _LIVES
        )


_WAITING = ("created", "deferred", "temporary_failure")
_LIVES = (*_WAITING, "sending", "sent", "delivered")


@dataclass(frozen=True, slots=True)
class Told:
    """What notices.events would hear."""

    notice_id: UUID
    state: str
    reason: str
    provider: str


@dataclass(slots=True)
class _Try:
    """The messages that a provider made of one accepted try: receipts by message."""

    notice_id: UUID
    parts: dict[tuple[str, str], set[str]]

    @property
    def delivered(self) -> bool:
        return all("delivered" in states for states in self.parts.values())

    @property
    def failure(self) -> str | None:
        failed = [
            min(states - {"unknown"})
            for states in self.parts.values()
            if "delivered" not in states and states - {"unknown"}
        ]
        return min(failed, default=None)


class FakeNotices:
    """The notifier's Ledger and Outcomes. `now` is its clock, `hold` how long a notice waits."""

    def __init__(
        self,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        hold: timedelta = timedelta(),
    ) -> None:
        self._now = now
        self._hold = hold
        self._sequence = count(1)
        self._receipts: dict[tuple[str, str], set[str]] = {}
        self._tries: list[_Try] = []
        self.recipients: dict[UUID, str] = {}
        self.closed: dict[UUID, datetime] = {}
        self.rows: dict[UUID, _NoticeRow] = {}
        self.attempts: list[Attempt] = []
        self.consents: dict[bytes, Choice] = {}
        self.told: list[Told] = []

    async def put_recipient(self, case_id: UUID, number: str, sealed: str) -> None:
        self.recipients[case_id] = sealed

    async def close_case(self, case_id: UUID, at: datetime) -> None:
        self.closed.setdefault(case_id, at)

    async def put_notice(self, notice: Notice) -> None:
        if notice.notice_id not in self.rows:
            hold = timedelta() if notice.urgent else self._hold
            due = max(self._now(), notice.happened_at + hold)
            expires = notice.happened_at + EXPIRES_AFTER
            self.rows[notice.notice_id] = _NoticeRow(notice, next(self._sequence), due, expires)

    async def claim(self, channel: str, limit: int) -> list[Claimed]:
        now = self._now()
        due = [
            row
            for row in sorted(self.rows.values(), key=lambda row: (row.next_try_at, row.seq))
            if row.notice.channel == channel
            and row.state in _WAITING
            and row.next_try_at <= now
            and row.notice.case_id in self.recipients
            and not any(earlier.holds_back(row, now) for earlier in self.rows.values())
        ][:limit]
        for row in due:
            row.state, row.tries = "sending", row.tries + 1
            row.leased_until = now + timedelta(seconds=60)
        return [
            Claimed(
                row.notice,
                row.tries,
                row.expires_at,
                self.recipients[row.notice.case_id],
                list(self.recipients).index(row.notice.case_id) + 1,
                any(later.supersedes(row) for later in self.rows.values()),
            )
            for row in due
        ]

    async def record(self, results: Sequence[Result]) -> None:
        for one in results:
            self.attempts += one.attempts
            row = self.rows[one.notice.notice_id]
            if row.state in ("sending", "unknown"):
                row.state, row.reason, row.leased_until = one.state, one.reason, None
                row.provider = one.provider or row.provider
                row.address = one.address or row.address
                row.next_try_at = one.next_try_at or row.next_try_at
                row.tries -= 0 if one.attempts else 1
                self._tell(row)
            if one.message_ids:
                places = [(one.provider or "", message_id) for message_id in one.message_ids]
                self._accepted(one.notice.notice_id, places)

    async def give_up_lost(self) -> None:
        now = self._now()
        for row in self.rows.values():
            if row.state == "sending" and row.leased_until and row.leased_until < now:
                row.state, row.reason = "unknown", "dispatcher died while sending"
                row.leased_until = None
                self._tell(row)

    async def receipts(self, receipts: Sequence[Receipt]) -> None:
        for one in receipts:
            place = (one.provider, one.message_id)
            if one.notice_id is not None:
                if not one.message_id:
                    place = self._last_message(one.notice_id) or (
                        one.provider,
                        str(one.notice_id),
                    )
                if not any(place in known.parts for known in self._tries):
                    self._accepted(one.notice_id, [place])
            self._receipts.setdefault(place, set()).add(one.state)
            for known in self._tries:
                if place in known.parts:
                    known.parts[place].add(one.state)
                    self._apply(known.notice_id)
                    self._bounced(known.notice_id, one)

    async def choices(self, addresses: Sequence[bytes]) -> dict[bytes, Choice]:
        return {one: self.consents[one] for one in addresses if one in self.consents}

    def _last_message(self, notice_id: UUID) -> tuple[str, str] | None:
        mine = [one for one in self._tries if one.notice_id == notice_id]
        return list(mine[-1].parts)[-1] if mine else None

    def _accepted(self, notice_id: UUID, places: Sequence[tuple[str, str]]) -> None:
        parts = {place: set(self._receipts.get(place, ())) for place in places}
        self._tries.append(_Try(notice_id, parts))
        self._apply(notice_id)

    def _bounced(self, notice_id: UUID, receipt: Receipt) -> None:
        address = self.rows[notice_id].address if notice_id in self.rows else None
        if receipt.hard and address is not None and self.consents.get(address, Choice()).wants:
            self.consents[address] = Choice(False, "provider")

    def _apply(self, notice_id: UUID) -> None:
        row = self.rows.get(notice_id)
        tries = [one for one in self._tries if one.notice_id == notice_id]
        if row is None or not tries:
            return
        delivered = any(one.delivered for one in tries)
        failure = tries[-1].failure
        if delivered and row.state in ("sent", "unknown", "permanent_failure"):
            row.state, row.reason = "delivered", ""
        elif failure is not None and not delivered and row.state in ("sent", "unknown"):
            row.state, row.reason = "permanent_failure", failure
        else:
            return
        self._tell(row)

    def _tell(self, row: _NoticeRow) -> None:
        told = Told(row.notice.notice_id, row.state, row.reason, row.provider or "")
        self.told.append(told)


class FakeProvider:
    """A provider that answers as it was told to: an exception is raised, else it accepts.

    Answers are used up in turn; without any left it accepts. `sent` is all that it was asked.
    """

    def __init__(self, *answers: Exception | None, name: str = "fake") -> None:
        self.name = name
        self.answers = list(answers)
        self.sent: list[Outgoing] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def send(self, message: Outgoing) -> Accepted:
        self.sent.append(message)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return Accepted((f"id-{len(self.sent)}",))
