"""Which release of rules decides: routers decide by it, and the console shows it."""

from collections.abc import Callable, Collection
from datetime import date, datetime
from typing import TypeVar

R = TypeVar("R")
Turn = tuple[date, datetime, int]
"""Of a release: from when it decides, when it was put in force, and its number."""


def in_force(live: Collection[R], day: date, turn: Callable[[R], Turn]) -> R | None:
    """Of the releases that are live the one for cases received on `day`; None when none is.

    The latest day of those that have begun, and of one day the one put in force last. Before
    there were any rules those of the first day decide.
    """
    first = min((turn(release)[0] for release in live), default=day)
    begun = [release for release in live if turn(release)[0] <= max(day, first)]
    return max(begun, key=turn, default=None)
