"""The life of a case at an agency: what may be done when, by whom, and what is told of it."""

import json
from dataclasses import replace
from datetime import date, datetime
from itertools import pairwise
from typing import Any, get_args
from uuid import UUID, uuid4

import pytest

from catalogue import load_catalogue
from catalogue.calendar import city_calendar
from services.backoffice.domain import (
    PATHS,
    STEP_DONE,
    WITHDRAWABLE,
    Case,
    Change,
    Command,
    CommandName,
    apply,
    check_paths,
)
from services.backoffice.handlers import TAKEN, on_command, on_event
from shared.contract.errors import PermanentError
from shared.contract.events import (
    ApplicationSubmitted,
    ApplicationSupplemented,
    ApplicationWithdrawn,
    CaseAssigned,
    CaseReturned,
    CaseStatusChanged,
    CaseStepCompleted,
    CaseUpdate,
    JointReview,
    LimitUnit,
    derived_id,
)
from shared.contract.wire import decode
from tests import examples
from tests.examples import CASE, NOW, case
from tests.fakes import FakeBackoffice

CATALOGUE = load_catalogue()
TOPIC = "agency.DOSW.updates"
WORKING_DAY = city_calendar().first_working_day_from


def command(name: Any, **changes: Any) -> Command:
    """A command of DOSW that says everything that it needs to say."""
    needs: dict[str, dict[str, Any]] = {
        "return": {"reason": "not ours"},
        "request_correction": {"items": ("passbook",)},
        "complete": {"outcome": "APPROVED", "reason": "as asked"},
    }
    said = needs.get(name, {})
    return Command(**({"name": name, "agency": "DOSW", "by": "clerk:Chen"} | said | changes))


def refusal(of: Case, wanted: Command) -> PermanentError:
    with pytest.raises(PermanentError) as refused:
        apply(of, wanted)
    return refused.value


# --- what may be done when


def test_every_path_is_made_of_transitions_that_the_catalogue_allows() -> None:
    check_paths(CATALOGUE.transitions)

    for starts in (*PATHS.values(), STEP_DONE):
        for start, path in starts.items():
            for before, after in pairwise((start, *path)):
                assert after in CATALOGUE.transitions[before], (start, before, after)


def test_the_check_of_paths_names_the_step_that_is_not_allowed() -> None:
    forbidden = {
        start: ends - {"CORRECTION_REQUESTED"} for start, ends in CATALOGUE.transitions.items()
    }

    with pytest.raises(ValueError, match="ASSIGNED -> CORRECTION_REQUESTED is not allowed"):
        check_paths(forbidden)


def test_what_the_citizen_and_the_router_do_is_allowed_by_the_catalogue_too() -> None:
    for start in WITHDRAWABLE:
        assert "WITHDRAWN" in CATALOGUE.transitions[start]
    assert "CORRECTED" in CATALOGUE.transitions["CORRECTION_REQUESTED"]
    assert "ASSIGNED" in CATALOGUE.transitions["RECEIVED"]
    assert "ASSIGNED" in CATALOGUE.transitions["REASSIGN_REQUESTED"]


ALLOWED = {
    "accept": {"ASSIGNED": "ACCEPTED", "CORRECTED": "ACCEPTED"},
    "request_correction": dict.fromkeys(
        ("ASSIGNED", "ACCEPTED", "UNDER_REVIEW", "CORRECTED"), "CORRECTION_REQUESTED"
    ),
    "complete": dict.fromkeys(("ACCEPTED", "UNDER_REVIEW", "CORRECTED"), "CLOSED"),
    "return": {"ASSIGNED": "REASSIGN_REQUESTED"},
}


@pytest.mark.parametrize("status", list(CATALOGUE.statuses))
@pytest.mark.parametrize("name", get_args(CommandName))
def test_a_command_is_carried_out_where_it_is_allowed_and_refused_elsewhere(
    name: str, status: str
) -> None:
    before = case(status=status)

    if status in ALLOWED[name]:
        change = apply(before, command(name))
        assert change.path[-1] == change.case.status == ALLOWED[name][status]
        assert change.case == replace(before, status=change.case.status)
    else:
        refused = refusal(before, command(name))
        assert refused.code == "command.not_now"
        assert status in str(refused)


