"""A candidate over the past: what is compared, what is counted, and going on after an end."""

import asyncio
import csv
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from casebus.commands.replay import replay
from casebus.replay.counting import Counting, Move
from casebus.replay.journal import COLUMNS, BusyError, ForeignTableError, Journal
from casebus.replay.past import NO_RELEASE, OLD_FORM, PastRules
from casebus.replay.totals import Totals
from casebus.replay.way import Way
from casebus.replay.work import Work
from deploy.own_rules import RULES
from services.router.domain import decide
from services.router.rules import RuleSet, from_document, load
from shared.contract.events import CaseReturned, CaseRouted, CaseStepCompleted
from tests.examples import document, event, release, released, rule_row
from tests.histories import (
    AFTER,
    BEFORE,
    ROUTERS,
    A,
    Past,
    decided,
    live,
    made_up,
    submitted,
)

SINCE = date(2026, 11, 24)
KEY = {"ruleset": "lead", "version": "v", "since": str(SINCE)}


def rules(tables: Any) -> RuleSet:
    return from_document(tables, ROUTERS)


def counting(tables: Any = AFTER, *past: Any, since: date = SINCE) -> Counting:
    documents = past or (BEFORE,)
    releases = [released(one, release=n) for n, one in enumerate(documents, start=1)]
    found = Counting(rules(tables), PastRules(releases), since)
    found.begin()
    return found


def replayed(one: Any, tables: Any = AFTER, before: Any = BEFORE) -> tuple[Move | None, Totals]:
    """An application that was decided by `before`, over `tables`."""
    work = counting(tables, before)
    work.decided(decided(one, live(before))[1])
    return work.submitted(one), work.totals


def assumed(tables: Any, *rows: list[str]) -> Any:
    columns = ["id", "service", "district", "side_of_aiguo"]
    assume = {"columns": columns, "rows": [list(row) for row in rows]}
    return tables | {"tables": tables["tables"] | {"assume": assume}}


def test_a_case_that_the_candidate_sends_to_the_same_agency_is_the_same_whatever_the_rule() -> None:
    move, totals = replayed(submitted(), document(rule_row(id="ANOTHER")))
    assert move is None
    assert (totals.applications, totals.same, totals.elsewhere) == (1, 1, 0)


def test_a_case_that_moves_is_told_with_both_agencies_and_both_rules() -> None:
    one = submitted({"district": "中正區"})
    move, totals = replayed(one)
    assert move == Move(
        number=one.number,
        case_id=str(one.case_id),
        service="SVC-A",
        received_on=SINCE,
        from_agency="AGENCY-A",
        to_agency="AGENCY-B",
        from_rule="A",
        to_rule="B",
        from_version=rules(BEFORE).version,
        outcome="moved",
    )
    (row,) = totals.to_json()["moves"]
    assert row == {
        "service": "SVC-A",
        "from": "AGENCY-A",
        "to": "AGENCY-B",
        "cases": 1,
        "example": one.number,
    }
    assert (totals.moved, totals.elsewhere) == (1, 1)


@pytest.mark.parametrize(
    "candidate",
    [document(rule_row(service="SVC-B")), document(A, rule_row(id="TIE"))],
    ids=["no row matches", "several match"],
)
def test_a_case_that_no_row_of_the_candidate_decides_is_newly_at_triage(candidate: Any) -> None:
    move, totals = replayed(submitted(), candidate)
    assert move is not None
    assert (move.to_agency, move.to_rule, move.outcome) == ("TRIAGE", None, "to_triage")
    assert (totals.to_triage, totals.moved) == (1, 0)


def test_a_case_that_was_at_triage_and_would_not_be_is_no_longer_there() -> None:
    move, totals = replayed(submitted(), BEFORE, document(rule_row(service="SVC-B")))
    assert move is not None
    assert (move.from_agency, move.from_rule, move.outcome) == ("TRIAGE", None, "from_triage")
    assert (totals.from_triage, totals.elsewhere) == (1, 1)


def test_a_case_at_triage_then_and_now_is_the_same() -> None:
    neither = document(rule_row(service="SVC-B"))
    move, totals = replayed(submitted(), neither, neither)
    assert (move, totals.same) == (None, 1)


