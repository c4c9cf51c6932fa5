"""What the back office does with an assignment, a supplement and a command."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from services.backoffice.domain import WITHDRAWABLE, Case, Change, Command, apply, correct_by
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.events import (
    ApplicationSupplemented,
    ApplicationWithdrawn,
    CaseAssigned,
    CaseReturned,
    CaseStatusChanged,
    CaseStepCompleted,
    CaseUpdate,
    Event,
    LimitUnit,
    derived_id,
)
from shared.contract.wire import Outgoing, encode

# Of a reason or an item, in characters; and how many items.
LONGEST_TEXT = 1000
MOST_ITEMS = 30
TAKEN = (CaseAssigned, CaseUpdate, ApplicationSupplemented, ApplicationWithdrawn)

Due = Callable[[datetime, int | None, LimitUnit | None], date]
"""The day on which a case that was received then is due, under that limit or without one."""
WorkingDay = Callable[[date], date]
"""This day, or the first working day after it."""
_CITY = ZoneInfo("Asia/Taipei")
_TOO_LATE = "came too late"
_BETWEEN = frozenset({"REASSIGN_REQUESTED", "JOINT_REVIEW"})
_DONE = frozenset({"APPROVED", "REJECTED", "ISSUED", "CLOSED", "ARCHIVED", "WITHDRAWN"})


class Cases(Protocol):
    """The tables, inside one transaction."""

    async def lock(self, case_id: UUID) -> Case | None:
        """The case, locked until the transaction ends.

        Raises TransientError when somebody who began later has changed it: begin again, so that
        what is told of the case keeps its order.
        """

    async def put(self, case: Case, now: datetime) -> None: ...
    async def put_assignment(self, event: CaseAssigned) -> None: ...
    async def put_history(
        self, case: Case, from_status: str, to_status: str, by: str, reason: str, now: datetime
    ) -> None: ...
    async def put_supplement(self, event: ApplicationSupplemented) -> None: ...
    async def put_early(self, event: ApplicationSupplemented | ApplicationWithdrawn) -> None:
        """Keep what a citizen says of a case that is not here yet."""

    async def take_early(
        self, case_id: UUID
    ) -> Sequence[ApplicationSupplemented | ApplicationWithdrawn]:
        """What was kept for this case, in its order; it is kept no longer."""

    async def tell(self, records: Sequence[Outgoing]) -> None:
        """Append to the outbox."""


async def on_event(
    event: Event, topic: str, cases: Cases, due: Due, working_day: WorkingDay, now: datetime
) -> None:
    """Handle one event of those in TAKEN. Raises PermanentError when it cannot be."""
    match event:
        case CaseAssigned():
            await on_case_assigned(event, cases, due, now)
        case CaseUpdate():
            agency = topic.removeprefix("agency.").removesuffix(".updates")
            command = Command(
                event.command,
                agency,
                f"system:{agency}",
                event.reason,
                event.items,
                event.outcome,
                correct_by=event.correct_by,
            )
            await on_command(event.case_id, command, event.id, cases, working_day, now)
        case ApplicationSupplemented() | ApplicationWithdrawn():
            await on_citizen(event, cases, now)


async def on_case_assigned(event: CaseAssigned, cases: Cases, due: Due, now: datetime) -> None:
    known = await cases.lock(event.case_id)
    case = Case(
        case_id=event.case_id,
        number=event.number,
        service=event.service,
        agency=event.agency,
        responsible=event.responsible,
        status="ASSIGNED",
        step=event.step,
        chain=event.chain,
        tried=event.tried,
        facts=event.facts,
        sealed=known.sealed if known else event.sealed,
        received_at=event.received_at,
        assigned_at=now,
        due_on=due(event.received_at, event.limit, event.limit_unit),
        joint_review=event.joint_review,
        duplicates=known.duplicates if known else event.duplicates,
    )
    await cases.put(case, now)
    await cases.put_assignment(event)
    before = known.status if known else "RECEIVED"
    await cases.put_history(case, before, "ASSIGNED", "router", event.decision.outcome, now)
    for early in await cases.take_early(event.case_id):
        await on_citizen(early, cases, now)


async def on_command(
    case_id: UUID,
    command: Command,
    command_id: UUID,
    cases: Cases,
    working_day: WorkingDay,
    now: datetime,
) -> Change:
    """Carry out a command; what follows is told in the same transaction."""
    _check_texts(command)
    case = await cases.lock(case_id)
    if case is None:
        raise PermanentError("case.unknown", f"no case {case_id} in the back office")
    change = apply(case, command)
    until = correct_by(command, now.astimezone(_CITY).date(), working_day)
    after = change.case
    before = case.status
    for status in change.path:
        await cases.put_history(after, before, status, command.by, command.reason, now)
        before = status
    await cases.put(after, now)
    told: list[Outgoing] = []
    if not change.returned:
        changed = _status_changed(
            case,
            after,
            change.path,
            command.by,
            command_id,
            now,
            reason=command.reason,
            items=command.items,
            until=until,
        )
        told.append(encode(topics.CASES, changed))
    if change.returned:
        told.append(encode(topics.CASES, _returned(after, command, command_id, now)))
    if change.step_completed:
        told.append(encode(topics.CASES, _step_completed(after, command_id, now)))
    await cases.tell(told)
    return change


def _check_texts(command: Command) -> None:
    """They go to every service's tables and to the citizen: what those cannot take stops here."""
    if len(command.items) > MOST_ITEMS:
        raise PermanentError("command.items", f"more than {MOST_ITEMS} items")
    for text in (command.reason, *command.items):
        if len(text) > LONGEST_TEXT or "\x00" in text:
            detail = f"a text is longer than {LONGEST_TEXT} characters, or holds a NUL"
            raise PermanentError("command.text", detail)


