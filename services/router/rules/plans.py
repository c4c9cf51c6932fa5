"""The compiled form: for each service a plan, with a bitmap for each value of each input.

A plan numbers the rows of all tables that may apply to the service: bit 0 is the row of lead
that comes first by priority. For each input that some row looks at, an index says which rows
each value leaves. A decision is one lookup for each such input and their AND; what a bitmap
comes to is worked out once and kept (deciding.py). Rows of assume have bits too, for the
verifier.
"""

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from services.router.rules.conditions import Condition, Value
from services.router.rules.decision import Outcome
from services.router.rules.inputs import Fact, Input
from services.router.rules.rows import JointReview, Lead, Row

Facts = Mapping[str, Any]
DECIDING = ("lead", "joint_review", "deadline")
TABLES = (*DECIDING, "assume")


@dataclass(frozen=True, slots=True)
class Index:
    """Which rows each value of one input leaves, as bitmaps.

    Not ordered: `by_value` of those that are mentioned (and None, the missing fact), `other` of
    the rest. Ordered: `cuts` divide the numbers, `between` has one bitmap more than there are
    cuts; a number is in the place that bisect_right finds.
    """

    place: int
    input: Input
    missing: int
    by_value: Mapping[Value | None, int] = field(default_factory=dict)
    other: int = 0
    cuts: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    # The values that are mentioned.
    named: frozenset[Any] = frozenset()

    def of(self, fact: Fact, known: frozenset[str] | None) -> int:
        """The bitmap of a fact. Raises FactError."""
        if self.input.ordered:
            number = self.input.number(fact)
            return self.missing if number is None else self.between[bisect_right(self.cuts, number)]
        return self.by_value.get(self.input.value(fact, known), self.other)


class Plan:
    """The rows of one service, compiled. Shared by all services that no row names."""

    def __init__(
        self, inputs: Sequence[Input], tables: Mapping[str, Sequence[Row]], shared: dict[Any, Any]
    ) -> None:
        self.tables = {
            name: tuple(sorted(tables[name], key=lambda row: -row.priority)) for name in TABLES
        }
        self.rows: tuple[Row, ...] = sum(self.tables.values(), ())
        # Of every input that a row of some table restricts; a decision looks at `indexes`.
        self.all_indexes = tuple(
            index_of(place, one, self.rows, shared)
            for place, one in enumerate(inputs)
            if place and not all(row.conditions[place].text == "-" for row in self.rows)
        )
        deciding = self.rows[: len(self.rows) - len(self.tables["assume"])]
        self.indexes = tuple(
            index
            for index in self.all_indexes
            if not all(row.conditions[index.place].text == "-" for row in deciding)
        )

    @property
    def everything(self) -> int:
        return (1 << len(self.rows)) - 1

    @cached_property
    def masks(self) -> dict[str, int]:
        """For each table the bits of its rows."""
        masks, start = {}, 0
        for name, rows in self.tables.items():
            masks[name] = ((1 << len(rows)) - 1) << start
            start += len(rows)
        return masks

    @cached_property
    def in_order(self) -> bool:
        """Whether the rows of lead stand as in the file: no priority moves one."""
        lead = self.tables["lead"]
        return all(a.number < b.number for a, b in pairwise(lead))

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """For each row the bits of the rows of its table with the same priority."""
        levels: dict[tuple[str, int], int] = {}
        keys = [(name, row.priority) for name, rows in self.tables.items() for row in rows]
        for bit, key in enumerate(keys):
            levels[key] = levels.get(key, 0) | (1 << bit)
        return tuple(levels[key] for key in keys)

    def top(self, bits: int, table: str) -> int:
        """Of the rows in `bits` those of `table` with the highest priority."""
        bits &= self.masks[table]
        if not bits:
            return 0
        first = (bits & -bits).bit_length() - 1
        return bits & self.levels[first]

    def rows_in(self, bits: int) -> list[Row]:
        """The rows of a bitmap, in the order of the file within each table."""
        found = [self.rows[bit] for bit in bits_of(bits)]
        return found if len(found) < 2 else sorted(found, key=lambda row: row.number)

    def outcome(self, bits: int) -> Outcome:
        """What follows where the rows in `bits` match."""
        lead = self.rows_in(self.top(bits, "lead"))
        deadline = self.rows_in(self.top(bits, "deadline"))
        joint = self.rows_in(bits & self.masks["joint_review"])
        return Outcome(
            _single(lead),
            tuple(row.id for row in lead) if len(lead) > 1 else (),
            tuple(row.output for row in joint if isinstance(row.output, JointReview)),
            _single(deadline),
            tuple(row.id for row in deadline) if len(deadline) > 1 else (),
        )

    def bits(self, facts: Facts, known: Mapping[str, frozenset[str]]) -> int:
        """The rows that match. Raises FactError."""
        bits = self.everything
        for index in self.indexes:
            name = index.input.name
            bits &= index.of(facts.get(name), known.get(name))
        return bits

    def tried(self, agencies: Collection[str]) -> int:
        """The rows of lead that lead to one of these, or pass through one."""
        bits = 0
        for bit, row in enumerate(self.tables["lead"]):
            if isinstance(row.output, Lead) and not {
                row.output.agency,
                *row.output.chain,
            }.isdisjoint(agencies):
                bits |= 1 << bit
        return bits


