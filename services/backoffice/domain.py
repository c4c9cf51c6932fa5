"""The life of a case at an agency: statuses, commands, and which of them are allowed. Pure."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from shared.contract.errors import PermanentError
from shared.contract.events import Facts, JointReview

CommandName = Literal["accept", "request_correction", "complete", "return"]
Transitions = Mapping[str, Collection[str]]

# The statuses that each command passes, by where the case stands. A path that is not made of
# allowed transitions only is refused when the service starts (see `check_paths`).
_APPROVED = ("PENDING_APPROVAL", "APPROVED", "ISSUED", "CLOSED")
_REJECTED = ("PENDING_APPROVAL", "REJECTED", "CLOSED")
PATHS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "accept": {"ASSIGNED": ("ACCEPTED",), "CORRECTED": ("ACCEPTED",)},
    "request_correction": {
        "ASSIGNED": ("CORRECTION_REQUESTED",),
        "ACCEPTED": ("UNDER_REVIEW", "CORRECTION_REQUESTED"),
        "UNDER_REVIEW": ("CORRECTION_REQUESTED",),
        "CORRECTED": ("UNDER_REVIEW", "CORRECTION_REQUESTED"),
    },
    "complete.APPROVED": {
        "ACCEPTED": ("UNDER_REVIEW", *_APPROVED),
        "UNDER_REVIEW": _APPROVED,
        "CORRECTED": ("UNDER_REVIEW", *_APPROVED),
    },
    "complete.REJECTED": {
        "ACCEPTED": ("UNDER_REVIEW", *_REJECTED),
        "UNDER_REVIEW": _REJECTED,
        "CORRECTED": ("UNDER_REVIEW", *_REJECTED),
        "CORRECTION_REQUESTED": ("REJECTED", "CLOSED"),
    },
    "return": {"ASSIGNED": ("REASSIGN_REQUESTED",)},
}
# COR-1 of the catalogue's clock rules: 15 days by statute, 7 for the arts.
_CORRECTION_DAYS = 15
_CORRECTION_DAYS_OF: Mapping[str, int] = {"CULT": 7}
_MOST_CORRECTION_DAYS = 90
WITHDRAWABLE = frozenset(
    {"ASSIGNED", "ACCEPTED", "UNDER_REVIEW", "CORRECTION_REQUESTED", "FEE_DUE"}
)
# A step of a chain ends in joint handling, until the next agency takes over: from there nothing
# can be completed, so that a second click does not bring the case to that agency twice.
STEP_DONE: Mapping[str, tuple[str, ...]] = {
    "ACCEPTED": ("UNDER_REVIEW", "JOINT_REVIEW"),
    "UNDER_REVIEW": ("JOINT_REVIEW",),
    "CORRECTED": ("UNDER_REVIEW", "JOINT_REVIEW"),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A case as the back office holds it; `sealed` can be opened with the case's key only."""

    case_id: UUID
    number: str
    service: str
    agency: str
    responsible: str
    status: str
    step: int
    chain: tuple[str, ...]
    tried: tuple[str, ...]
    facts: Facts
    sealed: str
    received_at: datetime
    assigned_at: datetime
    due_on: date
    joint_review: tuple[JointReview, ...] = ()
    duplicates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """What a clerk or an agency's own system asks for. `by` is who; `agency` speaks."""

    name: CommandName
    agency: str
    by: str
    reason: str = ""
    items: tuple[str, ...] = ()
    outcome: Literal["APPROVED", "REJECTED"] | None = None
    proposed: str | None = None
    correct_by: date | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What a command comes to: the case after it, and the statuses passed, the last included."""

    case: Case
    path: tuple[str, ...]
    step_completed: bool = False
    returned: bool = False


def apply(case: Case, command: Command) -> Change:
    """The change that `command` makes. Raises PermanentError when it may not be made now."""
    if case.agency != command.agency:
        raise PermanentError(
            "case.not_yours", f"case {case.number} is with {case.agency}, not {command.agency}"
        )
    if command.name == "return":
        if not command.reason:
            raise PermanentError("command.reason", "say why the case is returned")
        path = _path("return", case)
        return Change(_at(case, path), path, returned=True)
    if command.name == "request_correction" and not command.items:
        raise PermanentError("command.items", "name at least one paper or answer to correct")
    if command.name != "complete":
        path = _path(command.name, case)
        return Change(_at(case, path), path)
    if command.outcome is None:
        raise PermanentError("command.outcome", "complete needs the outcome APPROVED or REJECTED")
    if command.outcome == "APPROVED" and case.chain:
        if case.status not in STEP_DONE:
            raise _not_now("complete", case)
        path = STEP_DONE[case.status]
        return Change(_at(case, path), path, step_completed=True)
    if command.outcome == "REJECTED" and not command.reason:
        raise PermanentError("command.reason", "say why the case is rejected")
    path = _path(f"complete.{command.outcome}", case)
    return Change(_at(case, path), path)


def correct_by(command: Command, today: date, working_day: Callable[[date], date]) -> date | None:
    """Until when the citizen may correct: as asked for, else the usual days from `today` on, moved
    to a working day. Raises PermanentError for a day that is none of the next 90."""
    if command.name != "request_correction":
        return None
    if command.correct_by is None:
        days = _CORRECTION_DAYS_OF.get(command.agency, _CORRECTION_DAYS)
        return working_day(today + timedelta(days=days))
    if not today < command.correct_by <= today + timedelta(days=_MOST_CORRECTION_DAYS):
        raise PermanentError(
            "command.correct_by",
            f"correct_by is {command.correct_by}; give a day after {today} and at most "
            f"{_MOST_CORRECTION_DAYS} days on, or none for the usual time",
        )
    return command.correct_by


def _path(name: str, case: Case) -> tuple[str, ...]:
    try:
        return PATHS[name][case.status]
    except KeyError:
        raise _not_now(name, case) from None


def _not_now(name: str, case: Case) -> PermanentError:
    allowed = sorted(start for start in PATHS.get(name, STEP_DONE))
    return PermanentError(
        "command.not_now",
        f"{name}: case {case.number} is {case.status}; possible from {', '.join(allowed)}",
    )


def _at(case: Case, path: tuple[str, ...]) -> Case:
    return replace(case, status=path[-1])


def check_paths(transitions: Transitions) -> None:
    """Raises ValueError when a path takes a step that the catalogue does not allow."""
    groups: dict[str, Any] = {**PATHS, "step done": STEP_DONE}
    for name, starts in groups.items():
        for start, path in starts.items():
            before = start
            for status in path:
                if status not in transitions.get(before, ()):
                    raise ValueError(f"{name} from {start}: {before} -> {status} is not allowed")
                before = status
