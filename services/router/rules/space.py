"""The space of all cases of a service: walked over exactly, in groups that the same rows match.

Values that leave the same rows are one group, so the space is as large as what the rows tell
apart. A walk goes input by input and keeps only which rows are still left: two ways that leave
the same rows go on as one.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from services.router.rules.conditions import Interval, write_interval, write_value
from services.router.rules.inputs import Fact, Input
from services.router.rules.plans import Index

MISSING = "missing"
OTHER = "other"
# A value, an interval, or one of the two words above in a tuple of its own.
Piece = tuple[str, Any]


class TooIntertwinedError(Exception):
    """The walk would pass its budget: nothing is proved."""


@dataclass(frozen=True)
class Axis:
    """One input as the walk sees it: its groups, each a bitmap of the rows that it leaves."""

    index: Index
    known: frozenset[str] | None
    groups: Mapping[int, tuple[Piece, ...]]

    @property
    def input(self) -> Input:
        return self.index.input

    @cached_property
    def everything(self) -> frozenset[Piece]:
        return frozenset(piece for pieces in self.groups.values() for piece in pieces)

    def fact(self, piece: Piece) -> Fact:
        """A fact of this piece, as it stands in JSON."""
        kind, what = piece
        if kind == MISSING:
            return None
        if kind == "value":
            return what  # type: ignore[no-any-return]
        if kind == "interval":
            low, high = what
            number = low if low is not None else high if high is not None else 0
            if self.input.type == "date":
                # Of an open end any day will do, but it must be one of the calendar.
                return write_value(max(1, number), "date")
            return int(number)
        named = {value for value in self.index.by_value if isinstance(value, str)}
        if self.known is not None:
            return min(self.known - named)
        text = "other"
        while text in named:
            text += "-"
        return text

    def conditions(self, pieces: frozenset[Piece]) -> list[str]:
        """The pieces as cells: one, or two where no single cell says it."""
        if pieces == self.everything:
            return ["-"]
        kind = self.input.type
        values = sorted(what for name, what in pieces if name == "value")
        missing = (MISSING, None) in pieces
        if pieces == self.everything - {(MISSING, None)} and (OTHER, None) in self.everything:
            return ["present"]
        if (OTHER, None) in pieces and self.known is not None:
            unnamed = sorted(self.known - self.index.by_value.keys())
            if 2 * len(unnamed) < len(self.known):
                values, pieces = sorted([*values, *unnamed]), pieces - {(OTHER, None)}
        if (OTHER, None) in pieces:
            left_out = sorted(
                what
                for name, what in self.everything - pieces
                if name == "value" and isinstance(what, str)
            )
            named = "; ".join(write_value(value, kind) for value in left_out)
            return [f"not({named})" if named else "present", *(["missing"] if missing else [])]
        items = [write_value(value, kind) for value in values]
        items += [write_interval(one, kind) for one in _joined(pieces)]
        return ["; ".join(items + ["missing"] * missing)]


def _joined(pieces: frozenset[Piece]) -> list[Interval]:
    """The intervals among the pieces, neighbours as one, in order."""
    found: list[Interval] = []
    intervals = [what for name, what in pieces if name == "interval"]
    for low, high in sorted(intervals, key=lambda one: (one[0] is not None, one[0] or 0)):
        if found and found[-1][1] is not None and low == found[-1][1] + 1:
            found[-1] = (found[-1][0], high)
        else:
            found.append((low, high))
    return found


def axis(index: Index, mask: int, known: frozenset[str] | None) -> Axis:
    """The groups of an input among the rows of `mask`, over all facts that it can have."""
    groups: dict[int, list[Piece]] = {}

    def add(bits: int, piece: Piece) -> None:
        groups.setdefault(bits & mask, []).append(piece)

    one = index.input
    if one.ordered:
        starts = (None, *index.cuts)
        ends = (*(cut - 1 for cut in index.cuts), None)
        for low, high, bits in zip(starts, ends, index.between, strict=True):
            if one.least is not None and (low is None or low < one.least):
                low = one.least
            if one.most is not None and (high is None or high > one.most):
                high = one.most
            if low is None or high is None or low <= high:
                add(bits, ("interval", (low, high)))
    else:
        named = 0
        for value, bits in index.by_value.items():
            if value is not None and (known is None or value in known):
                named += 1
                add(bits, ("value", value))
        if one.type == "text" and (known is None or named < len(known)):
            add(index.other, (OTHER, None))
    add(index.missing, (MISSING, None))
    return Axis(index, known, {bits: tuple(pieces) for bits, pieces in groups.items()})


def axes(indexes: Sequence[Index], mask: int, known: Mapping[str, frozenset[str]]) -> list[Axis]:
    """The inputs that tell rows of `mask` apart, those with few groups first."""
    found = [axis(index, mask, known.get(index.input.name)) for index in indexes]
    return sorted((one for one in found if list(one.groups) != [mask]), key=lambda a: len(a.groups))


# How a walk came to a set of rows: the way before, and the group taken.
Way = tuple[Any, ...]


def leaves(space: Sequence[Axis], mask: int, budget: int) -> dict[int, Way]:
    """Every set of rows that some case matches exactly, with a way to such a case.

    Raises TooIntertwinedError when more than `budget` steps are needed.
    """
    found: dict[int, Way] = {mask: ()}
    for one in space:
        groups = list(one.groups)
        budget -= len(found) * len(groups)
        if budget < 0:
            raise TooIntertwinedError
        following: dict[int, Way] = {}
        for left, way in found.items():
            for group in groups:
                bits = left & group
                if bits not in following:
                    following[bits] = (way, group)
        found = following
    return found


def groups_of(way: Way) -> list[int]:
    """The groups that a way took, in the order of the axes."""
    groups: list[int] = []
    while way:
        way, group = way
        groups.append(group)
    return groups[::-1]


# A box of cases: for each axis the pieces, and None where it does not matter.
Box = tuple[frozenset[Piece] | None, ...]


def boxes(
    space: Sequence[Axis], mask: int, key: Callable[[int], Hashable], budget: int
) -> dict[Hashable, list[Box]]:
    """The cases of each key as boxes that do not overlap; a set of rows has the `key` that the
    function gives, None leaves it out. Raises TooIntertwinedError."""
    kept: dict[tuple[int, int], tuple[tuple[Hashable, Box], ...]] = {}
    spent = 0

    def below(level: int, left: int) -> tuple[tuple[Hashable, Box], ...]:
        nonlocal spent
        if level == len(space):
            found = key(left)
            return () if found is None else ((found, ()),)
        known = kept.get((level, left))
        if known is not None:
            return known
        one = space[level]
        # Groups that lead to the same are one.
        alike: dict[tuple[tuple[Hashable, Box], ...], list[Piece]] = {}
        for group, pieces in one.groups.items():
            spent += 1
            if inner := below(level + 1, left & group):
                spent += len(inner)
                alike.setdefault(inner, []).extend(pieces)
            if spent > budget:
                raise TooIntertwinedError
        result: list[tuple[Hashable, Box]] = []
        for inner, together in alike.items():
            here = frozenset(together)
            first = None if here == one.everything else here
            result.extend((name, (first, *rest)) for name, rest in inner)
        kept[level, left] = tuple(result)
        return kept[level, left]

    by_key: dict[Hashable, list[Box]] = {}
    for name, box in below(0, mask):
        by_key.setdefault(name, []).append(box)
    return by_key


def facts_in(space: Sequence[Axis], box: Box) -> dict[str, Fact]:
    """A case of the box; inputs that do not matter are missing."""
    pairs = sorted(zip(space, box, strict=True), key=lambda pair: pair[0].index.place)
    return {one.input.name: one.fact(_first(pieces)) for one, pieces in pairs if pieces is not None}


def _first(pieces: frozenset[Piece]) -> Piece:
    """The simplest piece to show: a value, else a number, else another one, else missing."""
    order = {"value": 0, "interval": 1, OTHER: 2, MISSING: 3}

    def rank(piece: Piece) -> tuple[Any, ...]:
        kind, what = piece
        if kind == "interval":
            low, high = what
            return (order[kind], low is None, low if low is not None else high or 0)
        return (order[kind], False, what if what is not None else "")

    return min(pieces, key=rank)


def box_of(space: Sequence[Axis], way: Way) -> Box:
    """The groups of a way as a box."""
    return tuple(
        frozenset(one.groups[group]) for one, group in zip(space, groups_of(way), strict=True)
    )


def cells_of(space: Sequence[Axis], box: Box) -> list[dict[str, str]]:
    """The box in the notation of the tables; several where one cell cannot say it."""
    found: list[dict[str, str]] = [{}]
    for one, pieces in zip(space, box, strict=True):
        if pieces is None:
            continue
        cells = [cell for cell in one.conditions(pieces) if cell != "-"]
        if cells:
            found = [{**cell, one.input.name: said} for cell in found for said in cells]
    order = [one.input.name for one in sorted(space, key=lambda one: one.index.place)]
    return [{name: cell[name] for name in order if name in cell} for cell in found]


def described(cells: Mapping[str, str]) -> str:
    """A box in words."""
    return " and ".join(f"{name} is {cell}" for name, cell in cells.items()) or "always"
