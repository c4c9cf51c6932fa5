"""What each consumer is shown as, over made-up windows of samples."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.console.states import (
    MIN_AGE_S,
    MIN_RECORDS,
    PATIENCE_S,
    STATES,
    Sample,
    State,
    evaluate,
    waited_s,
    worst,
)

EVERY_S = 5.0


def window(
    committed: Sequence[int | None],
    ends: Sequence[int],
    *,
    seconds: float | None = 60.0,
    members: int | None = 1,
    beginning: int | None = 0,
) -> list[Sample]:
    """A sample every 5 s; what waits is between committed and end."""
    return [
        Sample(
            at_s=1000 + EVERY_S * n,
            committed=at,
            end=end,
            records=max(0, end - (at or 0)),
            seconds=seconds if end > (at or 0) else 0.0,
            members=members,
            beginning=beginning,
        )
        for n, (at, end) in enumerate(zip(committed, ends, strict=True))
    ]


MOVING = range(100, 1000, 100)
STILL = [100] * 9
GROWING = range(500, 1400, 100)


def test_a_consumer_that_keeps_up_is_ok() -> None:
    assert evaluate(window(MOVING, MOVING)) == "OK"


def test_a_consumer_that_goes_on_but_is_behind_is_lagging() -> None:
    assert evaluate(window(MOVING, GROWING)) == "LAGGING"


def test_a_consumer_that_is_there_and_does_not_advance_while_records_wait_is_stalled() -> None:
    assert evaluate(window(STILL, GROWING)) == "STALLED"
    assert evaluate(window(STILL, [500] * 9)) == "STALLED"


def test_a_consumer_that_is_gone_while_records_wait_is_stopped() -> None:
    assert evaluate(window(STILL, GROWING, members=0)) == "STOPPED"
    assert evaluate(window(STILL, [500] * 9, members=0)) == "STOPPED"


def test_a_consumer_that_never_began_is_stopped_once_records_wait_and_grow() -> None:
    never = [None] * 9

    assert evaluate(window(never, GROWING, members=0)) == "STOPPED"
    assert evaluate(window(never, GROWING, members=None)) == "STOPPED"
    assert evaluate(window(never, [500] * 9, members=None)) == "STALLED"


def test_a_consumer_that_is_there_and_never_gets_through_its_first_records_is_stalled() -> None:
    assert evaluate(window([None] * 9, GROWING)) == "STALLED"


def test_a_consumer_whose_commit_went_back_is_rewound_until_it_is_where_it_was() -> None:
    ends = [900] * 6

    assert evaluate(window([900, 900, 100, 200, 300, 400], ends)) == "REWOUND"
    assert evaluate(window([900, 900, None, None, None, 100], ends)) == "REWOUND"
    assert evaluate(window([900, 900, 100, 400, 800, 900], ends)) == "OK"
    assert evaluate(window([800, 800, 100, 400, 800, 850], ends)) == "LAGGING"


def test_a_rewind_of_a_few_records_is_one_too() -> None:
    assert evaluate(window([9, 9, 7], [9, 9, 9], seconds=1.0)) == "REWOUND"


def test_a_rewound_consumer_that_stands_still_or_is_gone_is_shown_as_that() -> None:
    back = [900, *[100] * 8]

    assert evaluate(window(back, [900] * 9)) == "STALLED"
    assert evaluate(window(back, [900] * 9, members=0)) == "STOPPED"


def test_a_consumer_that_has_lost_its_commit_is_rewound() -> None:
    assert evaluate(window([900, 900, None], [900] * 3)) == "REWOUND"


@pytest.mark.parametrize("members", [0, 1, None])
def test_an_idle_topic_is_ok_with_or_without_a_consumer(members: int | None) -> None:
    assert evaluate(window(STILL, STILL, members=members)) == "OK"
    assert evaluate(window([None] * 9, [0] * 9, members=members)) == "OK"


def test_where_only_transaction_markers_are_left_all_is_ok() -> None:
    marked = [replace(sample, records=0) for sample in window(STILL, [101] * 9)]

    assert evaluate(marked) == "OK"


def test_a_slow_topic_is_not_flagged_for_commits_that_are_far_between() -> None:
    """A record every half minute, handled at once."""
    committed = [1, 1, 1, 1, 1, 1, 1, 2, 2]
    ends = [1, 1, 1, 1, 1, 1, 2, 2, 2]

    assert evaluate(window(committed, ends, seconds=1.0)) == "OK"
    assert evaluate(window(committed[:7], ends[:7], seconds=1.0)) == "OK"


def test_the_records_of_a_moment_ago_are_not_flagged_however_many() -> None:
    assert evaluate(window([0], [100_000], seconds=MIN_AGE_S - 1)) == "OK"


def test_a_few_records_are_not_flagged_until_they_are_really_old() -> None:
    few = [100 + MIN_RECORDS - 1] * 9

    assert evaluate(window(STILL, few, seconds=PATIENCE_S - 1)) == "OK"
    assert evaluate(window(STILL, few, seconds=PATIENCE_S - 1, members=0)) == "OK"
    assert evaluate(window(STILL, few, seconds=PATIENCE_S)) == "STALLED"
    assert evaluate(window(STILL, few, seconds=PATIENCE_S, members=0)) == "STOPPED"


def test_a_few_records_in_each_of_many_partitions_are_many() -> None:
    few = [101] * 9

    assert evaluate(window(STILL, few)) == "OK"
    assert evaluate(window(STILL, few), together=MIN_RECORDS) == "STALLED"
    assert evaluate(window(STILL, STILL), together=MIN_RECORDS) == "OK"


def test_the_lag_of_a_stopped_consumer_does_not_freeze() -> None:
    """It committed for the last time in the first sample; the ends are the broker's."""
    stopped = window([100] * 25, range(100, 350, 10), seconds=None, members=0)

    assert [sample.records for sample in stopped][-1] == 240
    assert waited_s(stopped) == 23 * EVERY_S
    assert evaluate(stopped) == "STOPPED"


