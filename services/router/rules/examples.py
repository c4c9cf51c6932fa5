"""Examples: cases with the answer that a rule owner expects."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.router.rules.conditions import ConditionError, read_number, read_value
from services.router.rules.errors import Problem, TableError
from services.router.rules.folder import Cells
from services.router.rules.inputs import Fact, Input
from services.router.rules.reading import AGENCY, NOTES
from services.router.rules.shape import ROW_ID, RefusedError, check_columns, check_id, refused


@dataclass(frozen=True, slots=True)
class Example:
    """A case with the answer that is expected; `rule` may be empty."""

    id: str
    number: int
    facts: Mapping[str, Fact]
    lead: str
    rule: str


def read_examples(cells: Cells, inputs: tuple[Input, ...]) -> tuple[Example, ...]:
    """The rows of examples.csv. Raises TableError with every problem."""
    file, columns = "examples.csv", cells.columns
    known = ("id", *(one.name for one in inputs), "lead", "rule", *NOTES)
    problems: list[Problem] = []
    required = ("id", "service", "lead") if cells.rows else ()
    check_columns(file, columns, known, required, problems)
    if problems:
        raise TableError(problems)
    found = []
    ids: dict[str, int] = {}
    for number, row in zip(cells.numbers, cells.rows, strict=True):
        said = dict(zip(columns, row, strict=True))
        facts: dict[str, Fact] = {}
        for one in inputs:
            cell = said.get(one.name, "")
            try:
                facts[one.name] = _fact(cell, one)
            except ConditionError as error:
                problems.append(Problem("T009", file, number, one.name, cell, str(error)))
        check_id(file, number, said["id"], ids, problems)
        if not AGENCY.fullmatch(said["lead"]):
            wrong = RefusedError("lead", "expected the code of an agency, or TRIAGE")
            problems.append(refused(file, number, said, wrong))
        if (rule := said.get("rule", "")) and not ROW_ID.fullmatch(rule):
            problems.append(Problem("T010", file, number, "rule", rule, "expected the id of a row"))
        found.append(Example(said["id"], number, facts, said["lead"], rule))
    if problems:
        raise TableError(problems)
    return tuple(found)


def _fact(cell: str, one: Input) -> Fact:
    if cell in ("", "missing"):
        return None
    if cell in ("-", "present"):
        raise ConditionError("an example has one value, or missing")
    if one.type == "date":
        read_number(cell, "date")
        return cell
    return read_number(cell, "integer") if one.type == "integer" else read_value(cell, one.type)