def test_only_the_first_decision_is_compared_and_not_the_one_after_a_return() -> None:
    one = submitted()
    back = event(
        CaseReturned,
        case_id=one.case_id,
        service=one.service,
        facts=one.facts,
        agency="AGENCY-A",
        tried=("AGENCY-A",),
    )
    work = counting(BEFORE)
    work.decided(decided(one)[1])
    work.decided(decided(back)[1])
    assert work.submitted(one) is None
    assert (work.totals.same, work.totals.elsewhere) == (1, 0)


def test_an_application_without_a_decision_is_not_routed_yet() -> None:
    work = counting()
    assert work.submitted(submitted({"district": "中正區"})) is None
    assert (work.totals.applications, work.totals.not_routed, work.totals.elsewhere) == (1, 1, 0)


def test_a_new_partition_knows_nothing_of_the_decisions_of_another() -> None:
    one = submitted()
    work = counting()
    work.decided(decided(one)[1])
    work.begin()
    work.submitted(one)
    assert work.totals.not_routed == 1


@pytest.mark.parametrize(
    ("received_at", "counted"),
    [
        (datetime(2026, 11, 23, 15, 59, 59, tzinfo=UTC), 0),
        (datetime(2026, 11, 23, 16, 0, tzinfo=UTC), 1),
    ],
    ids=["the day before in Taipei", "the day in Taipei"],
)
def test_applications_count_from_the_day_of_receipt_in_taipei_on(
    received_at: datetime, counted: int
) -> None:
    one = submitted(received_at=received_at)
    work = counting()
    work.decided(decided(one)[1])
    work.submitted(one)
    assert work.totals.applications == counted


def test_what_is_there_twice_is_counted_once() -> None:
    one = submitted({"district": "中正區"})
    routed = decided(one)[1]
    work = counting()
    work.decided(routed)
    work.decided(routed)
    assert work.submitted(one) is not None
    assert work.submitted(one) is None
    totals = work.totals
    assert (totals.applications, totals.decisions, totals.repeated) == (1, 1, 2)

    work.begin()
    work.submitted(submitted(id=one.id))
    work.submitted(submitted(id=one.id))
    assert (totals.not_routed, totals.repeated) == (1, 3)


@pytest.mark.parametrize("district", ["仙境區", 7, True])
def test_a_fact_that_the_candidate_refuses_is_counted_by_its_input_and_goes_to_triage(
    district: Any,
) -> None:
    one = submitted({"district": district})
    move, totals = replayed(one)
    assert move is not None
    assert move.outcome == "to_triage"
    assert totals.to_json()["refused"] == [{"input": "district", "cases": 1, "example": one.number}]


@pytest.mark.parametrize("service", ["SVC-A", "SVC-B", "SVC-NEW"])
@pytest.mark.parametrize("district", ["大安區", "中正區", None, "仙境區", 7])
def test_the_candidate_decides_as_the_router_would_by_it(service: str, district: Any) -> None:
    one = submitted({"district": district, "service": "of an answer"}, service=service)
    other = document(rule_row(service="SVC-X"))
    move, totals = replayed(one, AFTER, other)
    expected = decide(rules(AFTER), service, one.facts)
    told = (move.to_agency, move.to_rule) if move else ("TRIAGE", None)
    assert told == (expected.agency, expected.decision.rule)
    assert bool(totals.refused) == bool(expected.decision.problem)


def test_an_assumption_that_a_case_breaks_is_counted_by_its_row_with_the_first_case() -> None:
    candidate = assumed(
        BEFORE,
        ["NEVER-MISSING", "-", "missing", "-"],
        ["ONLY-B", "SVC-B", "missing", "-"],
        ["NO-SIDE", "SVC-A", "not(中正區)", "present"],
    )
    work = counting(candidate)
    for number, facts in (
        ("1", {"district": "大安區"}),
        ("2", {"district": None}),
        ("3", {}),
        ("4", {"district": "大安區", "side_of_aiguo": "north"}),
        ("5", {"district": "中正區", "side_of_aiguo": "north"}),
        ("6", {"district": "大安區", "side_of_aiguo": "nowhere"}),
        ("7", {"district": "仙境區", "side_of_aiguo": "north"}),
    ):
        work.submitted(submitted(facts, number=number))
    assert work.totals.to_json()["assumptions"] == [
        {"row": "NEVER-MISSING", "cases": 2, "example": "2"},
        {"row": "NO-SIDE", "cases": 1, "example": "4"},
    ]