def test_a_case_that_waits_for_the_citizen_can_be_rejected_but_not_approved() -> None:
    waiting = case(status="CORRECTION_REQUESTED")

    assert apply(waiting, command("complete", outcome="REJECTED")).case.status == "CLOSED"
    assert refusal(waiting, command("complete")).code == "command.not_now"


@pytest.mark.parametrize("name", get_args(CommandName))
def test_another_agencys_case_is_not_touched(name: str) -> None:
    refused = refusal(case(status="ACCEPTED"), command(name, agency="LO-DA"))

    assert refused.code == "case.not_yours"


@pytest.mark.parametrize(
    ("name", "missing", "code"),
    [
        ("return", {"reason": ""}, "command.reason"),
        ("request_correction", {"items": ()}, "command.items"),
        ("complete", {"outcome": None}, "command.outcome"),
        ("complete", {"outcome": "REJECTED", "reason": ""}, "command.reason"),
    ],
)
def test_a_command_that_lacks_what_the_citizen_must_hear_is_refused(
    name: str, missing: dict[str, Any], code: str
) -> None:
    status = "ASSIGNED" if name == "return" else "ACCEPTED"

    assert refusal(case(status=status), command(name, **missing)).code == code


def test_an_approval_passes_through_approval_and_issue() -> None:
    assert apply(case(status="ACCEPTED"), command("complete")).path == (
        *("UNDER_REVIEW", "PENDING_APPROVAL", "APPROVED", "ISSUED", "CLOSED"),
    )


def test_a_rejection_is_never_issued() -> None:
    for status in PATHS["complete.REJECTED"]:
        path = apply(case(status=status), command("complete", outcome="REJECTED")).path
        assert "REJECTED" in path
        assert not {"APPROVED", "ISSUED"} & set(path)


@pytest.mark.parametrize("status", list(STEP_DONE))
def test_an_approval_with_agencies_to_come_completes_the_step_and_does_not_close(
    status: str,
) -> None:
    change = apply(case(status=status, chain=("LAST",)), command("complete"))

    assert change.step_completed
    assert change.case.status == change.path[-1] == "JOINT_REVIEW"


@pytest.mark.parametrize("name", get_args(CommandName))
def test_a_step_that_is_completed_cannot_be_completed_or_changed_again(name: str) -> None:
    done = apply(case(status="UNDER_REVIEW", chain=("LAST",)), command("complete")).case

    assert refusal(done, command(name)).code == "command.not_now"
    assert refusal(done, command("complete", outcome="REJECTED")).code == "command.not_now"


def test_a_rejection_ends_the_chain() -> None:
    change = apply(
        case(status="ACCEPTED", chain=("LAST",)), command("complete", outcome="REJECTED")
    )

    assert (change.case.status, change.step_completed) == ("CLOSED", False)


def test_a_step_cannot_be_completed_while_the_citizen_is_asked() -> None:
    waiting = case(status="CORRECTION_REQUESTED", chain=("LAST",))

    assert refusal(waiting, command("complete")).code == "command.not_now"


# --- what is kept and told


class Office:
    """The back office with its fakes."""

    def __init__(self, *cases: Case) -> None:
        self.store = FakeBackoffice()
        self.store.rows.cases |= {one.case_id: one for one in cases}

    async def hear(self, event: Any, topic: str = TOPIC) -> None:
        async with self.store.transaction() as cases:
            await on_event(event, topic, cases, self._due, WORKING_DAY, NOW)

    async def command(self, wanted: Command, command_id: UUID | None = None) -> Change:
        async with self.store.transaction() as cases:
            return await on_command(CASE, wanted, command_id or uuid4(), cases, WORKING_DAY, NOW)

    @staticmethod
    def _due(received_at: datetime, limit: int | None, unit: LimitUnit | None) -> date:
        assert (received_at, unit) == (NOW, limit and "working_day")
        return received_at.date().replace(day=limit or 30)

    @property
    def case(self) -> Case:
        return self.store.rows.cases[CASE]

    @property
    def told(self) -> list[Any]:
        assert {out.topic for out in self.store.rows.told} <= {"cases.events"}
        return [examples.read_back(out) for out in self.store.rows.told]

    @property
    def passed(self) -> list[tuple[str, str]]:
        return [(row[1], row[2]) for row in self.store.history(CASE)]