def test_an_age_that_is_not_known_counts_for_as_long_as_records_were_seen_to_wait() -> None:
    unknown = window(STILL, [500] * 9, seconds=None)

    assert evaluate(unknown[:6]) == "OK"
    assert evaluate(unknown[:7]) == "STALLED"
    assert waited_s(unknown[:7]) == MIN_AGE_S


def test_a_restart_is_not_taken_for_a_stop() -> None:
    """Its members were there within the half minute before."""
    there = window(MOVING, GROWING)
    gone = [replace(sample, members=0) for sample in there[-2:]]

    assert evaluate([*there[:-2], *gone]) == "LAGGING"


def test_one_sample_says_whether_somebody_is_there_but_not_whether_he_moves() -> None:
    assert evaluate(window([100], [500])) == "LAGGING"
    assert evaluate(window([100], [500], members=0)) == "STOPPED"


def test_members_that_are_not_known_are_not_taken_for_none() -> None:
    assert evaluate(window(STILL, GROWING, members=None)) == "STALLED"


def test_a_commit_behind_the_end_or_before_the_beginning_is_out_of_range() -> None:
    assert evaluate(window([900] * 3, [500] * 3)) == "OUT_OF_RANGE"
    assert evaluate(window([900], [500])) == "OUT_OF_RANGE"
    assert evaluate(window([100] * 3, [500] * 3, beginning=300)) == "OUT_OF_RANGE"
    assert evaluate(window([100] * 3, [500] * 3, beginning=300, members=0)) == "OUT_OF_RANGE"


def test_a_deleted_marker_behind_the_last_record_is_nobodys_loss() -> None:
    assert evaluate(window([100] * 3, [101] * 3, beginning=101, seconds=0.0)) == "OK"


def test_a_new_leader_that_is_behind_for_a_moment_has_lost_nothing() -> None:
    assert evaluate(window([900, 900, 900], [900, 900, 890])) == "OK"


def test_a_topic_whose_end_went_back_was_recreated() -> None:
    ends = [900, 900, 0, 5]

    assert evaluate(window([900, 900, 900, 900], ends)) == "RECREATED"
    assert evaluate(window([900, 900, None, None], ends)) == "RECREATED"
    assert evaluate(window([900, 900, None, 5], ends)) == "RECREATED"


@pytest.mark.parametrize("at", range(1, 10))
def test_no_window_is_too_short_to_be_judged(at: int) -> None:
    for members in (0, 1, None):
        assert evaluate(window(STILL, GROWING, members=members)[:at]) in STATES


def test_a_group_is_in_the_worst_state_of_its_partitions() -> None:
    states: list[State] = ["OK", "STALLED", "LAGGING"]

    assert worst(states) == "STALLED"
    assert worst([]) == "OK"
