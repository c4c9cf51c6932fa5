"""Which releases the router takes, which it refuses, and what those in shadow say beside it."""

import threading
from datetime import date, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.router import worker
from services.router.rules import verify
from services.router.worker import Releases, transform
from shared.contract.events import (
    ApplicationSubmitted,
    CaseReturned,
    CaseStepCompleted,
    DecisionShadowed,
    derived_id,
)
from shared.contract.wire import Record, encode
from shared.runtime.settings import Settings
from tests import examples
from tests.examples import NOW, deadline_row, document, event, released, review_row, rule_row

A = document(rule_row())
B = document(rule_row(id="B", lead="AGENCY-B"))
NO_SUCH_AGENCY = document(rule_row(lead="NO-SUCH"))
WITH_A_GAP = document(rule_row(district="大安區"))


def releases_of() -> Releases:
    return Releases(Settings(kafka="none:9092"))


async def take(releases: Releases, tables: Any, **changes: Any) -> list[Any]:
    """Give the router a release; what it logged."""
    with capture_logs() as logs:
        out = encode("rules.releases", released(tables, **changes))
        await releases.take(examples.record(out))
    return list(logs)


async def test_a_shadow_that_could_not_tell_is_refused_and_holds_nothing_up() -> None:
    releases = await knowing(A)
    out = encode("rules.releases", released(B, release=2, state="shadow"))
    await releases.take(examples.record(out), can_tell=False)
    assert [one.state for one in releases.known] == ["live"]


async def knowing(*tables: Any) -> Releases:
    """A router that has taken these, one release each."""
    found = releases_of()
    for number, one in enumerate(tables, start=1):
        await take(found, one, release=number, time=NOW + timedelta(minutes=number))
    return found


def submitted(**changes: Any) -> Any:
    return event(ApplicationSubmitted, service="SVC-A", **changes)


def sent(releases: Releases, told: Any) -> list[Any]:
    """What follows from an event, by topic and as it was read back."""
    out = transform(releases, examples.record_of(told, "applications.events"))
    return [(one.topic, examples.read_back(one)) for one in out]


def agency(releases: Releases, told: Any = None) -> str:
    return str(sent(releases, told or submitted())[0][1].agency)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"casebus_{name}_total", labels) or 0.0


# --- taking releases


async def test_a_release_decides_as_soon_as_it_is_taken() -> None:
    releases = releases_of()
    assert not releases.any_live

    await take(releases, A)
    assert (releases.any_live, agency(releases)) == (True, "AGENCY-A")
    await take(releases, B, release=2, time=NOW + timedelta(minutes=1))
    assert agency(releases) == "AGENCY-B"


async def test_a_release_for_a_later_day_decides_the_cases_received_from_then_on() -> None:
    releases = await knowing(A)
    await take(releases, B, release=2, effective_from=date(2026, 12, 1))

    assert agency(releases, submitted(received_at=NOW)) == "AGENCY-A"
    assert agency(releases, submitted(received_at=NOW + timedelta(days=7))) == "AGENCY-B"


async def test_an_old_version_in_a_newer_release_takes_the_city_back() -> None:
    releases = await knowing(A, B, A)

    assert agency(releases) == "AGENCY-A"
    assert len(releases.known) == 3


async def test_the_same_content_is_built_and_verified_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verified: list[str] = []

    def counting(rules: Any, names: Any, **options: Any) -> Any:
        verified.append(rules.version)
        return verify(rules, names, **options)

    monkeypatch.setattr(worker, "verify", counting)
    releases = await knowing(A, B, A, A)

    assert verified == [examples.version(A), examples.version(B)]
    assert len({id(one.rules) for one in releases.known}) == 2


async def test_a_release_is_verified_beside_the_streams_and_not_among_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[threading.Thread] = []

    def watching(rules: Any, names: Any, **options: Any) -> Any:
        threads.append(threading.current_thread())
        return verify(rules, names, **options)

    monkeypatch.setattr(worker, "verify", watching)
    await knowing(A)

    assert threads != [threading.main_thread()]


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no such agency": (NO_SUCH_AGENCY, {}, "R201"),
    "a gap": (WITH_A_GAP, {}, "R101"),
    "in shadow, with a gap": (WITH_A_GAP, {"state": "shadow"}, "R101"),
    "no document": ({}, {}, "T004"),
    "a cell that is no condition": (document(rule_row(district="not(")), {}, "T009"),
    "another version than it says": (B, {"version": "0123456789ab"}, "rules.broken"),
    "another rule set than it says": (B, {"ruleset": "another"}, "rules.broken"),
}


