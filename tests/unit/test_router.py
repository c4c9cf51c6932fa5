"""Where a case goes: by rule, by hand, back and forth, along a chain; and the same again."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from services.router.domain import Release, decide, in_force
from services.router.handlers import WANTED, on_event, records
from services.router.rules import RuleSet
from shared.contract.events import (
    CASE_EVENTS,
    ApplicationSubmitted,
    CaseAssigned,
    CaseReturned,
    CaseRouted,
    CaseStepCompleted,
    JointReview,
    derived_id,
)
from tests import examples
from tests.examples import deadline_row, release, review_row, rule_row, rules_of

RULES = rules_of(
    rule_row(),
    rule_row(id="B.DA", service="SVC-B", district="大安區", lead="LO-DA", chain="X;Y"),
    rule_row(id="B.ZZ.N", service="SVC-B", district="中正區", side_of_aiguo="north", lead="LO-JC"),
    rule_row(id="B.ZZ.S", service="SVC-B", district="中正區", side_of_aiguo="south", lead="LO-GT"),
    rule_row(id="C.1", service="SVC-C", lead="ONE"),
    rule_row(id="C.2", service="SVC-C", lead="TWO"),
    rule_row(id="D", service="SVC-D; SVC-E", district="大安區; 中正區", lead="D"),
    deadline=[
        deadline_row(),
        deadline_row(id="D-B", service="SVC-B", limit="30", unit="calendar_day", steps="1;9;20"),
        deadline_row(id="D-C", service="SVC-C", limit="2", unit="month"),
    ],
    reviews=[
        review_row(),
        review_row(id="R-B", service="SVC-B; SVC-C", agency="CA", task="query", document="HH"),
    ],
)
BESIDE_A = (JointReview(agency="AGENCY-B", task="review"),)
BESIDE_BC = (JointReview(agency="CA", task="query", document="HH"),)


def routed(
    event: Any, rules: RuleSet = RULES, now: datetime = examples.NOW
) -> tuple[CaseAssigned, CaseRouted]:
    told = on_event(event, [release(rules)], now)
    assert told is not None
    return told


def limit_of(assigned: CaseAssigned) -> tuple[Any, ...]:
    decision = assigned.decision
    return assigned.limit, assigned.limit_unit, assigned.limit_steps, decision.deadline_rule


def submitted(service: str = "SVC-A", **facts: Any) -> Any:
    return examples.event(ApplicationSubmitted, service=service, facts=facts)


def returned(agency: str, *tried: str, service: str = "SVC-A", **changes: Any) -> Any:
    """`agency` gives the case back; `tried` are those before it."""
    return examples.event(
        CaseReturned, agency=agency, tried=(*tried, agency), service=service, **changes
    )


def test_one_rule_that_matches_decides_and_is_named() -> None:
    assigned, told = routed(submitted())

    assert assigned.agency == told.agency == "AGENCY-A"
    assert assigned.decision == told.decision
    assert (assigned.decision.outcome, assigned.decision.rule) == ("rule", "A")
    assert (assigned.decision.ruleset, assigned.decision.version) == ("lead", RULES.version)
    assert assigned.decision.problem == ""


def test_an_assignment_is_for_its_agency_and_the_news_for_everybody() -> None:
    told = routed(submitted())
    out = records(told, "00-trace-01")

    assert [one.topic for one in out] == ["agency.AGENCY-A.cases", "cases.events"]
    assert tuple(map(examples.read_back, out)) == told
    assert [dict(one.headers)["traceparent"] for one in out] == [b"00-trace-01"] * 2


def test_who_reviews_beside_the_lead_and_until_when_is_told_with_the_rules_that_say_so() -> None:
    a, _ = routed(submitted())
    b, _ = routed(submitted("SVC-B", district="大安區"))

    assert (a.joint_review, b.joint_review) == (BESIDE_A, BESIDE_BC)
    assert a.decision.joint_review_rules == ("R-A",)
    assert limit_of(a) == (5, "working_day", (), "D-A")
    assert limit_of(b) == (30, "calendar_day", (1, 9, 20), "D-B")


def test_where_no_rule_gives_a_limit_none_is_told() -> None:
    assigned, _ = routed(submitted("SVC-D", district="大安區"))

    assert limit_of(assigned) == (None, None, (), None)
    assert assigned.joint_review == ()


def test_the_decision_says_what_it_looked_at_so_that_it_can_be_taken_again() -> None:
    assigned, _ = routed(submitted("SVC-B", district="大安區", channel="online"))
    facts = assigned.decision.facts

    assert facts == {"service": "SVC-B", "district": "大安區", "side_of_aiguo": None}
    assert decide(RULES, "SVC-B", facts).decision == assigned.decision


def test_the_application_travels_on_as_it_came() -> None:
    event = submitted(district="大安區", fee=120)
    assigned, told = routed(event, now=examples.NOW + timedelta(minutes=5))

    for name in ("case_id", "number", "service", "received_at", "facts", "sealed"):
        assert getattr(assigned, name) == getattr(event, name)
    assert assigned.cause == told.cause == event.id
    assert told.assignment == assigned.id
    assert assigned.time == examples.NOW + timedelta(minutes=5)
    assert "sealed" not in told.model_dump()


def test_a_chain_is_told_with_the_first_assignment() -> None:
    assigned, _ = routed(submitted("SVC-B", district="大安區"))

    assert (assigned.agency, assigned.step, assigned.chain) == ("LO-DA", 1, ("X", "Y"))


@pytest.mark.parametrize(("side", "office"), [("north", "LO-JC"), ("south", "LO-GT")])
def test_every_input_of_a_rule_has_to_fit(side: str, office: str) -> None:
    assert decide(RULES, "SVC-B", {"district": "中正區", "side_of_aiguo": side}).agency == office


@pytest.mark.parametrize("service", ["SVC-D", "SVC-E"])
@pytest.mark.parametrize("district", ["大安區", "中正區"])
def test_a_cell_may_name_several_values(service: str, district: str) -> None:
    assert decide(RULES, service, {"district": district}).agency == "D"


@pytest.mark.parametrize(
    ("service", "facts"),
    [
        ("SVC-UNKNOWN", {}),
        ("SVC-B", {"district": "士林區"}),
        ("SVC-B", {"district": "中正區", "side_of_aiguo": None}),
        ("SVC-B", {}),
    ],
)
def test_where_no_rule_fits_a_person_at_triage_decides(service: str, facts: dict[str, Any]) -> None:
    found = decide(RULES, service, facts)

    assert (found.agency, found.chain, found.decision.outcome) == ("TRIAGE", (), "triage")
    assert found.decision.candidates == ()


def test_at_triage_the_limit_runs_and_who_reviews_is_known() -> None:
    assigned, _ = routed(submitted("SVC-C"))

    assert assigned.agency == "TRIAGE"
    assert limit_of(assigned) == (2, "month", (), "D-C")
    assert assigned.joint_review == BESIDE_BC


@pytest.mark.parametrize("side", ["east", "North", "", 7, True])
def test_a_fact_that_the_rules_cannot_take_brings_the_case_to_triage_and_is_named(
    side: str | int,
) -> None:
    event = submitted("SVC-B", district="中正區", side_of_aiguo=side)
    assigned, told = routed(event)

    assert (assigned.agency, assigned.decision.outcome) == ("TRIAGE", "triage")
    assert assigned.decision == told.decision
    assert "side_of_aiguo" in assigned.decision.problem
    assert assigned.decision.facts == {"side_of_aiguo": side, "service": "SVC-B"}
    assert decide(RULES, "SVC-B", assigned.decision.facts).decision == assigned.decision
    assert assigned.facts == event.facts


def test_a_wrong_fact_that_no_row_of_the_service_looks_at_plays_no_part() -> None:
    assert routed(submitted("SVC-A", side_of_aiguo=7))[0].agency == "AGENCY-A"


def test_a_case_with_a_wrong_fact_is_placed_by_hand_and_keeps_its_problem() -> None:
    event = returned("TRIAGE", service="SVC-B", facts={"district": 7}, proposed="LO-DA")
    assigned, _ = routed(event)

    assert (assigned.agency, assigned.decision.outcome) == ("LO-DA", "manual")
    assert "district" in assigned.decision.problem
    assert limit_of(assigned) == (None, None, (), None)


def test_where_several_rules_fit_triage_decides_and_is_told_which() -> None:
    found = decide(RULES, "SVC-C", {})

    assert found.agency == "TRIAGE"
    assert found.decision.candidates == ("C.1", "C.2")


@pytest.mark.parametrize(
    "event",
    [
        submitted(),
        returned("AGENCY-A"),
        examples.event(CaseStepCompleted, chain=("X", "Y")),
    ],
)
def test_a_repeat_is_the_same_assignment_even_much_later(event: Any) -> None:
    once = routed(event)
    again = routed(event, now=examples.NOW + timedelta(days=30))

    assert [e.id for e in once] == [e.id for e in again]
    assert once[0].id == derived_id(event.id, once[0].agency)
    assert once[0].id != once[1].id


def test_two_returns_by_the_same_agency_are_two_assignments() -> None:
    one, other = (
        routed(returned("RDEC", proposed="DOSW")),
        routed(returned("RDEC", proposed="DOSW")),
    )

    assert one[0].id != other[0].id


def test_a_case_returned_once_goes_to_triage_when_no_other_agency_fits() -> None:
    assigned, _ = routed(returned("AGENCY-A"))

    assert (assigned.agency, assigned.tried) == ("TRIAGE", ("AGENCY-A",))


def test_a_case_returned_once_goes_to_the_only_other_agency_that_fits() -> None:
    assigned, _ = routed(returned("ONE", service="SVC-C"))

    assert (assigned.agency, assigned.decision.rule) == ("TWO", "C.2")


def test_a_returned_case_keeps_its_limit_and_its_joint_reviews_where_a_rule_decides() -> None:
    assigned, _ = routed(returned("ONE", service="SVC-C"))

    assert limit_of(assigned) == (2, "month", (), "D-C")
    assert assigned.joint_review == BESIDE_BC


@pytest.mark.parametrize(
    "event",
    [
        returned("TRIAGE", "AGENCY-A", proposed="DOSW"),
        returned("AGENCY-A", "DOSW"),
        returned("AGENCY-A", step=2),
        examples.event(CaseStepCompleted, service="SVC-A", chain=("DOSW",)),
    ],
    ids=["by hand", "to the control unit", "a later agency", "the next step"],
)
def test_where_the_rules_do_not_place_a_case_its_limit_stays_and_nobody_reviews(
    event: Any,
) -> None:
    assigned, _ = routed(event)

    assert limit_of(assigned) == (5, "working_day", (), "D-A")
    assert (assigned.joint_review, assigned.decision.joint_review_rules) == ((), ())
    assert assigned.decision.facts["service"] == "SVC-A"


def test_an_agency_that_returned_a_case_does_not_get_it_back_by_rule() -> None:
    for first in ("ONE", "TWO"):
        assert routed(returned(first, service="SVC-C"))[0].agency != first


def test_a_case_returned_twice_goes_to_the_control_unit() -> None:
    assigned, told = routed(returned("TWO", "ONE", service="SVC-C"))

    assert assigned.agency == "RDEC"
    assert assigned.decision.outcome == told.decision.outcome == "control_unit"
    assert assigned.tried == told.tried == ("ONE", "TWO")


def test_triage_between_two_returns_counts_for_none() -> None:
    """ONE, triage, TWO: the second agency that returns it sends it to the control unit."""
    by_hand, _ = routed(returned("TRIAGE", "ONE", proposed="TWO"))
    assert by_hand.agency == "TWO"

    assert routed(returned("TWO", *by_hand.tried))[0].agency == "RDEC"


@pytest.mark.parametrize("unit", ["TRIAGE", "RDEC"])
def test_what_triage_or_the_control_unit_proposes_is_an_order(unit: str) -> None:
    assigned, _ = routed(returned(unit, "ONE", "TWO", proposed="DOSW"))

    assert (assigned.agency, assigned.responsible) == ("DOSW", "DOSW")
    assert assigned.decision.outcome == "manual"
    assert assigned.decision.facts["returned_by"] == unit


def test_what_an_agency_proposes_is_a_hint_and_no_order() -> None:
    assigned, _ = routed(returned("AGENCY-A", proposed="DOSW"))

    assert assigned.agency == "TRIAGE"


@pytest.mark.parametrize("unit", ["TRIAGE", "RDEC"])
def test_a_return_by_triage_without_a_proposal_goes_to_the_control_unit(unit: str) -> None:
    assert routed(returned(unit, "AGENCY-A"))[0].agency == "RDEC"


def test_a_completed_step_goes_to_the_next_agency_of_the_chain() -> None:
    event = examples.event(CaseStepCompleted, agency="DO-DA", step=2, chain=("DOSW", "LAST"))
    assigned, told = routed(event)

    assert (assigned.agency, assigned.step, assigned.chain) == ("DOSW", 3, ("LAST",))
    assert (assigned.tried, assigned.responsible) == ((), "DOSW")
    assert told.step == 3
    assert assigned.decision.outcome == "next_step"
    assert assigned.decision.facts == {"service": "SVC-001", "after": "DO-DA", "step": 2}


def test_a_completed_step_that_nobody_follows_is_the_end() -> None:
    event = examples.event(CaseStepCompleted, chain=())

    assert on_event(event, [release(RULES)], examples.NOW) is None


def test_a_later_agency_that_returns_the_case_does_not_send_it_to_the_first_one_again() -> None:
    event = returned("X", service="SVC-B", facts={"district": "大安區"}, step=2, chain=("Y",))
    assigned, _ = routed(event)

    assert assigned.agency == "TRIAGE"
    assert assigned.decision.candidates == ()


def test_who_stands_in_for_a_later_agency_of_a_chain_keeps_those_that_come_after_it() -> None:
    at_triage, _ = routed(returned("X", service="SVC-B", step=2, chain=("Y",)))
    order = returned("TRIAGE", "X", proposed="Z", step=at_triage.step, chain=at_triage.chain)
    by_hand, _ = routed(order)

    assert (by_hand.agency, by_hand.step, by_hand.chain) == ("Z", 2, ("Y",))


@pytest.mark.parametrize("model", [m for m in CASE_EVENTS.values() if m not in WANTED])
def test_nothing_follows_from_other_events(model: Any) -> None:
    assert on_event(examples.event(model), [release(RULES)], examples.NOW) is None


def _released(
    lead: str, effective_from: date, released_at: datetime = examples.NOW, **changes: Any
) -> Release:
    rules = rules_of(rule_row(lead=lead))
    return release(rules, effective_from=effective_from, released_at=released_at, **changes)


OLD = _released("OLD", date(2026, 1, 1))
NEW = _released("NEW", date(2026, 7, 1))


@pytest.mark.parametrize(
    ("received", "lead"),
    [
        (date(2026, 6, 30), "OLD"),
        (date(2026, 7, 1), "NEW"),
        (date(2027, 1, 1), "NEW"),
        (date(2025, 12, 31), "OLD"),  # before all releases: the earliest
    ],
)
def test_a_case_goes_by_the_rules_in_force_on_the_day_it_was_received(
    received: date, lead: str
) -> None:
    expected = {"OLD": OLD, "NEW": NEW}[lead]

    assert in_force([NEW, OLD], received) is in_force([OLD, NEW], received) is expected


def test_a_release_in_shadow_is_in_force_on_no_day() -> None:
    shadow = _released("SHADOW", date(2026, 7, 1), number=9, state="shadow")

    for day in (date(2025, 1, 1), date(2026, 6, 30), date(2027, 1, 1)):
        assert in_force([OLD, shadow], day) is OLD


def test_going_back_is_a_newer_release_of_the_same_rules() -> None:
    later = examples.NOW + timedelta(hours=1)
    back = release(OLD.rules, number=3, effective_from=NEW.effective_from, released_at=later)

    assert in_force([OLD, NEW, back], date(2026, 7, 1)) is back
    assert in_force([OLD, NEW, back], date(2026, 6, 30)) is OLD


def test_the_day_is_the_citys_and_not_the_servers() -> None:
    midnight = datetime(2026, 6, 30, 16, 0, tzinfo=UTC)  # 1 July in Taipei

    for received_at, agency in ((midnight, "NEW"), (midnight - timedelta(seconds=1), "OLD")):
        event = examples.event(ApplicationSubmitted, service="SVC-A", received_at=received_at)
        told = on_event(event, [OLD, NEW], examples.NOW)
        assert told is not None
        assert told[0].agency == agency


def test_a_return_goes_by_the_rules_of_the_day_of_receipt_too() -> None:
    event = returned("SOMEBODY", received_at=datetime(2026, 6, 1, tzinfo=UTC))
    told = on_event(event, [OLD, NEW], examples.NOW)

    assert told is not None
    assert told[0].agency == "OLD"


@pytest.mark.parametrize("leads", [("A", "B"), ("B", "A")])
def test_of_two_releases_for_the_same_day_the_later_release_is_in_force(
    leads: tuple[str, str],
) -> None:
    day = date(2026, 7, 1)
    first = _released(leads[0], day, examples.NOW)
    mended = _released(leads[1], day, examples.NOW + timedelta(minutes=1))

    for known in ([first, mended], [mended, first]):
        assert in_force(known, day) is mended


def test_a_case_that_everybody_returns_is_never_lost_and_ends_at_the_control_unit() -> None:
    """Every agency gives the case back, whoever it is: two agencies see it, then people."""
    assigned, _ = routed(submitted("SVC-C"))
    way = [assigned.agency]
    propose: Callable[[str], str | None] = {"TRIAGE": "ONE"}.get
    for _ in range(4):
        event = returned(
            assigned.agency, *assigned.tried, service="SVC-C", proposed=propose(assigned.agency)
        )
        assigned, _ = routed(event)
        way.append(assigned.agency)

    assert way == ["TRIAGE", "ONE", "TWO", "RDEC", "RDEC"]
