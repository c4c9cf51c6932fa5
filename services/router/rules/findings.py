"""A finding of the verifier: a code that stays, the rows, and a case that shows it."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.router.rules.conditions import write_value
from services.router.rules.errors import FactError
from services.router.rules.inputs import Fact
from services.router.rules.ruleset import TRIAGE, RuleSet

TITLES = {
    "R101": "gap",
    "R102": "overlap",
    "R103": "dead row",
    "R104": "exception that never applies",
    "R105": "row only for what cannot happen",
    "R201": "unknown agency",
    "R202": "unknown service",
    "R203": "unknown district",
    "R204": "value that cannot be",
    "R301": "the lead reviews itself",
    "R302": "an agency twice in a chain",
    "R303": "steps that do not fit",
    "R401": "not proved",
    "R501": "an example fails",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """`rules` are ids of rows, the one that is meant first; `rows` its number in the file, or
    those of all rows of an overlap; `counterexample` the facts of a case that shows it."""

    code: str
    table: str
    rules: tuple[str, ...]
    rows: tuple[int, ...]
    message: str
    counterexample: Mapping[str, Fact] | None = None
    example_row: str | None = None

    @property
    def title(self) -> str:
        return TITLES[self.code]

    @property
    def page(self) -> str:
        return f"docs/findings/{self.code}.md"

    def __hash__(self) -> int:
        return hash((self.code, self.table, self.rules, self.message))

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "title": self.title,
            "table": self.table,
            "rules": list(self.rules),
            "rows": list(self.rows),
            "message": self.message,
            "counterexample": dict(self.counterexample) if self.counterexample else None,
            "example_row": self.example_row,
            "page": self.page,
        }


def example_line(rules: RuleSet, code: str, facts: Mapping[str, Fact]) -> str:
    """The case as a line for examples.csv, with what is decided now as the expected lead.

    In the columns that the file has, unless it has none for a fact that is needed.
    """
    plan = rules.plan(str(facts["service"]))
    try:
        lead = plan.outcome(plan.bits(facts, rules.known)).lead
    except FactError:
        lead = None
    inputs = {one.name: one for one in rules.inputs}
    columns = rules.example_columns
    if any(name not in columns for name, fact in facts.items() if fact is not None):
        columns = ("id", *inputs, "lead")
    cells = {"id": f"{code}.{facts['service']}", "lead": lead.agency if lead else TRIAGE}
    for name, one in inputs.items():
        fact = facts.get(name)
        if fact is None:
            cells[name] = "missing"
        else:
            cells[name] = str(fact) if one.type == "date" else write_value(fact, one.type)
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([cells.get(column, "") for column in columns])
    return out.getvalue()
