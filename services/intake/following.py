"""A case as its citizen sees it: its history in plain words, who has it, until when and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from catalogue import Service
from catalogue.calendar import Calendar
from services.intake.handlers import Step
from services.intake.identity import CITY

# From these a case does not move any more.
ENDED = frozenset({"CLOSED", "WITHDRAWN", "ARCHIVED"})
_WITHDRAWABLE = frozenset(
    {"RECEIVED", "ASSIGNED", "ACCEPTED", "UNDER_REVIEW", "CORRECTION_REQUESTED", "FEE_DUE"}
)
_MOST_DAYS_NAMED = 12


@dataclass(frozen=True, slots=True)
class DayOff:
    """A day that does not count; the names are of a holiday or closure, empty on a weekend."""

    day: date
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Due:
    """Until when, and how that day comes about. `by_agency`: the agency has moved it."""

    day: date
    first: date
    limit: int | None
    unit: str | None
    days_off: tuple[DayOff, ...]
    by_agency: bool


@dataclass(frozen=True, slots=True)
class Case:
    """What a citizen sees of a case. `items` are what the agency asks for, while it does."""

    case_id: UUID
    number: str
    service: Service
    received_at: datetime
    agency: str | None
    status: str
    steps: tuple[Step, ...]
    due: Due | None
    items: tuple[str, ...]
    reason: str
    correct_by: date | None

    @property
    def received_on(self) -> date:
        return self.received_at.astimezone(CITY).date()

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def may_withdraw(self) -> bool:
        return self.status in _WITHDRAWABLE and not self._asked("withdrawn")

    @property
    def may_correct(self) -> bool:
        return self.status == "CORRECTION_REQUESTED"

    def _asked(self, kind: str) -> bool:
        return any(step.kind == kind for step in self.steps)


def case_of(
    case_id: UUID,
    number: str,
    service: Service,
    received_at: datetime,
    steps: Sequence[Step],
    calendar: Calendar,
) -> Case:
    agencies = [step.agency for step in steps if step.agency]
    statuses = [step for step in steps if step.kind == "status"]
    last = statuses[-1] if statuses else None
    status = last.status if last and last.status else ("ASSIGNED" if agencies else "RECEIVED")
    asked = last if last is not None and status == "CORRECTION_REQUESTED" else None
    correct_by = asked.detail.get("correct_by") if asked else None
    return Case(
        case_id=case_id,
        number=number,
        service=service,
        received_at=received_at,
        agency=agencies[-1] if agencies else None,
        status=status,
        steps=tuple(steps),
        due=None if status in ENDED else _due(service, received_at, statuses, calendar),
        items=tuple(asked.detail.get("items", ())) if asked else (),
        reason=str(asked.detail.get("reason", "")) if asked else "",
        correct_by=date.fromisoformat(correct_by) if correct_by else None,
    )


def _due(
    service: Service, received_at: datetime, statuses: Sequence[Step], calendar: Calendar
) -> Due:
    received = received_at.astimezone(CITY).date()
    computed = calendar.due_on(received, service.limit, service.limit_unit)
    told = [step.detail.get("due_on") for step in statuses]
    said = next((date.fromisoformat(day) for day in reversed(told) if day), computed)
    first = received + timedelta(days=1)
    counted = [first + timedelta(days=n) for n in range((computed - first).days + 1)]
    off = [
        DayOff(day, *calendar.name_of(day)) for day in counted if not calendar.is_working_day(day)
    ]
    named = [one for one in off if one.zh] if len(off) > _MOST_DAYS_NAMED else off
    in_working_days = service.limit_unit == "working_day"
    return Due(
        said,
        first,
        service.limit,
        service.limit_unit,
        tuple(named[:_MOST_DAYS_NAMED]) if in_working_days else (),
        said != computed,
    )
