"""A release of rules on its way: which one decides, from when, and who counts as another person."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from services.console.domain import (
    Move,
    Release,
    ReleaseError,
    day_at_approval,
    first_day,
    in_force,
    person,
    remark,
    same_person,
)
from services.console.shadow import summary

TODAY = date(2026, 11, 24)
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def live(number: int, day: date, approved_at: datetime = NOW) -> Release:
    return Release(
        number=number,
        ruleset="taipei",
        version=f"v{number}",
        state="live",
        effective_from=day,
        note="",
        rollback_of=None,
        proposed_by="Wang",
        proposed_at=NOW,
        approved_by="Chen",
        approved_at=approved_at,
        withdrawn_by=None,
        withdrawn_at=None,
    )


def proposed(number: int, day: date) -> Release:
    return replace(live(number, day), state="proposed", approved_by=None, approved_at=None)


def days(count: int) -> date:
    return TODAY + timedelta(days=count)


def test_the_latest_day_that_has_begun_decides() -> None:
    releases = [live(1, days(-30)), live(2, days(-1)), live(3, days(1)), proposed(4, TODAY)]

    found = [in_force(releases, days(n)) for n in (-10, 0, 1)]

    assert [one and one.number for one in found] == [1, 2, 3]


def test_of_one_day_the_release_that_was_approved_last_decides() -> None:
    late = live(1, TODAY, approved_at=NOW + timedelta(seconds=1))

    assert in_force([late, live(2, TODAY)], TODAY) == late


def test_before_the_first_day_the_earliest_release_decides() -> None:
    assert in_force([live(2, days(9)), live(1, days(5))], TODAY) == live(1, days(5))


def test_without_a_live_release_none_decides() -> None:
    assert in_force([proposed(1, TODAY)], TODAY) is None


def test_a_release_decides_from_today_when_no_day_is_named() -> None:
    assert first_day(None, TODAY, [live(1, days(-30))]) == TODAY


@pytest.mark.parametrize("count", [0, 1, 400])
def test_a_release_may_decide_from_today_or_a_later_day(count: int) -> None:
    assert first_day(days(count), TODAY, [live(1, days(-30))]) == days(count)


def test_a_release_does_not_reach_back_to_days_that_had_their_own_rules() -> None:
    with pytest.raises(ReleaseError, match=f"{days(-1)} is in the past.*today, {TODAY}"):
        first_day(days(-1), TODAY, [live(1, days(-30))])


def test_the_first_release_of_all_may_reach_back() -> None:
    assert first_day(days(-400), TODAY, [proposed(1, TODAY)]) == days(-400)


@pytest.mark.parametrize(("asked", "found"), [(-3, 0), (0, 0), (3, 3)])
def test_a_day_that_passed_before_the_approval_becomes_today(asked: int, found: int) -> None:
    releases = [live(1, days(-30)), proposed(2, days(asked))]

    assert day_at_approval(releases[1], TODAY, releases) == days(found)


def test_the_first_release_of_all_keeps_its_day_at_the_approval() -> None:
    first = proposed(1, days(-400))

    assert day_at_approval(first, TODAY, [first]) == days(-400)


@pytest.mark.parametrize(
    "other",
    ["Wang", " wang ", "WANG", "Ｗａｎｇ", "\u3000wAng\t", "Wang\n"],
)
def test_width_case_and_blanks_make_no_other_person(other: str) -> None:
    assert same_person("Wang", other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("陳 怡君", "陳  怡君"),
        ("王小明", "王 小明"),
        ("Straße", "STRASSE"),
        ("José", "Jose\u0301"),
        ("\uf9d1", "六"),
    ],
)
def test_a_name_written_in_another_way_is_the_same_person(one: str, other: str) -> None:
    assert same_person(one, other)


def test_two_names_are_two_people() -> None:
    assert not same_person("王小明", "王小華")


@pytest.mark.parametrize(
    "name", ["", "  ", "\u3000", "wang\u200b", "a\x1b[31m", "\x00", "\ud800", "x" * 81]
)
def test_what_cannot_be_seen_or_is_too_long_is_no_name(name: str) -> None:
    with pytest.raises(ReleaseError, match="cannot be a person's name"):
        person(name)


def test_a_name_is_kept_as_it_was_meant() -> None:
    assert person("  Ｗａｎｇ　小明 ") == "Wang 小明"


@pytest.mark.parametrize("note", ["x" * 501, "a\x00b"])
def test_a_note_that_is_too_long_or_cannot_be_seen_is_refused(note: str) -> None:
    with pytest.raises(ReleaseError, match="the note"):
        remark(note)


def test_a_note_becomes_one_line() -> None:
    assert remark(" 依新法\n修正 ") == "依新法 修正"


def test_a_trial_counts_all_cases_and_tells_those_that_differ() -> None:
    counted = [
        Move("SVC-001", "IPC", "IPC", (), 90, "n1"),
        Move("SVC-056", "LO-GT", "LO-DA", ("lead", "deadline"), 7, "n2"),
        Move("SVC-002", "IPC", "IPC", ("deadline",), 3, "n3"),
    ]

    found = summary(counted)

    assert (found.cases, found.differing) == (100, 10)
    assert found.tables == {"lead": 7, "joint_review": 0, "deadline": 10}
    assert found.moves == (counted[1], counted[2])
