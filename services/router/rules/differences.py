"""The semantic difference of two rule sets: which cases change, from where to where."""

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.router.rules.conditions import Condition, read_condition
from services.router.rules.errors import Problem, TableError
from services.router.rules.inputs import Fact, Input
from services.router.rules.plans import DECIDING, Index, Plan, bits_of, index_of
from services.router.rules.rows import Row, meaning
from services.router.rules.ruleset import Names, RuleSet, known_values
from services.router.rules.space import Box, Space, TooIntertwinedError

BUDGET = 1_000_000
_MOST_CASES = 20
_FIELDS = {
    "lead": ("agency", "chain", "responsible"),
    "joint_review": ("agency", "task", "document"),
    "deadline": ("limit", "unit", "steps"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """Cases of a service for which a table says something else.

    `before` and `after` are what follows: the values of the outputs, None where no row decides;
    in joint_review a set of them. `cases` are boxes, input to cell, the first of them;
    `more_cases` is how many there are beyond. `proved` is False when the rows were too
    intertwined to say which cases change.
    """

    table: str
    service: str
    before: Any
    after: Any
    before_rules: tuple[str, ...]
    after_rules: tuple[str, ...]
    cases: tuple[Mapping[str, str], ...]
    more_cases: int
    counterexample: Mapping[str, Fact]
    proved: bool = True

    def to_json(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "service": self.service,
            "from": _said(self.table, self.before),
            "to": _said(self.table, self.after),
            "from_rules": list(self.before_rules),
            "to_rules": list(self.after_rules),
            "cases": [dict(case) for case in self.cases],
            "more_cases": self.more_cases,
            "counterexample": dict(self.counterexample),
            "proved": self.proved,
        }


def _said(table: str, what: Any) -> Any:
    if what is None:
        return None
    if table == "joint_review":
        return [dict(zip(_FIELDS[table], one, strict=True)) for one in sorted(what)]
    values = (list(value) if isinstance(value, tuple) else value for value in what)
    return dict(zip(_FIELDS[table], values, strict=True))


def difference(
    before: RuleSet, after: RuleSet, names: Names | None = None, budget: int = BUDGET
) -> tuple[Change, ...]:
    """Every change, by service and table. Only what follows for a case counts, not who said it.

    Both must have the same inputs, or one may have further ones. Raises TableError when an
    input is of another type.
    """
    names = names or after.names or before.names
    inputs = {one.name: one for one in before.inputs} | {one.name: one for one in after.inputs}
    for one in before.inputs:
        if inputs[one.name].type != one.type:
            detail = f"input {one.name}: {one.type} there, {inputs[one.name].type} here"
            raise TableError([Problem("T004", "ruleset.yaml", None, None, "", detail)])
    known = {**before.known, **after.known, **known_values(inputs.values(), names)}
    if before.inputs != after.inputs:
        before, after = _aligned(before, inputs), _aligned(after, inputs)
    services = before.services | after.services | (names.services if names else frozenset())
    found: list[Change] = []
    for service in sorted(services):
        old, new = before.plan(service), after.plan(service)
        if old is not new:
            for table in DECIDING:
                if not _same(old.tables[table], new.tables[table]):
                    compare = _Comparison(after, service, table, old, new, known, budget)
                    found.extend(compare.changes())
    return tuple(found)


def _aligned(rules: RuleSet, inputs: Mapping[str, Input]) -> RuleSet:
    """The same rules over more inputs, which none of their rows restricts."""
    places = {one.name: place for place, one in enumerate(rules.inputs)}

    def conditions(row: Row) -> tuple[Condition, ...]:
        return tuple(
            row.conditions[places[name]] if name in places else read_condition("-", one.type)
            for name, one in inputs.items()
        )

    tables = {
        name: replace(
            table, rows=tuple(replace(row, conditions=conditions(row)) for row in table.rows)
        )
        for name, table in rules.tables.items()
    }
    return RuleSet(rules.id, tuple(inputs.values()), tables, rules.document, rules.names)


def _same(old: Sequence[Row], new: Sequence[Row]) -> bool:
    """Whether the rows say the same one by one; else it takes a proof."""
    return len(old) == len(new) and all(
        a is b
        or (
            a.conditions == b.conditions
            and a.priority == b.priority
            and meaning(a.output) == meaning(b.output)
        )
        for a, b in zip(old, new, strict=True)
    )


def _in_order(rows: Sequence[tuple[int, Row]], ids: Collection[str]) -> tuple[str, ...]:
    """These ids in the order of the file."""
    found = sorted((row.number, row.id) for _, row in rows if row.id in ids)
    return tuple(row_id for _, row_id in found)


def _key(row: Row) -> tuple[int, ...]:
    """What tells the conditions of rows apart: read_condition gives the same one for the same
    cell. Where it does not, the row has a bit of its own, and nothing is lost but time."""
    return tuple([id(condition) for condition in row.conditions])


class _Comparison:
    """One table of one service: the rows of both, those with the same conditions as one bit."""

    def __init__(
        self,
        rules: RuleSet,
        service: str,
        table: str,
        old: Plan,
        new: Plan,
        known: Mapping[str, frozenset[str]],
        budget: int,
    ) -> None:
        self.service = service
        self.table = table
        self.known = known
        self.budget = budget
        before, after = old.tables[table], new.tables[table]
        first = bits_of(old.masks[table])[0] if before else 0
        keys = [_key(row) for row in before]
        new_keys = [_key(row) for row in after]
        bits = {key: 1 << (first + n) for n, key in enumerate(keys)}
        self.indexes: Sequence[Index] = old.all_indexes
        if len(bits) < len(before) or not bits.keys() >= set(new_keys):
            rows = dict(zip((*keys, *new_keys), (*before, *after), strict=True))
            bits = {key: 1 << n for n, key in enumerate(rows)}
            self.indexes = [
                index_of(place, one, tuple(rows.values()), {})
                for place, one in enumerate(rules.inputs)
                if place
            ]
        self.mask = sum(bits.values())
        self.old = [(bits[key], row) for key, row in zip(keys, before, strict=True)]
        self.new = [(bits[key], row) for key, row in zip(new_keys, after, strict=True)]
        # Rows that are not the same on both sides: where none of them matches nothing changes.
        more: dict[Any, int] = {}
        for side, step in ((self.old, 1), (self.new, -1)):
            for bit, row in side:
                said = (bit, row.priority, meaning(row.output))
                more[said] = more.get(said, 0) + step
        self.moved = 0
        for (bit, _, _), many in more.items():
            if many:
                self.moved |= bit
        # Of the others only rows that some case matches together with one of them play a part.
        near = 0
        for place in bits_of(self.moved):
            near |= self._meeting(1 << place)
        self.mask &= near
        self.old = [(bit, row) for bit, row in self.old if bit & near]
        self.new = [(bit, row) for bit, row in self.new if bit & near]
        self.kept: dict[int, Hashable] = {}

    def _meeting(self, bit: int) -> int:
        """The rows that are left by values of each input that leave this one too."""
        found = self.mask
        for index in self.indexes:
            left = 0
            for bits in (index.missing, index.other, *index.by_value.values(), *index.between):
                if bits & bit:
                    left |= bits
            found &= left
        return found

    def changes(self) -> Iterator[Change]:
        told: dict[Hashable, tuple[dict[str, None], dict[str, None]]] = {}
        try:
            space = Space(self.indexes, self.mask, self.known, self.budget)
            for bits in space.leaves:
                if (key := self._changed(bits)) is not None:
                    old, new = told.setdefault(key, ({}, {}))
                    old.update(dict.fromkeys(self._deciding(self.old, bits)))
                    new.update(dict.fromkeys(self._deciding(self.new, bits)))
            found = space.boxes(self._changed) if told else {}
        except TooIntertwinedError:
            yield self._unproved()
            return
        changes = [
            self._change(space, key, _in_order(self.old, old), _in_order(self.new, new), found[key])
            for key, (old, new) in told.items()
        ]
        # In the order of the files, the same at each run.
        yield from sorted(changes, key=lambda one: (self._place(one), str(one.cases)))

    def _place(self, change: Change) -> tuple[int, ...]:
        """The numbers of the rows that decide before and after."""
        before = {row.id: row.number for _, row in self.old}
        after = {row.id: row.number for _, row in self.new}
        return (
            *(before[one] for one in change.before_rules),
            *(after[one] for one in change.after_rules),
        )

    def _changed(self, bits: int) -> Hashable:
        """What follows before and after where these rows match, when it is not the same."""
        if not bits & self.moved:
            return None
        if bits not in self.kept:
            before, after = self._follows(self.old, bits), self._follows(self.new, bits)
            self.kept[bits] = None if before == after else (before, after)
        return self.kept[bits]

    def _follows(self, rows: Sequence[tuple[int, Row]], bits: int) -> Any:
        matching = self._first(rows, bits)
        if self.table == "joint_review":
            return frozenset(meaning(row.output) for row in matching)
        return meaning(matching[0].output) if len(matching) == 1 else None

    def _first(self, rows: Sequence[tuple[int, Row]], bits: int) -> list[Row]:
        """Of the rows in `bits` those with the highest priority."""
        matching = [row for bit, row in rows if bits & bit]
        return [row for row in matching if row.priority == matching[0].priority]

    def _deciding(self, rows: Sequence[tuple[int, Row]], bits: int) -> list[str]:
        return [row.id for row in sorted(self._first(rows, bits), key=lambda row: row.number)]

    def _change(
        self,
        space: Space,
        key: Any,
        before_rules: tuple[str, ...],
        after_rules: tuple[str, ...],
        found: list[Box],
    ) -> Change:
        before, after = key
        cases = [cell for box in found[:_MOST_CASES] for cell in space.cells(box)]
        return Change(
            self.table,
            self.service,
            before,
            after,
            before_rules,
            after_rules,
            tuple(cases[:_MOST_CASES]),
            len(cases[_MOST_CASES:]) + len(found[_MOST_CASES:]),
            {"service": self.service, **space.facts(found[0])},
        )

    def _unproved(self) -> Change:
        before = tuple(row.id for _, row in self.old)
        after = tuple(row.id for _, row in self.new)
        case = {"service": self.service}
        return Change(
            self.table, self.service, None, None, before, after, (), 0, case, proved=False
        )