def test_what_was_counted_before_is_only_remembered() -> None:
    one, two = submitted({"district": "中正區"}), submitted({"district": "中正區"})
    work = counting()
    work.decided(decided(one)[1], again=True)
    work.decided(decided(two)[1], again=True)
    assert work.submitted(one, again=True) is None
    assert work.submitted(one) is None
    assert work.submitted(two) is not None
    totals = work.totals
    assert (totals.applications, totals.decisions, totals.repeated) == (1, 0, 1)


def test_totals_are_read_back_from_json_as_they_were(tmp_path: Path) -> None:
    async def all_of_it() -> Totals:
        return await Work(rules(AFTER), SINCE).run(
            made_up(1, 300), Journal(None, tmp_path / "unused", KEY), ignore, ignore, restart=True
        )

    totals = asyncio.run(all_of_it())
    said = totals.to_json()
    assert Totals.from_json(json.loads(json.dumps(said))) == totals
    assert min(totals.moved, totals.to_triage, totals.not_routed, totals.repeated) > 0
    parts = (totals.same, totals.elsewhere, totals.not_routed)
    assert sum(parts) == totals.applications
    assert sum(row["cases"] for row in said["moves"]) == totals.elsewhere
    assert totals.reproduced == totals.decisions > totals.applications


CHAIN = document(rule_row(chain="AGENCY-B;AGENCY-C"))
TIE = document(A, rule_row(id="TIE"))
EVENTS = {
    "by a rule": (submitted(), BEFORE),
    "with a chain": (submitted(), CHAIN),
    "no row matches": (submitted(service="SVC-B"), BEFORE),
    "several match": (submitted(), TIE),
    "a fact is refused": (submitted({"district": 7}), AFTER),
    "a name is refused": (submitted({"district": "仙境區"}), AFTER),
    "after a return": (event(CaseReturned, service="SVC-A", agency="AGENCY-A"), BEFORE),
    "by the control unit": (
        event(CaseReturned, service="SVC-A", agency="AGENCY-B", tried=("AGENCY-A", "AGENCY-B")),
        BEFORE,
    ),
    "by hand": (
        event(CaseReturned, service="SVC-A", agency="TRIAGE", proposed="AGENCY-C"),
        BEFORE,
    ),
    "returned in the midst of a chain": (
        event(CaseReturned, service="SVC-A", agency="AGENCY-B", step=2, chain=("AGENCY-C",)),
        CHAIN,
    ),
    "the next step of a chain": (
        event(CaseStepCompleted, service="SVC-A", agency="AGENCY-A", chain=("AGENCY-B",)),
        CHAIN,
    ),
    "the next step, with a fact that is refused": (
        event(
            CaseStepCompleted,
            service="SVC-A",
            agency="AGENCY-A",
            chain=("AGENCY-B",),
            facts={"district": 7},
        ),
        AFTER,
    ),
}


@pytest.mark.parametrize(("asked", "tables"), EVENTS.values(), ids=EVENTS)
def test_every_kind_of_decision_is_reproduced_by_the_rules_that_took_it(
    asked: Any, tables: Any
) -> None:
    work = counting(AFTER, tables)
    work.decided(decided(asked, live(tables))[1])
    assert (work.totals.decisions, work.totals.reproduced) == (1, 1)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"rule": "OTHER"}, ["rule"]),
        ({"candidates": ("A", "B")}, ["candidates"]),
        ({"deadline_rule": "D"}, ["deadline_rule"]),
        ({"joint_review_rules": ("R",)}, ["joint_review_rules"]),
    ],
)
def test_a_decision_that_comes_out_differently_is_told_with_what_differs(
    change: dict[str, Any], differs: list[str]
) -> None:
    routed = decided(submitted())[1]
    work = counting()
    work.decided(routed.model_copy(update={"decision": routed.decision.model_copy(update=change)}))
    totals = work.totals
    assert (totals.reproduced, totals.different) == (0, 1)
    assert [one["differs"] for one in totals.differences] == [differs]