async def test_an_assignment_opens_a_case_with_its_due_day() -> None:
    office = Office()
    event = examples.event(CaseAssigned, chain=("LAST",), tried=("LO-DA",), step=2)

    await office.hear(event)

    assert office.case == case(chain=("LAST",), tried=("LO-DA",), step=2, due_on=date(2026, 11, 30))
    assert list(office.store.rows.assignments) == [event.id]
    assert office.store.history(CASE) == [("DOSW", "RECEIVED", "ASSIGNED", "router", "rule")]
    assert office.told == []


async def test_the_limit_and_the_joint_reviews_are_those_of_the_assignment() -> None:
    office = Office()
    beside = (JointReview(agency="FD", task="review"),)

    await office.hear(
        examples.event(CaseAssigned, limit=27, limit_unit="working_day", joint_review=beside)
    )

    assert office.case.due_on == date(2026, 11, 27)
    assert office.case.joint_review == beside


async def test_an_assignment_from_before_there_were_limits_is_taken_in_with_the_legal_default() -> (
    None
):
    office = Office()
    new = examples.record_of(examples.event(CaseAssigned, limit=27, limit_unit="working_day"))
    body = json.loads(new.value or b"")
    for name in ("joint_review", "limit", "limit_unit", "limit_steps"):
        del body[name]
    for name in ("joint_review_rules", "deadline_rule", "problem"):
        del body["decision"][name]

    await office.hear(decode(replace(new, value=json.dumps(body).encode())))

    assert (office.case.due_on, office.case.joint_review) == (date(2026, 11, 30), ())


async def test_the_next_agency_gets_the_case_and_what_was_opened_stays_sealed_as_it_is() -> None:
    office = Office(case(agency="DO-DA", status="JOINT_REVIEW", sealed="newer"))

    await office.hear(examples.event(CaseAssigned, agency="DOSW", step=2))

    assert (office.case.agency, office.case.status) == ("DOSW", "ASSIGNED")
    assert office.case.sealed == "newer"
    assert office.passed == [("JOINT_REVIEW", "ASSIGNED")]


async def test_a_status_change_tells_the_whole_way_and_by_whom() -> None:
    office = Office(case(status="ACCEPTED"))
    command_id = uuid4()

    await office.command(command("complete"), command_id)

    (told,) = office.told
    assert isinstance(told, CaseStatusChanged)
    assert told.id == derived_id(command_id, "status")
    assert (told.from_status, told.to_status) == ("ACCEPTED", "CLOSED")
    assert told.path[-1] == "CLOSED"
    assert (told.agency, told.by, told.reason) == ("DOSW", "clerk:Chen", "as asked")
    assert told.due_on == office.case.due_on
    steps = ("ACCEPTED", *told.path)
    assert office.passed == list(pairwise(steps))


async def test_a_correction_tells_the_citizen_which_papers() -> None:
    office = Office(case(status="ACCEPTED"))

    await office.command(command("request_correction", items=("passbook", "photo")))

    assert office.told[0].items == ("passbook", "photo")


async def test_a_return_tells_the_router_everything_that_it_needs() -> None:
    office = Office(case(tried=("LO-DA",), chain=("LAST",), step=2))
    command_id = uuid4()

    await office.command(command("return", proposed="LO-SS"), command_id)

    (told,) = office.told
    assert isinstance(told, CaseReturned)
    assert told.id == derived_id(command_id, "returned")
    assert told.tried == ("LO-DA", "DOSW")
    assert (told.agency, told.proposed, told.reason) == ("DOSW", "LO-SS", "not ours")
    assert (told.step, told.chain) == (2, ("LAST",))
    assert (told.facts, told.sealed) == (office.case.facts, office.case.sealed)
    assert office.case.status == "REASSIGN_REQUESTED"


async def test_a_completed_step_tells_the_router_who_comes_next_and_the_citizen_where_it_is() -> (
    None
):
    office = Office(case(agency="DO-DA", status="ACCEPTED", chain=("DOSW", "LAST")))

    await office.command(command("complete", agency="DO-DA"))

    changed, step = office.told
    assert isinstance(changed, CaseStatusChanged)
    assert isinstance(step, CaseStepCompleted)
    assert (step.agency, step.step, step.chain) == ("DO-DA", 1, ("DOSW", "LAST"))
    assert changed.to_status == "JOINT_REVIEW"


