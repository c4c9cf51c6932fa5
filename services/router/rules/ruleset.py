"""A rule set: its tables, and the decisions by them."""

import hashlib
import json
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from services.router.rules.deciding import Decide, Deciders, Way
from services.router.rules.decision import Decision
from services.router.rules.errors import FactError
from services.router.rules.examples import Example, read_examples
from services.router.rules.folder import read_folder
from services.router.rules.inputs import NAMES, Input, is_unicode
from services.router.rules.plans import TABLES, Facts, Plan
from services.router.rules.reading import read_document
from services.router.rules.rows import Row, Table

TRIAGE = "TRIAGE"


@dataclass(frozen=True, slots=True)
class Names:
    """What the city's catalogue knows: services and agencies by code, districts by name.

    An empty set is not known: any name will do.
    """

    services: frozenset[str]
    agencies: frozenset[str]
    districts: frozenset[str]

    def to_json(self) -> dict[str, list[str]]:
        """As they travel beside a document."""
        return {kind: sorted(self.of(kind)) for kind in NAMES}

    @classmethod
    def from_json(cls, said: Mapping[str, Collection[str]]) -> "Names":
        """The names that `to_json` gave; a kind that is not there is not known."""
        return cls(**{kind: frozenset(said.get(kind, ())) for kind in NAMES})

    def of(self, kind: str) -> frozenset[str]:
        """The names that an input with `names: kind` can have."""
        return getattr(self, kind)  # type: ignore[no-any-return]


def known_values(inputs: Iterable[Input], names: Names | None) -> dict[str, frozenset[str]]:
    """By input all values that it can have, of those for which they are known."""
    return {
        one.name: values
        for one in inputs
        if (values := one.values or (names.of(one.names) if names and one.names else None))
    }