@pytest.mark.parametrize(("tables", "changes", "code"), REFUSED.values(), ids=REFUSED)
async def test_a_release_that_would_mislead_cases_is_refused_and_the_last_good_one_stays(
    tables: Any, changes: dict[str, Any], code: str
) -> None:
    releases = await knowing(A)
    before = counted("releases", state="refused")

    (said,) = await take(releases, tables, release=2, **changes)

    assert (said["event"], said["code"]) == ("router.release_refused", code)
    assert said["error"]
    assert agency(releases) == "AGENCY-A"
    assert len(releases.known) == 1
    assert counted("releases", state="refused") == before + 1


async def test_of_what_was_found_the_first_is_told_in_the_log() -> None:
    (said,) = await take(releases_of(), NO_SUCH_AGENCY)

    assert "NO-SUCH" in said["error"]


async def test_a_record_that_is_no_release_is_refused() -> None:
    releases = await knowing(A)
    sound = examples.record(encode("rules.releases", released(B)))

    for value in (b"not json", b"{}", None):
        with capture_logs() as logs:
            await releases.take(_with_value(sound, value))
        assert logs[0]["event"] == "router.release_refused"
    assert agency(releases) == "AGENCY-A"


def _with_value(record: Record, value: bytes | None) -> Record:
    return Record(record.topic, 0, 0, 0, record.key, record.headers, value)


