"""docs/rules-format.md a second time: slow, short, written from that page alone.

It decides by trying every row, and it verifies by trying every case of a finite universe: for
each input every value that a cell mentions, the neighbours of each bound, min and max, a text
that no cell mentions, and missing. Facts and documents are as that page has them in JSON.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from operator import contains
from typing import Any

from tests.rules.cells import (
    ANY,
    PLAIN,
    UNHEARD,
    Condition,
    Fact,
    bounds,
    is_date,
    matches,
    mentioned,
    read_cell,
)

Case = tuple[Fact, ...]  # in the order of the inputs


class WrongFact(Exception):  # noqa: N818
    """Facts that cannot be decided upon; `names` are the wrong ones."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


# Rule sets.


@dataclass(frozen=True, eq=False)
class Row:
    id: str
    conditions: tuple[Condition, ...]  # in the order of the inputs
    priority: int
    output: dict[str, Any]  # as in the JSON of a decision, without "rule"
    said: str  # the output as text, to compare


@dataclass(frozen=True, eq=False)
class Rules:
    document: dict[str, Any]
    inputs: list[dict[str, Any]]
    policies: dict[str, str]
    tables: dict[str, list[Row]]  # lead, joint_review, deadline, assume

    @property
    def version(self) -> str:
        text = json.dumps(self.document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def read(document: dict[str, Any]) -> Rules:
    inputs = document["inputs"]
    tables: dict[str, list[Row]] = {}
    for name in ("lead", "joint_review", "deadline", "assume"):
        table = document["tables"].get(name, {"columns": [], "rows": []})
        tables[name] = []
        for cells in table["rows"]:
            cell = dict(zip(table["columns"], cells, strict=True))
            conditions = tuple(read_cell(cell.get(i["name"], "-"), i["type"]) for i in inputs)
            priority = int(cell.get("priority") or 0)
            output = read_output(name, cell)
            tables[name].append(Row(cell["id"], conditions, priority, output, said(output)))
    return Rules(document, inputs, document["hit_policies"], tables)


def said(output: Mapping[str, Any]) -> str:
    return json.dumps(output, sort_keys=True)


def read_output(table: str, cell: dict[str, str]) -> dict[str, Any]:
    def parts(column: str) -> list[str]:
        return [part.strip() for part in (cell.get(column) or "").split(";") if part.strip()]

    if table == "lead":
        lead = cell["lead"]
        responsible = cell.get("responsible") or lead
        return {"agency": lead, "chain": parts("chain"), "responsible": responsible}
    if table == "joint_review":
        document = cell.get("document") or ""
        return {"agency": cell["agency"], "task": cell["task"], "document": document}
    if table == "deadline":
        steps = [int(step) for step in parts("steps")]
        return {"limit": int(cell["limit"]), "unit": cell["unit"], "steps": steps}
    return {}


# Decisions.


def is_right(definition: dict[str, Any], fact: Fact) -> bool:
    """Has a fact the input's type, and is it one that the input can have?"""
    if fact is None:
        return True
    kind = definition["type"]
    if kind == "yes_no":
        return isinstance(fact, bool)
    if kind == "integer":
        if isinstance(fact, bool) or not isinstance(fact, int):
            return False
    elif not isinstance(fact, str) or not (is_date(fact) if kind == "date" else fact):
        return False
    low, high = definition.get("min"), definition.get("max")
    if (low is not None and fact < low) or (high is not None and fact > high):
        return False
    return "values" not in definition or fact in definition["values"]


def best(rows: Sequence[Row]) -> list[Row]:
    top = max((row.priority for row in rows), default=0)
    return [row for row in rows if row.priority == top]


def decide(
    rules: Rules, facts: Mapping[str, Fact], without: Collection[str] = ()
) -> dict[str, Any]:
    """The JSON of a decision. Raises WrongFact."""
    service = facts.get("service")
    if service is None or not is_right(rules.inputs[0], service):
        raise WrongFact(["service"])
    deciding = ("lead", "joint_review", "deadline")
    applying = [
        row
        for name in deciding
        for row in rules.tables[name]
        if matches(row.conditions[0], service)
    ]
    looked_at = {}
    for at, definition in enumerate(rules.inputs):
        if at == 0 or any(row.conditions[at] != ANY for row in applying):
            looked_at[definition["name"]] = facts.get(definition["name"])
    wrong = [i["name"] for i in rules.inputs if not is_right(i, looked_at.get(i["name"]))]
    if wrong:
        raise WrongFact(wrong)

    case = tuple(looked_at.get(i["name"]) for i in rules.inputs)
    hit = {
        name: [row for row in rules.tables[name] if all(map(matches, row.conditions, case))]
        for name in deciding
    }
    lead = best(
        [
            row
            for row in hit["lead"]
            if not {row.output["agency"], *row.output["chain"]} & set(without)
        ]
    )
    deadline = best(hit["deadline"])

    def told(row: Row) -> dict[str, Any]:
        return {"rule": row.id, **row.output}

    return {
        "outcome": "rule" if len(lead) == 1 else "triage",
        "ruleset": rules.document["ruleset"],
        "version": rules.version,
        "facts": looked_at,
        "lead": told(lead[0]) if len(lead) == 1 else None,
        "candidates": [row.id for row in lead] if len(lead) > 1 else [],
        "joint_review": [told(row) for row in hit["joint_review"]],
        "deadline": told(deadline[0]) if len(deadline) == 1 else None,
        "deadline_candidates": [row.id for row in deadline] if len(deadline) > 1 else [],
    }


# The universe.


@dataclass(frozen=True)
class Names:
    """What the city's catalogue knows."""

    services: frozenset[str]
    agencies: frozenset[str]
    districts: frozenset[str]


class Universe:
    """All cases of some rule sets with the same inputs. Of the values of an input that no cell
    tells apart one stands for all, unless `every` is asked for."""

    def __init__(
        self, rule_sets: Sequence[Rules], names: Names | None, every: bool = False
    ) -> None:
        self.inputs = rule_sets[0].inputs
        rows = [row for rules in rule_sets for table in rules.tables.values() for row in table]
        self.domains: list[list[Fact]] = []
        for at, definition in enumerate(self.inputs):
            conditions = list({row.conditions[at]: None for row in rows})
            values = possible(definition, conditions, names)
            if not every and at > 0:
                values = told_apart(values, conditions)
            self.domains.append([*values, None])
        known = names.services if names else frozenset()
        named = {v for row in rows for v in mentioned(row.conditions[0], "text")} - {UNHEARD}
        self.services = sorted(known | named)
        self._accepted = {
            row: tuple(
                {value for value in domain if matches(condition, value)}
                for condition, domain in zip(
                    row.conditions, [self.services, *self.domains[1:]], strict=True
                )
            )
            for row in rows
        }

    def size(self) -> int:
        """How many cases a service has."""
        size = 1
        for domain in self.domains[1:]:
            size *= len(domain)
        return size

    def cases(self, service: str) -> Iterator[Case]:
        return product([service], *self.domains[1:])

    def facts(self, case: Case) -> dict[str, Fact]:
        return {i["name"]: fact for i, fact in zip(self.inputs, case, strict=True)}

    def hit(self, rows: Sequence[Row], case: Case) -> list[Row]:
        """The rows that match a case."""
        return [row for row in rows if all(map(contains, self._accepted[row], case))]

    def rows_of(self, rows: Sequence[Row], service: str) -> list[Row]:
        return [row for row in rows if service in self._accepted[row][0]]


def possible(
    definition: dict[str, Any], conditions: Sequence[Condition], names: Names | None
) -> list[Fact]:
    """The values of an input, without missing, that are worth a case."""
    kind = definition["type"]
    if "values" in definition:
        return list(definition["values"])
    if "names" in definition and names:
        return sorted(getattr(names, definition["names"]))
    values = PLAIN[kind].union(*(mentioned(condition, kind) for condition in conditions))
    values |= {definition[end] for end in ("min", "max") if end in definition}
    return sorted((value for value in values if is_right(definition, value)), key=str)


def told_apart(values: Sequence[Fact], conditions: Sequence[Condition]) -> list[Fact]:
    first: dict[tuple[bool, ...], Fact] = {}
    for value in values:
        first.setdefault(tuple(matches(c, value) for c in conditions), value)
    return list(first.values())


# What the verifier proves.


@dataclass
class Findings:
    """Per table and service: the gaps, and the sets of rows that tie. Per table: rows."""

    gaps: set[tuple[str, str]]
    ties: dict[tuple[str, str], set[frozenset[str]]]
    foreign: set[tuple[str, str]]  # R201 to R204, but for R201 of outputs
    only_assumed: set[tuple[str, str]]
    dead: set[tuple[str, str]]
    never_overrule: set[tuple[str, str]]
    reviews_itself: set[tuple[str, str]]  # service, and row of joint_review
    misfits: set[tuple[str, str]]  # service, and row of deadline with too many or few steps


def findings(rules: Rules, names: Names | None) -> Findings:
    universe = Universe([rules], names)
    found = Findings(set(), {}, foreign(rules, names), set(), set(), set(), set(), set())
    for name in ("lead", "joint_review", "deadline"):
        table = rules.tables[name]
        single = rules.policies[name] != "COLLECT"
        known, cases = set(), []  # the rows that any case matches; what matches, case by case
        topmost, overrule = set(), set()
        for service in universe.services:
            rows = universe.rows_of(table, service)
            assumed = universe.rows_of(rules.tables["assume"], service)
            for case in universe.cases(service):
                hit = universe.hit(rows, case)
                known.update(hit)
                if universe.hit(assumed, case):
                    continue
                cases.append(hit)
                top = best(hit)
                topmost.update(top)
                if not hit and (name == "lead" or (name == "deadline" and table)):
                    found.gaps.add((name, service))
                if single and len(top) > 1:
                    ids = frozenset(row.id for row in top)
                    found.ties.setdefault((name, service), set()).add(ids)
                if len(top) < len(hit):
                    overrule.update(top)
        real = {row for hit in cases for row in hit}
        alive = topmost if single else needed(table, cases)
        for row in table:
            told = (name, row.id)
            if row not in known:
                found.dead.update({told} - found.foreign)
            elif row not in real:
                found.only_assumed.add(told)
            elif row not in alive:
                found.dead.add(told)
            elif rules.policies[name] == "UNIQUE" and row.priority > 0 and row not in overrule:
                found.never_overrule.add(told)
    for service in universe.services:
        lead, joint, deadline, assumed = (
            universe.rows_of(rules.tables[name], service)
            for name in ("lead", "joint_review", "deadline", "assume")
        )
        for case in universe.cases(service) if joint or deadline else ():
            top = best(universe.hit(lead, case))
            if len(top) != 1 or universe.hit(assumed, case):
                continue
            leading = top[0].output
            for row in universe.hit(joint, case):
                if row.output["agency"] == leading["agency"]:
                    found.reviews_itself.add((service, row.id))
            limits = best(universe.hit(deadline, case))
            steps = limits[0].output["steps"] if len(limits) == 1 else []
            if steps and len(steps) != 1 + len(leading["chain"]):
                found.misfits.add((service, limits[0].id))
    return found


def foreign(rules: Rules, names: Names | None) -> set[tuple[str, str]]:
    """The rows with a value that the input cannot have, or that the catalogue does not know."""
    return {
        (name, row.id)
        for name, table in rules.tables.items()
        for row in table
        for definition, condition in zip(rules.inputs, row.conditions, strict=True)
        for item in (condition[1] if len(condition) > 1 else ())
        for value in bounds(item)
        if not is_right(definition, value)
        or ("names" in definition and names and value not in getattr(names, definition["names"]))
    }


def needed(rows: Sequence[Row], cases: Sequence[Sequence[Row]]) -> set[Row]:
    """Under COLLECT: what is left when, from the last row to the first, each goes that adds
    nothing to those that are still there."""
    left = set(rows)
    for row in reversed(rows):
        alone = [
            hit
            for hit in cases
            if row in hit
            and not any(o is not row and o in left and o.said == row.said for o in hit)
        ]
        if not alone:
            left.remove(row)
    return left


# The difference of two rule sets.


def follows(universe: Universe, rules: Rules, table: str, case: Case) -> frozenset[str]:
    """What follows for a case from one table; nothing where no row decides."""
    hit = universe.hit(rules.tables[table], case)
    deciding = hit if rules.policies[table] == "COLLECT" else best(hit)
    one = len(deciding) == 1 or rules.policies[table] == "COLLECT"
    return frozenset(row.said for row in deciding) if one else frozenset()