class RuleSet:
    """One version of a city's rules. It does not change; `edited` gives another one.

    `known` are the values of the inputs that name things of the catalogue; without them such
    an input takes any text.
    """

    def __init__(
        self,
        ruleset: str,
        inputs: tuple[Input, ...],
        tables: Mapping[str, Table],
        document: Mapping[str, Any],
        names: Names | None = None,
        examples: tuple[Example, ...] = (),
        example_columns: tuple[str, ...] = (),
        plans: Mapping[str, Plan] | None = None,
    ) -> None:
        self.id = ruleset
        self.inputs = inputs
        self.tables = tables
        self.document = document
        self.names = names
        self.examples = examples
        self.example_columns = example_columns
        self.known = known_values(inputs, names)
        self.plans: Mapping[str, Plan] = (
            plans if plans is not None else _plans(inputs, tables, self.services)
        )
        self._ways: dict[str, tuple[Decide, Way]] = {}

    @cached_property
    def services(self) -> frozenset[str]:
        """Every service that a row names, or the catalogue knows."""
        named = {
            str(value)
            for table in self.tables.values()
            for row in table.rows
            for value in row.service.values
        }
        return frozenset(named | self.names.services) if self.names else frozenset(named)

    @cached_property
    def for_any_service(self) -> tuple[tuple[str, Row], ...]:
        """Rows, with their table, whose cell of service is - or not(...)."""
        return tuple(
            (name, row)
            for name, table in self.tables.items()
            for row in table.rows
            if row.service.negated
        )

    @cached_property
    def version(self) -> str:
        """Made from the content: the same tables have the same version."""
        text = json.dumps(self.document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def plan(self, service: str) -> Plan:
        """The compiled rows that may apply to `service`."""
        found = self.plans.get(service)
        return found if found is not None else self._unnamed

    @cached_property
    def _deciders(self) -> Deciders:
        plans = [*self.plans.values(), self._unnamed]
        return Deciders(self.id, self.version, plans, self.known)

    @cached_property
    def _unnamed(self) -> Plan:
        rows: dict[str, list[Row]] = {name: [] for name in TABLES}
        for table, row in self.for_any_service:
            rows[table].append(row)
        return Plan(self.inputs, rows, {})

    def decide(self, facts: Facts, without: Collection[str] = ()) -> Decision:
        """The decision for a case: its facts by the names of inputs, with `service` among them.

        `without` are agencies that gave the case back. Raises FactError for a fact that is
        looked at and is none that its input can have.
        """
        try:
            function, way = self._ways[facts["service"]]
        except (KeyError, TypeError):
            service = self.service(facts)
            function, way = self._deciders.make(service, self.plan(service))
            # Those that no row names are not kept: there is no end of made-up ones.
            if service in self.plans:
                self._ways[service] = function, way
        decided = function(facts, way)
        if without:
            plan = self.plan(facts["service"])
            if tried := plan.tried(without):
                following = plan.outcome(plan.bits(facts, self.known) & ~tried)
                return decided._replace(following=following)
        return decided

    def service(self, facts: Facts) -> str:
        """The service of a case. Raises FactError."""
        service = facts.get("service")
        if not isinstance(service, str) or not service or not is_unicode(service):
            raise FactError("service", service, "the code of a service")
        known = self.known.get("service")
        if known is not None and service not in known:
            raise FactError("service", service, "the code of a service of the catalogue")
        return service

    def edited(self, table: str, row: Row) -> "RuleSet":
        """With `row` in place of the one in the same place of `table`: for a verifier that
        follows an editor. Only the plans of its services are made anew; the document stays
        what it was, and the version is none. Raises KeyError when there is no such row."""
        rows = self.tables[table].rows
        at = bisect_left(rows, row.number, key=lambda one: one.number)
        if at == len(rows) or rows[at].number != row.number:
            raise KeyError(row.id)
        before = rows[at]
        changed = replace(self.tables[table], rows=(*rows[:at], row, *rows[at + 1 :]))
        tables = {**self.tables, table: changed}
        plans: dict[str, Plan] | None = None
        if not before.service.negated and not row.service.negated:
            plans = dict(self.plans)
            for service in map(str, before.service.values | row.service.values):
                mine = {name: list(found) for name, found in self.plan(service).tables.items()}
                mine[table] = [one for one in mine[table] if one is not before]
                if row.service.holds_value(service):
                    mine[table].append(row)
                mine[table].sort(key=lambda one: one.number)
                plans[service] = Plan(self.inputs, mine, {})
        found = RuleSet(
            self.id,
            self.inputs,
            tables,
            self.document,
            self.names,
            self.examples,
            self.example_columns,
            plans,
        )
        if before.service == row.service and not row.service.negated:
            # What takes a look at every row is not done again.
            found.__dict__["services"] = self.services
            found.__dict__["for_any_service"] = self.for_any_service
        found.__dict__["version"] = "unsaved"
        return found


def _plans(
    inputs: tuple[Input, ...], tables: Mapping[str, Table], services: Collection[str]
) -> dict[str, Plan]:
    by_service: dict[str, dict[str, list[Row]]] = {}
    for name in TABLES:
        wild = [row for row in tables[name].rows if row.service.negated]
        for row in tables[name].rows:
            if not row.service.negated:
                for service in row.service.values:
                    rows = by_service.setdefault(str(service), {one: [] for one in TABLES})
                    rows[name].append(row)
        if wild:
            for service in services:
                rows = by_service.setdefault(service, {one: [] for one in TABLES})
                mine = [row for row in wild if row.service.holds_value(service)]
                rows[name] = sorted(rows[name] + mine, key=lambda row: row.number)
    shared: dict[Any, Any] = {}
    return {service: Plan(inputs, rows, shared) for service, rows in by_service.items()}


def load(folder: Path, names: Names | None = None) -> RuleSet:
    """The rule set in a folder. Raises TableError with every problem."""
    found = read_folder(folder)
    inputs, tables = read_document(found.document, found.numbers)
    examples = read_examples(found.examples, inputs)
    return RuleSet(
        found.document["ruleset"],
        inputs,
        tables,
        found.document,
        names,
        examples,
        found.examples.columns,
    )


def from_document(document: Mapping[str, Any], names: Names | None = None) -> RuleSet:
    """The rule set of a document, as it travels. Raises TableError with every problem."""
    inputs, tables = read_document(document, {})
    return RuleSet(document["ruleset"], inputs, tables, document, names)
