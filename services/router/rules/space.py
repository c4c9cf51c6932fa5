"""The space of all cases of a service: walked over exactly, in groups that the same rows match.

Values that leave the same rows are one group, so the space is as large as what the rows tell
apart. A walk goes input by input and keeps only which rows are still left: two ways that leave
the same rows go on as one. What is found is then described as boxes of cases.
"""

from bisect import bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from math import prod
from typing import Any

from services.router.rules.conditions import FIRST_DAY, Interval, write_interval, write_value
from services.router.rules.inputs import Fact, Input
from services.router.rules.plans import Index

MISSING = "missing"
OTHER = "other"
_A_DAY = date(2000, 1, 1).toordinal()


class TooIntertwinedError(Exception):
    """The walk would pass its budget: nothing is proved."""


# A value, an interval, or one of the two words above in a tuple of its own.
Piece = tuple[str, Any]


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
            if self.input.type == "date":
                # Where nobody set a bound, a day of these times.
                low = max(low, min(high, _A_DAY)) if low == FIRST_DAY else low
                return write_value(low, "date")
            return low if low is not None else high if high is not None else 0
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


def _bitmaps(index: Index, mask: int, known: frozenset[str] | None) -> set[int]:
    """The groups of an input as `axis` has them, without what is in them."""
    one = index.input
    if one.ordered:
        first = 0 if one.least is None else bisect_right(index.cuts, one.least)
        last = len(index.cuts) if one.most is None else bisect_right(index.cuts, one.most)
        found = {bits & mask for bits in index.between[first : last + 1]}
    else:
        possible = index.named
        if known is not None and not possible <= known:
            possible = possible & known
        found = {index.by_value[value] & mask for value in possible}
        if one.type == "text" and (known is None or len(possible) < len(known)):
            found.add(index.other & mask)
    found.add(index.missing & mask)
    return found


# A box of cases: for each axis the pieces, and None where it does not matter.
Box = tuple[frozenset[Piece] | None, ...]