def test_another_agency_by_the_same_rule_is_a_difference() -> None:
    work = counting()
    work.decided(decided(submitted())[1].model_copy(update={"agency": "AGENCY-C"}))
    (one,) = work.totals.differences
    assert (one["recorded"]["agency"], one["now"]["agency"]) == ("AGENCY-C", "AGENCY-A")


def not_reproducible(routed: CaseRouted, *past: Any) -> dict[str, int]:
    work = counting(AFTER, *past)
    work.decided(routed)
    assert (work.totals.decisions, work.totals.different) == (1, 0)
    return work.totals.not_reproducible


def test_a_decision_by_a_version_that_is_not_on_the_topic_is_counted_apart() -> None:
    assert not_reproducible(decided(submitted(), live(AFTER))[1], BEFORE) == {NO_RELEASE: 1}


def test_a_version_that_was_only_in_shadow_decided_nothing() -> None:
    work = Counting(rules(AFTER), PastRules([released(AFTER, state="shadow")]), SINCE)
    work.decided(decided(submitted(), live(AFTER))[1])
    assert work.totals.not_reproducible == {NO_RELEASE: 1}


@pytest.mark.parametrize("tables", [{"rows": []}, AFTER], ids=["another form", "other tables"])
def test_a_version_whose_tables_cannot_be_read_or_are_others_is_counted_apart(tables: Any) -> None:
    release = released(tables, version=rules(BEFORE).version)
    work = Counting(rules(AFTER), PastRules([release]), SINCE)
    work.decided(decided(submitted())[1])
    assert work.totals.not_reproducible == {OLD_FORM: 1}


def test_a_name_that_the_catalogue_no_longer_has_is_taken_again_as_then() -> None:
    then = document(rule_row(district="present"))
    names = replace(ROUTERS, districts=frozenset({"舊區"}))
    past = release(from_document(then, names))
    work = Counting(rules(AFTER), PastRules([released(then, names=names.to_json())]), SINCE)
    work.decided(decided(submitted({"district": "舊區"}), past)[1])
    assert (work.totals.reproduced, work.totals.not_reproducible) == (1, {})


def test_decisions_of_days_before_are_not_taken_again() -> None:
    work = counting(since=date(2026, 11, 25))
    work.decided(decided(submitted())[1])
    assert work.totals.decisions == 0


def ignore(way: Way, totals: Totals) -> None:
    """Nobody listens."""


