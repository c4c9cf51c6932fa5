"""From a document to rows: every cell read, every problem told with its place."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from services.router.rules.conditions import (
    Condition,
    ConditionError,
    read_condition,
)
from services.router.rules.errors import Problem, TableError, shown, unseen
from services.router.rules.inputs import Input, read_inputs
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
from services.router.rules.shape import (
    RefusedError,
    check_cells,
    check_columns,
    check_id,
    columns_and_rows,
    json_object,
    refused,
)

AGENCY = re.compile(r"[A-Z][A-Z0-9-]{0,19}")
_RULESET = re.compile(r"[a-z][a-z0-9-]{0,39}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,6}")
NOTES = ("basis", "note")
_KEYS = ("format", "ruleset", "inputs", "hit_policies", "tables")
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
MOST_OF_A_SERVICE = 20_000
MOST_OF_ALL = 5_000_000
_MOST_PRIORITY = 1_000_000
_MOST_LIMIT = 1000


def read_document(
    document: Any, numbers: Mapping[str, tuple[int, ...]]
) -> tuple[tuple[Input, ...], dict[str, Table]]:
    """The inputs and all four tables. `numbers` are the rows' numbers in their files; without
    them rows count from 2. Raises TableError with every problem, whatever `document` is."""
    try:
        given = json_object(document, "the rule set", _KEYS)
        inputs, policies = _header(given)
        given = json_object(given.get("tables"), "tables", tuple(_COLUMNS))
    except ValueError as error:
        problem = Problem("T004", "ruleset.yaml", None, None, "", str(error))
        raise TableError([problem]) from None
    problems: list[Problem] = []
    tables: dict[str, Table] = {}
    for name in _COLUMNS:
        rows: tuple[Row, ...] = ()
        if name in given:
            rows = _rows(name, given[name], numbers.get(name), inputs, problems)
        tables[name] = Table(name, policies.get(name), rows)
    if not tables["lead"].rows and not problems:
        problems.append(Problem("T001", "lead.csv", None, None, "", "the table has no row"))
    if not problems:
        _check_sizes(tables, problems)
    if problems:
        raise TableError(problems)
    return inputs, tables


def _check_sizes(tables: Mapping[str, Table], problems: list[Problem]) -> None:
    """A service is compiled to bitmaps: of n rows that differ they take n * n bits."""
    rows = [row for table in tables.values() for row in table.rows]
    counts = Counter(
        value for row in rows if not row.service.negated for value in row.service.values
    )
    of_any = sum(row.service.negated for row in rows)
    service, most = counts.most_common(1)[0]
    if most + of_any > MOST_OF_A_SERVICE:
        detail = f"{most + of_any} rows for {shown(service)}: more than {MOST_OF_A_SERVICE}"
        problems.append(Problem("T012", "lead.csv", None, "service", "", detail))
    elif counts.total() + of_any * len(counts) > MOST_OF_ALL:
        detail = f"rows times services that they are for: more than {MOST_OF_ALL}"
        problems.append(Problem("T012", "lead.csv", None, "service", "", detail))


def _header(document: Mapping[str, Any]) -> tuple[tuple[Input, ...], dict[str, Any]]:
    """The inputs, and the hit policy of each table. Raises ValueError."""
    said = document.get("format")
    if type(said) is not int or said != 1:
        raise ValueError(f"format is {shown(said)}, expected 1")
    ruleset = document.get("ruleset")
    if not isinstance(ruleset, str) or not _RULESET.fullmatch(ruleset):
        raise ValueError(
            f"ruleset is {shown(ruleset)}: expected a name of small letters, digits and '-',"
            " at most 40, that begins with a letter"
        )
    said = document.get("inputs")
    if not isinstance(said, list) or not all(
        isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in said
    ):
        raise ValueError("inputs: expected a list of descriptions with a name")
    if len({one["name"] for one in said}) < len(said):
        raise ValueError("inputs: a name is there twice")
    inputs = read_inputs(
        {one["name"]: {k: v for k, v in one.items() if k != "name"} for one in said}
    )
    policies = json_object(document.get("hit_policies", {}), "hit_policies", tuple(POLICIES))
    found = {name: policies.get(name, allowed[0]) for name, allowed in POLICIES.items()}
    for name, policy in found.items():
        if policy not in POLICIES[name]:
            allowed = " or ".join(POLICIES[name])
            raise ValueError(f"hit policy of {name} is {shown(policy)}, expected {allowed}")
    return inputs, found


def _rows(
    name: str,
    given: Any,
    numbers: tuple[int, ...] | None,
    inputs: tuple[Input, ...],
    problems: list[Problem],
) -> tuple[Row, ...]:
    file = f"{name}.csv"
    columns, rows = columns_and_rows(file, given, problems)
    known = ("id", *(one.name for one in inputs), *_COLUMNS[name], *NOTES)
    before = len(problems)
    check_columns(file, columns, known, _REQUIRED[name], problems)
    if len(problems) > before:
        return ()
    found: list[Row] = []
    ids: dict[str, int] = {}
    if numbers is None:
        numbers = tuple(range(2, len(rows) + 2))
    places = [(one, columns.index(one.name) if one.name in columns else -1) for one in inputs]
    output = _OUTPUTS[name]
    for number, cells in zip(numbers, rows, strict=True):
        here = len(problems)
        check_cells(file, number, columns, cells, problems)
        if len(problems) > here:
            continue
        conditions = _conditions(file, number, places, cells, name, problems)
        said = dict(zip(columns, cells, strict=True))
        row_id = said["id"]
        check_id(file, number, row_id, ids, problems)
        try:
            priority = _priority(said)
            what = output(said)
        except RefusedError as error:
            problems.append(refused(file, number, said, error))
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
            if cell:
                problems.append(Problem("T009", file, number, one.name, cell, str(error)))
            else:
                # Only lead must name its services.
                named = one.name == "service" and table == "lead"
                detail = "is empty: name the service" if named else str(error)
                detail += "; a merged cell leaves the rows below it empty"
                problems.append(Problem("T007", file, number, one.name, "", detail))
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
        raise RefusedError(
            "priority", f"expected a whole number from 0 to {_MOST_PRIORITY}, or empty"
        )
    return int(cell)


def _agency(said: Mapping[str, str], column: str) -> str:
    cell = said.get(column, "")
    if not AGENCY.fullmatch(cell):
        raise RefusedError(column, "expected the code of an agency: capitals, digits and '-'")
    return cell


def _list(said: Mapping[str, str], column: str) -> list[str]:
    cell = said.get(column, "")
    parts = [part.strip() for part in cell.split(";")] if cell else []
    if "" in parts:
        raise RefusedError(column, "an item is empty: two semicolons, or one at the end")
    return parts


def _lead(said: Mapping[str, str]) -> Lead:
    chain = _list(said, "chain")
    for code in chain:
        if not AGENCY.fullmatch(code):
            raise RefusedError("chain", "expected codes of agencies, separated by ';'")
    lead = _agency(said, "lead")
    responsible = _agency(said, "responsible") if said.get("responsible") else lead
    return Lead(said["id"], lead, tuple(chain), responsible)


def _joint_review(said: Mapping[str, str]) -> JointReview:
    if said["task"] not in ("review", "query"):
        raise RefusedError("task", "expected review or query")
    document = said.get("document", "")
    if hidden := unseen(document):
        raise RefusedError("document", f"holds {hidden}, which nobody sees: type it anew")
    return JointReview(said["id"], _agency(said, "agency"), said["task"], document)


def _deadline(said: Mapping[str, str]) -> Deadline:
    limit, unit = _days(said["limit"], "limit"), said["unit"]
    if unit not in UNITS:
        raise RefusedError("unit", f"expected one of {', '.join(UNITS)}")
    if unit == "at_once" and limit:
        raise RefusedError("limit", "at_once has the limit 0")
    steps = tuple(_days(part, "steps") for part in _list(said, "steps"))
    return Deadline(said["id"], limit, unit, steps)


def _days(cell: str, column: str) -> int:
    if not _NUMBER.fullmatch(cell) or int(cell) > _MOST_LIMIT:
        raise RefusedError(column, f"expected a whole number from 0 to {_MOST_LIMIT}")
    return int(cell)


_OUTPUTS: Mapping[str, Callable[[Mapping[str, str]], Output | None]] = {
    "lead": _lead,
    "joint_review": _joint_review,
    "deadline": _deadline,
    "assume": lambda said: None,
}