class Space:
    """All cases, as far as the rows of `mask` tell them apart.

    `levels` are the sets of rows that are left after each input, those with few groups first;
    the last one, `leaves`, has every set of rows that some case matches exactly. `size` is how
    many steps that took, `steps` how many were taken since as well. Raises TooIntertwinedError
    when more than `budget` steps are needed.
    """

    def __init__(
        self,
        indexes: Sequence[Index],
        mask: int,
        known: Mapping[str, frozenset[str]],
        budget: int,
    ) -> None:
        self._mask = mask
        self._known = known
        self._budget = budget
        columns = [
            (index, bitmaps)
            for index in indexes
            if (bitmaps := _bitmaps(index, mask, known.get(index.input.name))) != {mask}
        ]
        columns.sort(key=lambda column: len(column[1]))
        self._indexes = [index for index, _ in columns]
        self.levels = [{mask}]
        self.size = 0
        for _, bitmaps in columns:
            left = self.levels[-1]
            self.size += len(left) * len(bitmaps)
            if self.size > budget:
                raise TooIntertwinedError
            self.levels.append({rows & group for rows in left for group in bitmaps})
        self.steps = self.size

    @property
    def leaves(self) -> set[int]:
        return self.levels[-1]

    @cached_property
    def axes(self) -> list[Axis]:
        return [
            axis(index, self._mask, self._known.get(index.input.name)) for index in self._indexes
        ]

    def boxes(self, key: Callable[[int], Hashable]) -> dict[Hashable, list[Box]]:
        """The cases of each key as boxes that do not overlap; `key` of a leaf, None leaves it
        out. Raises TooIntertwinedError."""
        leaves = {leaf for leaf in self.leaves if key(leaf) is not None}
        return self._boxes(leaves, key, self._budget)

    def boxes_of(self, leaves: Set[int], budget: int) -> list[Box]:
        """The cases of these leaves, at least one, as boxes that do not overlap. Raises
        TooIntertwinedError when the walk back or the pieces of all boxes pass `budget`."""
        if self.size > budget:
            raise TooIntertwinedError
        self.steps += self.size
        most = budget // max(1, len(self.axes))
        return self._boxes(leaves, lambda leaf: True, most)[True]

    def way(self, leaf: int) -> Box:
        """A box of cases that match just the rows of this leaf: one way back through the levels.
        It may be narrower than those of `boxes`, but takes less than the walk did."""
        box: list[frozenset[Piece] | None] = []
        for left, one in zip(reversed(self.levels[:-1]), reversed(self.axes), strict=True):
            rows = leaf
            if leaf not in left:
                self.steps += len(left)
                rows = min(
                    rows
                    for rows in left
                    if rows & leaf == leaf and any(rows & group == leaf for group in one.groups)
                )
            together = [
                piece
                for group, pieces in one.groups.items()
                if rows & group == leaf
                for piece in pieces
            ]
            here = frozenset(together)
            box.append(None if here == one.everything else here)
            leaf = rows
        return tuple(reversed(box))

    def _boxes(
        self, leaves: Set[int], key: Callable[[int], Hashable], budget: int
    ) -> dict[Hashable, list[Box]]:
        kept: dict[tuple[int, int], tuple[tuple[Hashable, Box], ...]] = {}
        wanted = self._reaching(leaves)
        spent = 0

        def below(level: int, left: int) -> tuple[tuple[Hashable, Box], ...]:
            nonlocal spent
            if level == len(self.axes):
                return ((key(left), ()),)
            known = kept.get((level, left))
            if known is not None:
                return known
            one = self.axes[level]
            # Groups that lead to the same are one.
            alike: dict[tuple[tuple[Hashable, Box], ...], list[Piece]] = {}
            for group, pieces in one.groups.items():
                if left & group in wanted[level + 1]:
                    inner = below(level + 1, left & group)
                    spent += len(inner)
                    self.steps += len(inner) * len(self.axes)
                    if spent > budget:
                        raise TooIntertwinedError
                    alike.setdefault(inner, []).extend(pieces)
            found: list[tuple[Hashable, Box]] = []
            for inner, together in alike.items():
                here = frozenset(together)
                first = None if here == one.everything else here
                found.extend((name, (first, *rest)) for name, rest in inner)
            kept[level, left] = tuple(found)
            return kept[level, left]

        by_key: dict[Hashable, list[Box]] = {}
        if wanted[0]:
            for name, box in below(0, self._mask):
                by_key.setdefault(name, []).append(box)
        return by_key

    def _reaching(self, leaves: Set[int]) -> list[Set[int]]:
        """Of each level the sets of rows from which one of `leaves` can be reached."""
        found = [leaves]
        for left, one in zip(reversed(self.levels[:-1]), reversed(self.axes), strict=True):
            after = found[-1]
            found.append(
                {rows for rows in left if any(rows & group in after for group in one.groups)}
            )
        return found[::-1]

    def _sides(self, box: Box) -> list[tuple[Axis, frozenset[Piece]]]:
        """The inputs that matter for a box with their pieces, in the order of the inputs."""
        pairs = sorted(zip(self.axes, box, strict=True), key=lambda pair: pair[0].index.place)
        return [(one, pieces) for one, pieces in pairs if pieces is not None]

    def facts(self, box: Box) -> dict[str, Fact]:
        """A case of the box, in the order of the inputs; those that do not matter are left out."""
        return {one.input.name: one.fact(_first(pieces)) for one, pieces in self._sides(box)}

    def described(self, box: Box) -> str:
        """The box in words; the first of its cells where it takes several."""
        said = [f"{one.input.name} is {one.conditions(side)[0]}" for one, side in self._sides(box)]
        return " and ".join(said) or "always"

    def cells_in(self, box: Box) -> int:
        """How many `cells` has, which may be too many to write down."""
        return prod(len(one.conditions(pieces)) for one, pieces in self._sides(box))

    def cells(self, box: Box) -> list[dict[str, str]]:
        """The box in the notation of the tables; several where one cell cannot say it."""
        found: list[dict[str, str]] = [{}]
        for one, pieces in self._sides(box):
            cells = [cell for cell in one.conditions(pieces) if cell != "-"]
            found = [{**cell, one.input.name: said} for cell in found for said in cells]
        return found


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