class Replays:
    """Replays of the same candidate, one after the other, with files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.table = folder / "moves.csv"
        self.state = folder / "moves.csv.state"
        self.said: list[int] = []
        self.way: Way | None = None

    def run(self, past: Past, restart: bool = False, save_every: int = 10) -> Totals:
        journal = Journal(self.table, self.state, KEY)
        work = Work(rules(AFTER), SINCE, save_every)

        def resumed(way: Way, totals: Totals) -> None:
            self.said.append(totals.applications)

        def told(way: Way, totals: Totals) -> None:
            self.way = way

        try:
            return asyncio.run(work.run(past, journal, resumed, told, restart=restart))
        finally:
            journal.close()

    def whole(self, past: Past) -> tuple[Totals, bytes]:
        return self.run(past, restart=True), self.table.read_bytes()


def test_the_csv_has_one_line_for_each_case_that_moves(tmp_path: Path) -> None:
    totals, table = Replays(tmp_path).whole(made_up(2, 200))
    lines = list(csv.DictReader(table.decode().splitlines()))
    assert tuple(lines[0]) == COLUMNS
    assert len(lines) == totals.elsewhere > 20
    assert {line["outcome"] for line in lines} == {"moved", "to_triage"}
    assert len({line["case_id"] for line in lines}) == len(lines)


@pytest.mark.parametrize(
    "ending", [asyncio.CancelledError, RuntimeError], ids=["interrupted", "killed"]
)
def test_after_an_end_at_any_batch_the_result_is_that_of_a_replay_without(
    tmp_path: Path, ending: type[BaseException]
) -> None:
    past = made_up(3, 60)
    replays = Replays(tmp_path)
    expected = replays.whole(past)
    total = past.batches
    for ends_at in range(1, total + 1):
        past.batches, past.ends_at, past.ending = 0, ends_at, ending
        with pytest.raises(ending):
            replays.run(past)
        past.ends_at = None
        assert (replays.run(past), replays.table.read_bytes()) == expected
        assert not replays.state.exists()
    # Who is killed within the first ten records, four batches, has saved nothing yet.
    saved = total if ending is asyncio.CancelledError else total - 4
    assert len(replays.said) == saved


def test_a_replay_that_ends_again_and_again_comes_to_the_same(tmp_path: Path) -> None:
    past = made_up(4, 80, partitions=8)
    replays = Replays(tmp_path)
    expected = replays.whole(past)
    past.ending = asyncio.CancelledError
    for ends_at in (9, 10, 11, 12, 15, 20, 25):
        past.batches, past.ends_at = 0, ends_at
        with pytest.raises(asyncio.CancelledError):
            replays.run(past, save_every=3)
    past.ends_at = None
    assert (replays.run(past), replays.table.read_bytes()) == expected
    assert replays.said == sorted(replays.said) and replays.said[-1] > 20


def interrupted(replays: Replays, past: Past, ends_at: int = 20) -> None:
    past.batches, past.ends_at, past.ending = 0, ends_at, asyncio.CancelledError
    with pytest.raises(asyncio.CancelledError):
        replays.run(past)
    past.batches, past.ends_at = 0, None


def test_what_came_after_the_beginning_is_left_out_until_a_restart(tmp_path: Path) -> None:
    replays = Replays(tmp_path)
    expected = replays.whole(made_up(5, 60))
    interrupted(replays, made_up(5, 60))
    more = made_up(5, 90)
    assert (replays.run(more), replays.table.read_bytes()) == expected
    interrupted(replays, made_up(5, 60))
    assert replays.run(more, restart=True).applications > expected[0].applications


@pytest.mark.parametrize("spoilt", ["cluster", "csv", "state", "key"])
def test_a_state_that_does_not_fit_is_not_gone_on_from(tmp_path: Path, spoilt: str) -> None:
    past = made_up(6, 60)
    replays = Replays(tmp_path)
    expected = replays.whole(past)
    interrupted(replays, past)
    match spoilt:
        case "cluster":
            past.cluster = "another"
        case "csv":
            replays.table.write_bytes(replays.table.read_bytes()[:40])
        case "state":
            replays.state.write_text(replays.state.read_text()[:-10])
        case "key":
            replays.state.write_text(replays.state.read_text().replace(str(SINCE), "2026-01-01"))
    assert (replays.run(past), replays.table.read_bytes()) == expected
    assert replays.said == []


def test_an_old_state_does_not_outlive_the_beginning_of_another_replay(tmp_path: Path) -> None:
    past = made_up(7, 60)
    replays = Replays(tmp_path)
    interrupted(replays, past)
    past.ends_at, past.ending = 1, RuntimeError
    with pytest.raises(RuntimeError):
        replays.run(past, restart=True)
    assert not replays.state.exists()


def test_two_replays_do_not_write_the_same_csv(tmp_path: Path) -> None:
    replays = Replays(tmp_path)
    first = Journal(replays.table, replays.state, KEY)
    first.begin()
    with pytest.raises(BusyError):
        replays.run(made_up(8, 5))
    first.close()
    replays.run(made_up(8, 5))


@pytest.mark.parametrize("with_csv", [True, False], ids=["with a CSV", "without"])
@pytest.mark.parametrize("restart", [True, False], ids=["anew", "going on"])
def test_a_second_replay_neither_takes_nor_goes_on_from_the_state_of_a_running_one(
    tmp_path: Path, with_csv: bool, restart: bool
) -> None:
    table = tmp_path / "moves.csv" if with_csv else None
    state = tmp_path / "moves.state"
    first, second = Journal(table, state, KEY), Journal(table, state, KEY)
    first.begin()
    first.save(Way("cluster", []), Totals())
    before = state.read_bytes()
    with pytest.raises(BusyError):
        second.begin() if restart else second.resumed("cluster")
    second.close()
    assert state.read_bytes() == before
    with pytest.raises(BusyError):
        second.begin()
    first.close()
    assert second.resumed("cluster") is not None
    second.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["moves.csv"] * with_csv


def test_a_lock_that_a_killed_replay_left_behind_stops_nobody(tmp_path: Path) -> None:
    replays = Replays(tmp_path)
    replays.state.with_name("moves.csv.state.lock").touch()
    replays.run(made_up(8, 5))


FOREIGN = {
    "a table of rules": b"id,service,lead\nA,SVC-A,AGENCY-A\n",
    "one long line": b"x" * 10_000,
    "not UTF-8": "中正區".encode("big5"),
    "a blank line": b"\n",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_no_csv_of_a_replay_is_not_overwritten(
    tmp_path: Path, content: bytes
) -> None:
    replays = Replays(tmp_path)
    past = made_up(8, 60)
    replays.table.write_bytes(content)
    with pytest.raises(ForeignTableError):
        replays.run(past, restart=True)
    assert [path.name for path in tmp_path.iterdir()] == ["moves.csv"]

    replays.table.unlink()
    interrupted(replays, past)
    replays.table.write_bytes(content * 1_000)
    with pytest.raises(ForeignTableError):
        replays.run(past)
    assert replays.table.read_bytes() == content * 1_000
    assert replays.state.exists()


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["as it was", "saved by a spreadsheet"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r\n1,2\r\n"])
def test_a_csv_of_an_earlier_replay_is_overwritten(tmp_path: Path, mark: str, end: str) -> None:
    replays = Replays(tmp_path)
    expected = replays.whole(made_up(8, 5))
    replays.table.write_bytes((mark + ",".join(COLUMNS) + end).encode())
    assert replays.whole(made_up(8, 5)) == expected


def test_the_command_refuses_a_foreign_csv_in_one_sentence_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "lead.csv"
    table.write_text("id,service,lead\n")
    with pytest.raises(SystemExit) as ended:
        replay(RULES, datetime(2026, 11, 24, tzinfo=UTC), csv=table)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"casebus: {table} is there and does not begin as a CSV of moved cases, so it is not "
        "overwritten; name another file with --csv, or take it away\n"
    )
    assert table.read_text() == "id,service,lead\n"
    assert list(tmp_path.iterdir()) == [table]


def test_the_command_says_which_replay_it_waits_for_also_without_a_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = f"replay-{load(RULES).version}-2026-11-24.state"
    running = Journal(None, tmp_path / state, KEY)
    running.begin()
    with pytest.raises(SystemExit) as ended:
        replay(RULES, datetime(2026, 11, 24, tzinfo=UTC), no_csv=True)
    running.close()
    assert ended.value.code == 2
    assert f"another replay writes {state}; wait for it" in capsys.readouterr().err


def test_without_a_csv_a_replay_goes_on_as_well(tmp_path: Path) -> None:
    past = made_up(9, 60)
    replays = Replays(tmp_path)
    expected, _ = replays.whole(past)
    state = tmp_path / "no.state"

    def run() -> Totals:
        journal = Journal(None, state, KEY)
        work = Work(rules(AFTER), SINCE, 10)
        try:
            return asyncio.run(work.run(past, journal, ignore, ignore, restart=False))
        finally:
            journal.close()

    past.batches, past.ends_at, past.ending = 0, 20, RuntimeError
    with pytest.raises(RuntimeError):
        run()
    past.ends_at = None
    assert state.exists()
    assert run() == expected


def test_the_way_counts_up_to_its_end(tmp_path: Path) -> None:
    replays = Replays(tmp_path)
    replays.run(made_up(10, 60))
    assert replays.way is not None
    assert replays.way.done == replays.way.records


def test_nothing_of_a_citizen_is_in_what_a_replay_writes(tmp_path: Path) -> None:
    past = made_up(11, 60)
    replays = Replays(tmp_path)
    interrupted(replays, past, ends_at=40)
    written = replays.table.read_text() + replays.state.read_text()
    assert "20261124-" in written
    assert "c2VhbGVk" not in written
