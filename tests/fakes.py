"""Fakes of the services' ports: in memory, with the meaning that PostgreSQL gives them.

tests/conformance runs the same suite over these and over the real adapters.
"""

import asyncio
import copy
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from services.backoffice.domain import Case
from services.intake.handlers import Application, Known, RepeatedKeyError, Step
from services.notifier.channels import Accepted, Outgoing
from services.notifier.domain import Claimed, Notice
from shared.contract.errors import PermanentError
from shared.contract.events import CaseAssigned


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

    async def tell(self, records: Sequence[Any]) -> None:
        self._rows.told.extend(records)


@dataclass
class _NoticeRow:
    notice: Notice
    seq: int
    next_try_at: datetime
    state: str = "created"
    reason: str = ""
    tries: int = 0
    leased_until: datetime | None = None
    provider: str | None = None
    provider_message_id: str | None = None

    @property
    def order(self) -> tuple[datetime, int]:
        """What happened first expires first."""
        return self.notice.expires_at, self.seq

    def holds_back(self, other: "_NoticeRow") -> bool:
        """An earlier notice of the same case and channel that was not tried yet."""
        mine, its = self.notice, other.notice
        return (
            (mine.case_id, mine.channel) == (its.case_id, its.channel)
            and self.state in ("created", "sending")
            and self.order < other.order
        )


@dataclass(frozen=True, slots=True)
class Told:
    """What notices.events would hear."""

    notice_id: UUID
    state: str
    reason: str
    provider: str


class FakeNotices:
    """The notifier's Ledger and Outcomes, with the claims of its dispatcher."""

    def __init__(self) -> None:
        self._sequence = count(1)
        self._receipts: dict[tuple[str, str], dict[str, datetime]] = {}
        self.recipients: dict[UUID, str] = {}
        self.rows: dict[UUID, _NoticeRow] = {}
        self.told: list[Told] = []

    async def put_recipient(self, case_id: UUID, sealed: str) -> None:
        self.recipients.setdefault(case_id, sealed)

    async def put_notice(self, notice: Notice) -> None:
        if notice.notice_id not in self.rows:
            row = _NoticeRow(notice, next(self._sequence), datetime.now(UTC))
            self.rows[notice.notice_id] = row

    async def claim(self, limit: int) -> list[Claimed]:
        now = datetime.now(UTC)
        due = [
            row
            for row in sorted(self.rows.values(), key=lambda row: row.order)
            if row.state in ("created", "temporary_failure")
            and row.next_try_at <= now
            and row.notice.case_id in self.recipients
            and not any(earlier.holds_back(row) for earlier in self.rows.values())
        ][:limit]
        for row in due:
            row.state, row.tries = "sending", row.tries + 1
            row.leased_until = now + timedelta(seconds=60)
        return [Claimed(row.notice, row.tries, self.recipients[row.notice.case_id]) for row in due]

    async def record(
        self,
        notice: Notice,
        state: str,
        reason: str = "",
        provider: str | None = None,
        provider_message_id: str | None = None,
        next_try_at: datetime | None = None,
    ) -> None:
        row = self.rows[notice.notice_id]
        row.state, row.reason, row.leased_until = state, reason, None
        row.provider = provider or row.provider
        row.provider_message_id = provider_message_id or row.provider_message_id
        row.next_try_at = next_try_at or row.next_try_at
        self._tell(row)
        if provider_message_id is not None:
            self._apply(provider or "", provider_message_id)

    async def give_up_lost(self) -> None:
        now = datetime.now(UTC)
        for row in self.rows.values():
            if row.state == "sending" and row.leased_until and row.leased_until < now:
                row.state, row.reason = "unknown", "dispatcher died while sending"
                row.leased_until = None
                self._tell(row)

    async def receipt(
        self, provider: str, provider_message_id: str, state: str, at: datetime
    ) -> None:
        states = self._receipts.setdefault((provider, provider_message_id), {})
        states.setdefault(state, at)
        self._apply(provider, provider_message_id)

    def _apply(self, provider: str, provider_message_id: str) -> None:
        wanted = (provider, provider_message_id)
        states = self._receipts.get(wanted)
        if not states:
            return
        # Of several, the one that says delivered is believed, else the earliest.
        state = min(states, key=lambda name: (name != "delivered", states[name]))
        for row in self.rows.values():
            mine = (row.provider, row.provider_message_id) == wanted
            if mine and row.state in ("sending", "sent", "unknown"):
                row.state = "delivered" if state == "delivered" else "permanent_failure"
                row.reason = "" if state == "delivered" else state
                self._tell(row)

    def _tell(self, row: _NoticeRow) -> None:
        told = Told(row.notice.notice_id, row.state, row.reason, row.provider or "")
        self.told.append(told)


class FakeChannel:
    """A provider that answers as it was told to: an exception is raised, else it accepts.

    Answers are used up in turn; without any left it accepts. `sent` is all that it was asked.
    """

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)
        self.sent: list[Outgoing] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def send(self, message: Outgoing) -> Accepted:
        self.sent.append(message)
        answer = self._answers.pop(0) if self._answers else None
        if answer is not None:
            raise answer
        return Accepted("fake", f"id-{len(self.sent)}")
