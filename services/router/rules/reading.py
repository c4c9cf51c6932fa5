"""From a document to rows: every cell read, every problem told with its place."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.router.rules.conditions import (
    Condition,
    ConditionError,
    read_condition,
    read_number,
    read_value,
)
from services.router.rules.errors import Problem, TableError
from services.router.rules.folder import Cells
from services.router.rules.inputs import Fact, Input, read_inputs
from services.router.rules.rows import (
    POLICIES,
    UNITS,
    Deadline,
    JointReview,
    Lead,
    Output,
    Row,
    Table,
)

ROW_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
AGENCY = re.compile(r"[A-Z][A-Z0-9-]{0,19}")
_RULESET = re.compile(r"[a-z][a-z0-9-]{0,39}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,6}")
_NOTES = ("basis", "note")
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "lead": ("priority", "lead", "chain", "responsible"),
    "joint_review": ("agency", "task", "document"),
    "deadline": ("priority", "limit", "unit", "steps"),
    "assume": (),
}
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "lead": ("id", "service", "lead"),
    "joint_review": ("id", "service", "agency", "task"),
    "deadline": ("id", "service", "limit", "unit"),
    "assume": ("id",),
}
_MOST_PRIORITY = 1_000_000
_MOST_LIMIT = 1000


class _RefusedError(ValueError):
    """An output cell that cannot be read; `column` and what was expected."""

    def __init__(self, column: str, message: str, code: str = "T010") -> None:
        super().__init__(message)
        self.column = column
        self.code = code


def read_document(
    document: Mapping[str, Any], numbers: Mapping[str, tuple[int, ...]]
) -> tuple[tuple[Input, ...], dict[str, Table]]:
    """The inputs and all four tables. `numbers` are the rows' numbers in their files; without
    them rows count from 2. Raises TableError with every problem."""
    inputs, policies = _header(document)
    problems: list[Problem] = []
    tables: dict[str, Table] = {}
    given = document.get("tables")
    if not isinstance(given, Mapping) or any(name not in _COLUMNS for name in given):
        raise TableError([_document(f"tables: expected some of {', '.join(_COLUMNS)}")])
    for name in _COLUMNS:
        rows: tuple[Row, ...] = ()
        if name in given:
            rows = _rows(name, given[name], numbers.get(name), inputs, problems)
        tables[name] = Table(name, policies.get(name), rows)
    if not tables["lead"].rows and not problems:
        problems.append(Problem("T001", "lead.csv", None, None, "", "the table has no row"))
    if problems:
        raise TableError(problems)
    return inputs, tables


def _header(document: Mapping[str, Any]) -> tuple[tuple[Input, ...], dict[str, Any]]:
    if document.get("format") != 1:
        raise TableError([_document("format: expected 1")])
    ruleset = document.get("ruleset")
    if not isinstance(ruleset, str) or not _RULESET.fullmatch(ruleset):
        detail = f"ruleset is {ruleset!r}: expected a name of small letters, digits and -"
        raise TableError([_document(detail)])
    said = document.get("inputs")
    if not isinstance(said, list) or not all(
        isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in said
    ):
        raise TableError([_document("inputs: expected a list of descriptions with a name")])
    if len({one["name"] for one in said}) < len(said):
        raise TableError([_document("inputs: a name is there twice")])
    try:
        inputs = read_inputs(
            {one["name"]: {k: v for k, v in one.items() if k != "name"} for one in said}
        )
    except ValueError as error:
        raise TableError([_document(str(error))]) from None
    policies = document.get("hit_policies", {})
    if not isinstance(policies, Mapping):
        raise TableError([_document("hit_policies: expected a table's name and its policy")])
    found = {name: policies.get(name, allowed[0]) for name, allowed in POLICIES.items()}
    for name, policy in found.items():
        if policy not in POLICIES[name]:
            allowed = " or ".join(POLICIES[name])
            raise TableError([_document(f"hit policy of {name}: {policy!r}, expected {allowed}")])
    if unknown := [name for name in policies if name not in POLICIES]:
        raise TableError([_document(f"hit_policies: there is no table {unknown[0]!r}")])
    return inputs, found


def _document(message: str) -> Problem:
    return Problem("T004", "ruleset.yaml", None, None, "", message)


def _rows(
    name: str,
    given: Any,
    numbers: tuple[int, ...] | None,
    inputs: tuple[Input, ...],
    problems: list[Problem],
) -> tuple[Row, ...]:
    file = f"{name}.csv"
    if not isinstance(given, Mapping) or not all(
        isinstance(given.get(key), list) for key in ("columns", "rows")
    ):
        raise TableError([_document(f"tables: {name}: expected columns and rows")])
    columns, rows = given["columns"], given["rows"]
    known = ("id", *(one.name for one in inputs), *_COLUMNS[name], *_NOTES)
    before = len(problems)
    for column in columns:
        if column not in known:
            hint = f"unknown; known are {', '.join(known)}"
            problems.append(Problem("T005", file, 1, str(column), "", hint))
    problems.extend(
        Problem("T005", file, 1, column, "", "the column is missing")
        for column in _REQUIRED[name]
        if column not in columns
    )
    if len(problems) > before:
        return ()
    found: list[Row] = []
    ids: dict[str, int] = {}
    if numbers is None:
        numbers = tuple(range(2, len(rows) + 2))
    places = [(one, columns.index(one.name) if one.name in columns else -1) for one in inputs]
    output = _OUTPUTS[name]
    for number, cells in zip(numbers, rows, strict=True):
        if not isinstance(cells, list) or len(cells) != len(columns):
            problems.append(Problem("T006", file, number, None, "", "too many or too few cells"))
            continue
        here = len(problems)
        conditions = _conditions(file, number, places, cells, name, problems)
        said = dict(zip(columns, cells, strict=True))
        row_id = said["id"]
        if not ROW_ID.fullmatch(row_id):
            code = "T010" if row_id else "T007"
            detail = "expected letters, digits, '.', '_' and '-', at most 64"
            problems.append(Problem(code, file, number, "id", row_id, detail))
        elif row_id in ids:
            detail = f"this id stands in row {ids[row_id]} already"
            problems.append(Problem("T011", file, number, "id", row_id, detail))
        ids.setdefault(row_id, number)
        try:
            priority = _priority(said)
            what = output(said)
        except _RefusedError as error:
            cell = said.get(error.column, "")
            code = error.code if cell else "T007"
            problems.append(Problem(code, file, number, error.column, cell, str(error)))
            continue
        if len(problems) == here:
            found.append(Row(row_id, number, conditions, what, priority))
    return tuple(found)


def _conditions(
    file: str,
    number: int,
    places: list[tuple[Input, int]],
    cells: list[str],
    table: str,
    problems: list[Problem],
) -> tuple[Condition, ...]:
    found = []
    for one, place in places:
        cell = cells[place] if place >= 0 else "-"
        try:
            condition = read_condition(cell, one.type)
        except ConditionError as error:
            code = "T009" if cell else "T007"
            hint = "; a merged cell leaves the rows below it empty" if not cell else ""
            problems.append(Problem(code, file, number, one.name, cell, f"{error}{hint}"))
            continue
        if one.name == "service" and (detail := _wrong_service(condition, table)):
            problems.append(Problem("T009", file, number, "service", cell, detail))
        found.append(condition)
    return tuple(found)


def _wrong_service(condition: Condition, table: str) -> str:
    if condition.missing and not condition.anything:
        return "every case has a service: it is never missing"
    if table == "lead" and condition.negated:
        return (
            "name the services: there is no row for every service;"
            " what no rule matches goes to triage"
        )
    return ""


def _priority(said: Mapping[str, str]) -> int:
    cell = said.get("priority", "") or "0"
    if not _NUMBER.fullmatch(cell) or int(cell) > _MOST_PRIORITY:
        raise _RefusedError(
            "priority", f"expected a whole number from 0 to {_MOST_PRIORITY}, or empty"
        )
    return int(cell)


def _agency(said: Mapping[str, str], column: str) -> str:
    cell = said.get(column, "")
    if not AGENCY.fullmatch(cell):
        raise _RefusedError(column, "expected the code of an agency: capitals, digits and '-'")
    return cell


def _list(said: Mapping[str, str], column: str) -> list[str]:
    cell = said.get(column, "")
    parts = [part.strip() for part in cell.split(";")] if cell else []
    if "" in parts:
        raise _RefusedError(column, "an item is empty: two semicolons, or one at the end")
    return parts


def _lead(said: Mapping[str, str]) -> Lead:
    chain = _list(said, "chain")
    for code in chain:
        if not AGENCY.fullmatch(code):
            raise _RefusedError("chain", "expected codes of agencies, separated by ';'")
    lead = _agency(said, "lead")
    responsible = _agency(said, "responsible") if said.get("responsible") else lead
    return Lead(said["id"], lead, tuple(chain), responsible)


def _joint_review(said: Mapping[str, str]) -> JointReview:
    if said["task"] not in ("review", "query"):
        raise _RefusedError("task", "expected review or query")
    return JointReview(said["id"], _agency(said, "agency"), said["task"], said.get("document", ""))


def _deadline(said: Mapping[str, str]) -> Deadline:
    limit, unit = _days(said["limit"], "limit"), said["unit"]
    if unit not in UNITS:
        raise _RefusedError("unit", f"expected one of {', '.join(UNITS)}")
    if unit == "at_once" and limit:
        raise _RefusedError("limit", "at_once has the limit 0")
    steps = tuple(_days(part, "steps") for part in _list(said, "steps"))
    return Deadline(said["id"], limit, unit, steps)


def _days(cell: str, column: str) -> int:
    if not _NUMBER.fullmatch(cell) or int(cell) > _MOST_LIMIT:
        raise _RefusedError(column, f"expected a whole number from 0 to {_MOST_LIMIT}")
    return int(cell)


_OUTPUTS: Mapping[str, Callable[[Mapping[str, str]], Output | None]] = {
    "lead": _lead,
    "joint_review": _joint_review,
    "deadline": _deadline,
    "assume": lambda said: None,
}


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
    known = ("id", *(one.name for one in inputs), "lead", "rule", *_NOTES)
    problems = [
        Problem("T005", file, 1, column, "", f"unknown; known are {', '.join(known)}")
        for column in columns
        if column not in known
    ]
    if cells.rows:
        problems += [
            Problem("T005", file, 1, column, "", "the column is missing")
            for column in ("id", "service", "lead")
            if column not in columns
        ]
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
        if not ROW_ID.fullmatch(said["id"]):
            detail = "expected letters, digits, '.', '_' and '-', at most 64"
            problems.append(Problem("T010", file, number, "id", said["id"], detail))
        elif said["id"] in ids:
            detail = f"this id stands in row {ids[said['id']]} already"
            problems.append(Problem("T011", file, number, "id", said["id"], detail))
        ids.setdefault(said["id"], number)
        if not AGENCY.fullmatch(said["lead"]):
            detail = "expected the code of an agency, or TRIAGE"
            problems.append(Problem("T010", file, number, "lead", said["lead"], detail))
        found.append(Example(said["id"], number, facts, said["lead"], said.get("rule", "")))
    if problems:
        raise TableError(problems)
    return tuple(found)


def _fact(cell: str, one: Input) -> Fact:
    if cell in ("", "missing"):
        return None
    if one.type == "date":
        read_number(cell, "date")
        return cell
    return read_number(cell, "integer") if one.type == "integer" else read_value(cell, one.type)