def _status_changed(
    case: Case,
    after: Case,
    path: tuple[str, ...],
    by: str,
    cause: UUID,
    now: datetime,
    reason: str = "",
    items: tuple[str, ...] = (),
    until: date | None = None,
) -> CaseStatusChanged:
    return CaseStatusChanged(
        id=derived_id(cause, "status"),
        source="backoffice",
        time=now,
        case_id=case.case_id,
        number=case.number,
        service=case.service,
        agency=case.agency,
        from_status=case.status,
        to_status=after.status,
        path=path,
        by=by,
        reason=reason,
        items=items,
        due_on=after.due_on,
        correct_by=until,
    )


def _carried(case: Case, command_id: UUID, label: str, now: datetime) -> dict[str, Any]:
    return {
        "id": derived_id(command_id, label),
        "source": "backoffice",
        "time": now,
        "case_id": case.case_id,
        "number": case.number,
        "service": case.service,
        "received_at": case.received_at,
        "facts": case.facts,
        "sealed": case.sealed,
        "agency": case.agency,
        "step": case.step,
        "chain": case.chain,
    }


def _returned(case: Case, command: Command, command_id: UUID, now: datetime) -> CaseReturned:
    return CaseReturned(
        **_carried(case, command_id, "returned", now),
        reason=command.reason,
        proposed=command.proposed,
        tried=(*case.tried, case.agency),
    )


def _step_completed(case: Case, command_id: UUID, now: datetime) -> CaseStepCompleted:
    return CaseStepCompleted(**_carried(case, command_id, "step", now))


async def on_citizen(
    event: ApplicationSupplemented | ApplicationWithdrawn, cases: Cases, now: datetime
) -> None:
    """The citizen adds to the case, or takes it back.

    An answer to a request for correction lets the clock go on. What comes too late is nobody's
    fault: it is written down for the clerk, and the case stays as it is. What comes before the
    assignment waits for it.
    """
    case = await cases.lock(event.case_id)
    if case is None:
        await cases.put_early(event)
        return
    if isinstance(event, ApplicationSupplemented):
        await cases.put_supplement(event)
        possible_from, to_status = {"CORRECTION_REQUESTED"}, "CORRECTED"
        reason = "added by the citizen" if case.status not in _DONE else _TOO_LATE
    else:
        possible_from, to_status, reason = set(WITHDRAWABLE), "WITHDRAWN", _TOO_LATE
    if case.status not in possible_from:
        if isinstance(event, ApplicationWithdrawn) and case.status in _BETWEEN:
            # On its way to another agency: taken up where it arrives.
            await cases.put_early(event)
            reason = "waits for the next agency"
        said = f"{event.type}: {reason}"
        await cases.put_history(case, case.status, case.status, "citizen", said, now)
        return
    after = replace(case, status=to_status)
    await cases.put_history(case, case.status, to_status, "citizen", "", now)
    await cases.put(after, now)
    told = _status_changed(case, after, (to_status,), "citizen", event.id, now)
    await cases.tell([encode(topics.CASES, told)])
