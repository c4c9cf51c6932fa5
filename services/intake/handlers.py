"""What intake does: receive an application, answer for a case, follow the events of cases."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID, uuid4

from services.intake.domain import SEALED_PARTS, Checked, Received, Traces
from services.intake.identity import CITY, case_number
from shared.contract import topics
from shared.contract.events import (
    ApplicationSubmitted,
    CaseRouted,
    CaseStatusChanged,
    Event,
    Facts,
    NoticeStateChanged,
    derived_id,
)
from shared.contract.wire import Outgoing, encode

FOLLOWED = (CaseRouted, CaseStatusChanged, NoticeStateChanged)


class RepeatedKeyError(Exception):
    """Another submission with this idempotency key was first."""


class BodyDiffersError(Exception):
    """The idempotency key was used before, with another body."""


@dataclass(frozen=True, slots=True)
class Application:
    """`person` is a keyed hash, as is `proven`: the address that it was confirmed from, None where
    nobody was asked. `duplicates` are the numbers of what the same person applied for of late;
    `key_sha256` and `body_sha256` are of a request by the API."""

    case_id: UUID
    number: str
    service: str
    facts: Facts
    sealed: str
    received_at: datetime
    event_id: UUID
    person: bytes
    proven: bytes | None = None
    duplicates: tuple[str, ...] = ()
    key_sha256: bytes | None = None
    body_sha256: bytes = b""


@dataclass(frozen=True, slots=True)
class Known:
    """An application found by its idempotency key."""

    body_sha256: bytes
    case_id: UUID
    number: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An earlier application of the same person for the same service. `known`: it was confirmed
    from the address that this one is confirmed from, so who confirms it may be told."""

    number: str
    received_at: datetime
    known: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a case's history, as the citizen sees it."""

    happened_at: datetime
    kind: str
    agency: str | None = None
    status: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


class Applications(Protocol):
    async def next_sequence(self) -> int: ...
    async def put(self, application: Application, wrapped_key: bytes, event: Outgoing) -> None:
        """Keep all three in one transaction. Raises RepeatedKeyError."""

    async def duplicates(
        self, case_id: UUID, person: bytes, contact: bytes, since: datetime
    ) -> list[Duplicate]:
        """What the same person applied for since then, five at most, the confirmed and newest
        first; not this case."""

    async def by_key(self, key_sha256: bytes) -> Known | None: ...
    async def by_number(self, number: str) -> tuple[UUID, str, datetime] | None: ...
    async def steps(self, case_id: UUID) -> Sequence[Step]: ...


class Steps(Protocol):
    async def put(self, event_id: UUID, case_id: UUID, step: Step) -> None:
        """Keep a step; a repeat of the event changes nothing."""


class Sealer(Protocol):
    def seal(self, clear: bytes) -> str: ...


class Keys(Protocol):
    def new_key(self, case_id: UUID) -> tuple[Sealer, bytes]:
        """A key for a case, and its wrapped form to be kept."""


async def submit(
    checked: Checked,
    raw_body: bytes,
    idempotency_key: str | None,
    applications: Applications,
    keys: Keys,
    traces: Traces,
    now: Callable[[], datetime],
    traceparent: str | None = None,
) -> Received:
    """Receive an application; when this returns, it is committed. Raises BodyDiffersError."""
    body_sha256 = hashlib.sha256(raw_body).digest()
    key_sha256 = None
    if idempotency_key is not None:
        key_sha256 = hashlib.sha256(idempotency_key.encode()).digest()
        if (known := await applications.by_key(key_sha256)) is not None:
            return _same(known, body_sha256)
    case_id, received_at = uuid4(), now()
    number = await new_number(applications, received_at)
    key, wrapped = keys.new_key(case_id)
    form = checked.form
    sealed = key.seal(form.model_dump_json(include=set(SEALED_PARTS)).encode())
    person = traces.person(form)
    found = await applications.duplicates(case_id, person, b"", received_at - traces.window)
    application, event = as_case(case_id, number, checked, sealed, received_at, traces, found)
    application = replace(application, key_sha256=key_sha256, body_sha256=body_sha256)
    try:
        await applications.put(
            application, wrapped, encode(topics.APPLICATIONS, event, traceparent)
        )
    except RepeatedKeyError:
        # Two requests with one key raced; the other one is the application.
        known = await applications.by_key(key_sha256 or b"")
        if known is None:
            raise
        return _same(known, body_sha256)
    return Received(case_id, number, received_at)


async def new_number(applications: Applications, at: datetime) -> str:
    """A case number of the city's day."""
    return case_number(at.astimezone(CITY).date(), await applications.next_sequence())


def as_case(
    case_id: UUID,
    number: str,
    checked: Checked,
    sealed: str,
    received_at: datetime,
    traces: Traces,
    duplicates: Sequence[Duplicate],
) -> tuple[Application, ApplicationSubmitted]:
    """What is kept of an application, and what is told of it."""
    form = checked.form
    event = ApplicationSubmitted(
        id=derived_id(case_id, "submitted"),
        source="intake",
        time=received_at,
        case_id=case_id,
        number=number,
        service=form.service,
        received_at=received_at,
        facts=checked.facts,
        sealed=sealed,
        duplicates=tuple(one.number for one in duplicates),
    )
    application = Application(
        case_id=case_id,
        number=number,
        service=form.service,
        facts=checked.facts,
        sealed=sealed,
        received_at=received_at,
        event_id=event.id,
        person=traces.person(form),
        duplicates=event.duplicates,
    )
    return application, event


def _same(known: Known, body_sha256: bytes) -> Received:
    if known.body_sha256 != body_sha256:
        raise BodyDiffersError
    return Received(known.case_id, known.number, known.received_at)


async def on_event(event: Event, steps: Steps) -> None:
    """Write down what happened to a case, for its citizen."""
    match event:
        case CaseRouted():
            step = Step(
                event.time, "routed", event.agency, detail={"outcome": event.decision.outcome}
            )
        case CaseStatusChanged():
            step = Step(
                event.time,
                "status",
                event.agency,
                event.to_status,
                {
                    "reason": event.reason,
                    "items": list(event.items),
                    "due_on": event.due_on.isoformat() if event.due_on else None,
                    "correct_by": event.correct_by.isoformat() if event.correct_by else None,
                },
            )
        case NoticeStateChanged():
            step = Step(event.time, "notice", status=event.state, detail={"channel": event.channel})
        case _:
            return
    await steps.put(event.id, event.case_id, step)