async def test_what_nobody_foresaw_in_a_release_stops_no_router(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(rules: Any, names: Any) -> Any:
        raise RecursionError

    releases = await knowing(A)
    monkeypatch.setattr(worker, "verify", failing)
    (said,) = await take(releases, B, release=2)

    assert said["code"] == "rules.broken"
    assert agency(releases) == "AGENCY-A"


# --- in shadow


async def test_a_release_in_shadow_decides_nothing() -> None:
    releases = releases_of()
    await take(releases, B, release=1, state="shadow")
    assert not releases.any_live

    await take(releases, A, release=2)
    assert agency(releases) == "AGENCY-A"


async def test_what_a_release_in_shadow_would_have_decided_is_told_beside_the_decision() -> None:
    releases = await knowing(A)
    await take(releases, B, release=2, state="shadow")
    told = submitted()
    same, different = (counted("shadow_decisions", release="2", outcome=o) for o in OUTCOMES)

    (_, assigned), (_, routed), (topic, shadowed) = sent(releases, told)

    assert topic == "rules.shadow"
    assert (assigned.agency, routed.agency) == ("AGENCY-A", "AGENCY-A")
    assert shadowed == DecisionShadowed(
        id=derived_id(told.id, "shadow:2"),
        source="router",
        time=shadowed.time,
        case_id=told.case_id,
        number=told.number,
        service="SVC-A",
        release=2,
        version=examples.version(B),
        live_version=examples.version(A),
        agency="AGENCY-B",
        rule="B",
        live_agency="AGENCY-A",
        live_rule="A",
        differs=("lead",),
    )
    assert counted("shadow_decisions", release="2", outcome="same") == same
    assert counted("shadow_decisions", release="2", outcome="different") == different + 1


OUTCOMES = ("same", "different")
BESIDE = [review_row(), review_row(id="R-2", agency="AGENCY-C")]


@pytest.mark.parametrize(
    ("tables", "differs"),
    [
        (document(rule_row(id="another", basis="for another reason")), ()),
        (document(rule_row(chain="AGENCY-B")), ("lead",)),
        (document(rule_row(responsible="AGENCY-B")), ("lead",)),
        (document(rule_row(), reviews=BESIDE), ("joint_review",)),
        (document(rule_row(), deadline=[deadline_row()]), ("deadline",)),
        (
            document(rule_row(lead="AGENCY-C"), deadline=[deadline_row()], reviews=BESIDE[:1]),
            ("lead", "joint_review", "deadline"),
        ),
    ],
)
async def test_the_tables_that_differ_for_a_case_are_named(
    tables: Any, differs: tuple[str, ...]
) -> None:
    releases = await knowing(A)
    await take(releases, tables, release=2, state="shadow")

    assert sent(releases, submitted())[2][1].differs == differs


async def test_the_order_in_which_agencies_review_is_no_difference() -> None:
    releases = await knowing(document(rule_row(), reviews=BESIDE))
    tables = document(rule_row(), reviews=BESIDE[::-1])
    await take(releases, tables, release=2, state="shadow")

    assert sent(releases, submitted())[2][1].differs == ()


async def test_every_release_in_shadow_is_heard_and_only_for_applications() -> None:
    releases = await knowing(A)
    await take(releases, B, release=2, state="shadow")
    await take(releases, A, release=3, state="shadow")

    heard = [one.release for _, one in sent(releases, submitted())[2:]]
    assert heard == [2, 3]
    for other in (CaseReturned, CaseStepCompleted):
        out = transform(releases, examples.record_of(event(other, service="SVC-A")))
        assert [one.topic for one in out][1:] == ["cases.events"]


async def test_a_release_of_another_rule_set_is_no_shadow_of_this_one() -> None:
    releases = await knowing(A)
    other = {**B, "ruleset": "another"}
    await take(releases, other, release=1, ruleset="another", state="shadow")

    assert len(releases.known) == 2
    assert len(sent(releases, submitted())) == 2


async def test_a_fact_that_only_the_shadow_cannot_take_is_its_own_triage() -> None:
    releases = await knowing(A)
    sides = [
        rule_row(id="N", side_of_aiguo="north; missing"),
        rule_row(id="S", side_of_aiguo="south"),
    ]
    await take(releases, document(*sides), release=2, state="shadow")

    told = sent(releases, submitted(facts={"side_of_aiguo": 7}))

    assert told[0][1].agency == "AGENCY-A"
    assert (told[2][1].agency, told[2][1].rule) == ("TRIAGE", None)
    assert told[2][1].differs == ("lead",)


async def test_a_shadow_that_fails_touches_no_case(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> Any:
        raise ZeroDivisionError

    releases = await knowing(A)
    await take(releases, B, release=2, state="shadow")
    monkeypatch.setattr(worker, "decide_in_shadow", failing)
    before = counted("shadow_decisions", release="2", outcome="failed")

    with capture_logs() as logs:
        told = sent(releases, submitted())

    assert [topic for topic, _ in told] == ["agency.AGENCY-A.cases", "cases.events"]
    assert [one["event"] for one in logs] == ["router.shadow_failed"]
    assert counted("shadow_decisions", release="2", outcome="failed") == before + 1


async def test_a_withdrawn_shadow_is_heard_no_more() -> None:
    releases = await knowing(A)
    await take(releases, B, release=2, state="shadow")
    await take(releases, B, release=2, state="withdrawn")

    assert len(sent(releases, submitted())) == 2
    assert len(releases.known) == 1


async def test_a_shadow_that_goes_live_decides_and_is_no_shadow_any_more() -> None:
    releases = await knowing(A)
    await take(releases, B, release=2, state="shadow")
    await take(releases, B, release=2, time=NOW + timedelta(minutes=1))

    assert agency(releases) == "AGENCY-B"
    assert len(sent(releases, submitted())) == 2


@pytest.mark.parametrize("state", ["withdrawn", "shadow"])
async def test_the_only_live_release_is_not_taken_away(state: str) -> None:
    releases = await knowing(A)

    (said,) = await take(releases, A, release=1, state=state)

    assert said["event"] == "router.release_refused"
    assert agency(releases) == "AGENCY-A"


# --- what is told of a wrong fact


async def test_a_fact_of_the_wrong_type_is_logged_and_counted() -> None:
    sides = [
        rule_row(id="N", side_of_aiguo="north; missing"),
        rule_row(id="S", side_of_aiguo="south"),
    ]
    releases = await knowing(document(*sides))
    before = counted("facts_refused")

    with capture_logs() as logs:
        told = sent(releases, submitted(facts={"side_of_aiguo": True}))

    assert told[0][1].agency == "TRIAGE"
    (said,) = logs
    assert (said["event"], said["log_level"]) == ("router.fact_refused", "warning")
    assert said["case_id"] == str(examples.CASE)
    assert said["problem"] == told[0][1].decision.problem
    assert counted("facts_refused") == before + 1