async def test_a_second_click_does_not_complete_a_step_twice() -> None:
    office = Office(case(status="UNDER_REVIEW", chain=("LAST",)))
    await office.command(command("complete"))

    with pytest.raises(PermanentError):
        await office.command(command("complete"))
    assert sum(isinstance(event, CaseStepCompleted) for event in office.told) == 1


async def test_a_refused_command_changes_and_tells_nothing() -> None:
    office = Office(case(status="CLOSED"))

    with pytest.raises(PermanentError):
        await office.command(command("accept"))
    assert (office.case.status, office.told, office.passed) == ("CLOSED", [], [])


async def test_a_command_on_a_case_that_is_not_here_is_refused() -> None:
    with pytest.raises(PermanentError) as refused:
        await Office().command(command("accept"))
    assert refused.value.code == "case.unknown"


async def test_an_agencys_own_system_speaks_for_the_agency_of_its_topic() -> None:
    office = Office(case())

    await office.hear(examples.event(CaseUpdate, command="accept", source="anything"), TOPIC)

    assert office.case.status == "ACCEPTED"
    assert office.told[0].by == "system:DOSW"


async def test_an_agencys_own_system_cannot_speak_for_another() -> None:
    office = Office(case())

    with pytest.raises(PermanentError) as refused:
        await office.hear(examples.event(CaseUpdate), "agency.LO-DA.updates")
    assert refused.value.code == "case.not_yours"


async def test_a_correction_by_the_citizen_lets_the_clock_go_on() -> None:
    office = Office(case(status="CORRECTION_REQUESTED"))
    event = examples.event(ApplicationSupplemented)

    await office.hear(event)

    assert office.case.status == "CORRECTED"
    assert office.told[0].id == derived_id(event.id, "status")
    assert (office.told[0].by, office.told[0].to_status) == ("citizen", "CORRECTED")


@pytest.mark.parametrize("status", sorted(set(CATALOGUE.statuses) - {"CORRECTION_REQUESTED"}))
async def test_a_supplement_that_nobody_asked_for_is_written_down_and_changes_nothing(
    status: str,
) -> None:
    office = Office(case(status=status))

    await office.hear(examples.event(ApplicationSupplemented))

    assert (office.case, office.told) == (case(status=status), [])
    ((_, before, after, by, reason),) = office.store.history(CASE)
    assert (before, after, by) == (status, status, "citizen")
    ended = {"APPROVED", "REJECTED", "ISSUED", "CLOSED", "ARCHIVED", "WITHDRAWN"}
    assert ("too late" in reason) == (status in ended)
    # Whenever it came, the clerk can read it.
    assert len(office.store.rows.supplements) == 1


@pytest.mark.parametrize("status", sorted(WITHDRAWABLE))
async def test_a_case_can_be_withdrawn_until_it_is_decided(status: str) -> None:
    office = Office(case(status=status))

    await office.hear(examples.event(ApplicationWithdrawn))

    assert office.case.status == office.told[0].to_status == "WITHDRAWN"


@pytest.mark.parametrize("status", ["CLOSED", "REASSIGN_REQUESTED", "JOINT_REVIEW", "WITHDRAWN"])
async def test_a_withdrawal_that_comes_too_late_changes_nothing(status: str) -> None:
    office = Office(case(status=status))

    await office.hear(examples.event(ApplicationWithdrawn))

    assert (office.case.status, office.told) == (status, [])


@pytest.mark.parametrize(
    ("model", "status"),
    [(ApplicationSupplemented, "ASSIGNED"), (ApplicationWithdrawn, "WITHDRAWN")],
)
async def test_what_a_citizen_says_before_the_case_is_here_waits_for_it(
    model: Any, status: str
) -> None:
    office = Office()
    await office.hear(examples.event(model))
    assert (office.told, office.store.rows.cases) == ([], {})

    assigned = examples.event(CaseAssigned)
    await office.hear(assigned)

    assert office.case.status == status
    assert office.store.rows.early == []
    assert [one.to_status for one in office.told] == ([] if status == "ASSIGNED" else [status])


async def test_other_events_are_none_of_the_back_offices_business() -> None:
    office = Office(case())
    assert ApplicationSubmitted.type not in {model.type for model in TAKEN}

    await office.hear(examples.event(ApplicationSubmitted))

    assert (office.case, office.told, office.passed) == (case(), [], [])
