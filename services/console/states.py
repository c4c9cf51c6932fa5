"""What the recent samples of a consumer say about it, in the words of Burrow. Pure.

It is judged over a window and not by one sample: a consumer that is slow and one that stands still
have the same lag. A short or young lag is the ordinary movement of things and nobody is bothered
with it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["OK", "LAGGING", "REWOUND", "STALLED", "STOPPED", "OUT_OF_RANGE", "RECREATED"]
# From good to bad: a group is in the worst state of its partitions.
STATES: tuple[State, ...] = (
    "OK",
    "LAGGING",
    "REWOUND",
    "STALLED",
    "STOPPED",
    "OUT_OF_RANGE",
    "RECREATED",
)

# Below these two a lag is the ordinary movement of things.
MIN_RECORDS = 10
MIN_AGE_S = 30.0
# From this age on a single record counts: it is somebody's case.
PATIENCE_S = 300.0
WINDOW_S = 120.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One partition for one group at one time.

    `at_s` is in Unix seconds. `committed` is None when the group never committed here, `seconds`
    when the age of the oldest record is not known, `members` and `beginning` when they are not.
    `records` is 0 where only transaction markers are left.
    """

    at_s: float
    committed: int | None
    end: int
    records: int
    seconds: float | None
    members: int | None = None
    beginning: int | None = None


def evaluate(window: Sequence[Sample], together: int = 0) -> State:
    """The state of one partition; `window` is in order of time, the newest last, and not empty.

    `together` is what waits for the whole group, where that is more: many short lags are a long
    one.
    """
    last = window[-1]
    if _recreated(window):
        return "RECREATED"
    if all(_out_of_range(sample) for sample in window[-2:]):
        return "OUT_OF_RANGE"
    if not last.records:
        return "OK"
    rewound = _rewound(window)
    if not _matters(max(last.records, together), waited_s(window)):
        return "REWOUND" if rewound else "OK"
    if _stopped(window):
        return "STOPPED"
    if _stood_s(window) >= MIN_AGE_S:
        return "STALLED"
    return "REWOUND" if rewound else "LAGGING"


def worst(states: Iterable[State]) -> State:
    """The state of the whole; OK of nothing."""
    return max(states, key=STATES.index, default="OK")


def waited_s(window: Sequence[Sample]) -> float:
    """How long the oldest record has waited, at least: where its age is not known, for as long as
    it was seen to wait."""
    return max(window[-1].seconds or 0.0, _stood_s(window))


def _matters(records: int, seconds: float) -> bool:
    return seconds >= PATIENCE_S or (records >= MIN_RECORDS and seconds >= MIN_AGE_S)


def _recreated(window: Sequence[Sample]) -> bool:
    """The end went back. Twice seen: a broker that has just become the leader may be behind for a
    moment."""
    before = [sample.end for sample in window[:-2]]
    return bool(before) and all(sample.end < max(before) for sample in window[-2:])


def _out_of_range(sample: Sample) -> bool:
    """What the group wants next is not there: it lies behind the end, or was deleted."""
    if sample.committed is None or sample.beginning is None:
        return False
    # One offset of difference is the marker of the last transaction, which nobody needs.
    return sample.committed > sample.end or sample.committed + 1 < sample.beginning


def _rewound(window: Sequence[Sample]) -> bool:
    known = [sample.committed for sample in window if sample.committed is not None]
    now = window[-1].committed
    return bool(known) and (now is None or now < max(known))


def _stopped(window: Sequence[Sample]) -> bool:
    """Nobody is there, and not only for the moment of a restart. Where it is not known whether
    somebody is: nobody ever began, and more and more waits."""
    last = window[-1]
    recent = [sample.members for sample in window if sample.at_s >= last.at_s - MIN_AGE_S]
    if all(members == 0 for members in recent):
        return True
    never = all(sample.committed is None for sample in window) and not any(recent)
    return never and last.end > window[0].end and _stood_s(window) >= MIN_AGE_S


def _stood_s(window: Sequence[Sample]) -> float:
    """For how long records were seen to wait while the commit did not move."""
    last = window[-1]
    since_s = last.at_s
    for sample in reversed(window):
        if not sample.records or sample.committed != last.committed:
            break
        since_s = sample.at_s
    return last.at_s - since_s
