"""The rows of the tables: conditions and what follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.router.rules.conditions import Condition
from services.router.rules.inputs import Input

Policy = Literal["UNIQUE", "PRIORITY", "COLLECT"]
POLICIES: Mapping[str, tuple[Policy, ...]] = {
    "lead": ("UNIQUE", "PRIORITY"),
    "joint_review": ("COLLECT",),
    "deadline": ("PRIORITY", "UNIQUE"),
}
UNITS = ("working_day", "calendar_day", "month", "hour", "at_once")


@dataclass(frozen=True, slots=True)
class Lead:
    """Row `rule` says who leads, who follows in turn, and whose business it is."""

    rule: str
    agency: str
    chain: tuple[str, ...] = ()
    responsible: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "agency": self.agency,
            "chain": list(self.chain),
            "responsible": self.responsible,
        }


@dataclass(frozen=True, slots=True)
class JointReview:
    """`task` is review or query; `document` the code of what is queried, or empty."""

    rule: str
    agency: str
    task: str
    document: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "agency": self.agency,
            "task": self.task,
            "document": self.document,
        }


@dataclass(frozen=True, slots=True)
class Deadline:
    """`limit` in `unit`, and the share of each agency in turn (empty when not said)."""

    rule: str
    limit: int
    unit: str
    steps: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "limit": self.limit,
            "unit": self.unit,
            "steps": list(self.steps),
        }


Output = Lead | JointReview | Deadline


@dataclass(frozen=True, slots=True)
class Row:
    """One row; `number` as a spreadsheet counts, `conditions` one for each input, in order."""

    id: str
    number: int
    conditions: tuple[Condition, ...]
    output: Output | None = None
    priority: int = 0

    @property
    def service(self) -> Condition:
        return self.conditions[0]


def meaning(output: Output | None) -> tuple[Any, ...] | None:
    """What follows for a case: the output without the row that said it."""
    match output:
        case Lead():
            return (output.agency, output.chain, output.responsible)
        case JointReview():
            return (output.agency, output.task, output.document)
        case Deadline():
            return (output.limit, output.unit, output.steps)
    return None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its rows in the order of the file."""

    name: str
    policy: Policy | None
    rows: tuple[Row, ...]


def matches(row: Row, inputs: tuple[Input, ...], values: tuple[Any, ...]) -> bool:
    """Whether all conditions hold; `values` as Input.value and Input.number give them."""
    for condition, one, value in zip(row.conditions, inputs, values, strict=True):
        if value is None:
            if not condition.missing:
                return False
        elif one.ordered:
            if not condition.holds_number(value):
                return False
        elif not condition.holds_value(value):
            return False
    return True