def _single(rows: list[Row]) -> Any:
    return rows[0].output if len(rows) == 1 else None


def bits_of(bits: int) -> list[int]:
    """The numbers of the bits that are set, lowest first."""
    found = []
    while bits:
        low = bits & -bits
        found.append(low.bit_length() - 1)
        bits ^= low
    return found


def index_of(place: int, one: Input, rows: Sequence[Row], shared: dict[Any, Any]) -> Index:
    """The index of an input over rows; equal ones are `shared` between plans."""
    conditions = tuple([row.conditions[place] for row in rows])
    key = (place, conditions)
    found = shared.get(key)
    if found is None:
        make = _ordered_index if one.ordered else _value_index
        found = shared[key] = make(place, one, conditions)
    return found


def _value_index(place: int, one: Input, conditions: tuple[Condition, ...]) -> Index:
    by_value: dict[Value, int] = {}
    # Rows that match a value without naming it, and rows that name a value to leave it out.
    missing = other = 0
    without: dict[Value, int] = {}
    for number, condition in enumerate(conditions):
        bit = 1 << number
        if condition.missing:
            missing |= bit
        if condition.negated:
            other |= bit
            for value in condition.values:
                without[value] = without.get(value, 0) | bit
        else:
            for value in condition.values:
                by_value[value] = by_value.get(value, 0) | bit
    mentioned: set[Value] = {*by_value, *without}
    if one.type == "yes_no":
        mentioned = {True, False}
    found: dict[Value | None, int] = {
        value: by_value.get(value, 0) | (other & ~without.get(value, 0))
        for value in sorted(mentioned, key=str)
    }
    found[None] = missing
    return Index(place, one, missing, found, other, named=frozenset(mentioned))


def _ordered_index(place: int, one: Input, conditions: tuple[Condition, ...]) -> Index:
    # Each interval switches its row on at its first number and off after its last.
    switches: dict[int, int] = {}
    missing = bits = 0
    for number, condition in enumerate(conditions):
        bit = 1 << number
        if condition.missing:
            missing |= bit
        for low, high in condition.intervals:
            if low is None:
                bits ^= bit
            else:
                switches[low] = switches.get(low, 0) ^ bit
            if high is not None:
                switches[high + 1] = switches.get(high + 1, 0) ^ bit
    cuts = tuple(sorted(switches))
    between = [bits]
    for cut in cuts:
        bits ^= switches[cut]
        between.append(bits)
    return Index(place, one, missing, cuts=cuts, between=tuple(between))
