"""A folder of tables, as a rule owner keeps it, read into the document that travels."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from services.router.rules.errors import Problem, TableError
from services.router.rules.inputs import read_inputs
from services.router.rules.rows import POLICIES

HEADER = "ruleset.yaml"
TABLES = ("lead", "joint_review", "deadline", "assume")
EXAMPLES = "examples"
MOST_ROWS = 200_000
LONGEST_CELL = 2_000
_SHEETS = (".xls", ".xlsx", ".ods")
_FOREIGN = {"big5": "Big5", "utf-16": "UTF-16", "gb18030": "GB 18030"}
_SHEET_ERRORS = ("#REF!", "#N/A", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!", "Err:")


@dataclass(frozen=True, slots=True)
class Cells:
    """A table as it stands in its file; `numbers` are the rows' numbers there."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = ()
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Folder:
    """What a folder holds: the document, where its rows stand, and the examples."""

    document: dict[str, Any]
    numbers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    examples: Cells = Cells(())


def read_folder(folder: Path) -> Folder:
    """Read all files of a rule set; cells stay text. Raises TableError with every problem."""
    if not folder.is_dir():
        raise TableError([Problem("T001", str(folder), None, None, "", "there is no such folder")])
    problems: list[Problem] = []
    header = _header(folder / HEADER, problems)
    found: dict[str, Cells] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _SHEETS:
            detail = "a spreadsheet: save it as CSV UTF-8 and take this file away"
            problems.append(Problem("T003", path.name, None, None, "", detail))
        elif path.suffix == ".csv":
            if path.stem in (*TABLES, EXAMPLES):
                found[path.stem] = _table(path, problems)
            else:
                known = ", ".join(f"{name}.csv" for name in (*TABLES, EXAMPLES))
                detail = f"no table of a rule set; known are {known}"
                problems.append(Problem("T001", path.name, None, None, "", detail))
    if "lead" not in found:
        problems.append(Problem("T001", "lead.csv", None, None, "", "the file is missing"))
    if problems:
        raise TableError(problems)
    examples = found.pop(EXAMPLES, Cells(()))
    document = header | {
        "tables": {
            name: {
                "columns": list(found[name].columns),
                "rows": [list(row) for row in found[name].rows],
            }
            for name in TABLES
            if name in found and found[name].rows
        }
    }
    return Folder(document, {name: one.numbers for name, one in found.items()}, examples)


def _header(path: Path, problems: list[Problem]) -> dict[str, Any]:
    def wrong(code: str, message: str, row: int | None = None) -> dict[str, Any]:
        problems.append(Problem(code, path.name, row, None, "", message))
        return {}

    text = _text(path, problems)
    if text is None:
        return {}
    try:
        said = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return wrong("T004", "is no YAML" + _cause(error), mark.line + 1 if mark else None)
    if not isinstance(said, dict):
        return wrong("T004", "expected the keys ruleset, inputs and tables")
    if unknown := [str(key) for key in said if key not in ("ruleset", "inputs", "tables")]:
        return wrong("T004", f"unknown key {unknown[0]!r}; expected are ruleset, inputs and tables")
    inputs, tables = said.get("inputs"), said.get("tables") or {}
    if not isinstance(inputs, dict):
        return wrong("T004", "inputs: expected a name and a description for each input")
    policies: dict[str, str] = {name: allowed[0] for name, allowed in POLICIES.items()}
    if not isinstance(tables, dict):
        return wrong("T004", "tables: expected the name of a table and {hit_policy: ...}")
    for name, one in tables.items():
        if name not in POLICIES or not isinstance(one, dict) or list(one) != ["hit_policy"]:
            known = ", ".join(POLICIES)
            return wrong("T004", f"tables: {name!r}: expected {known}, each {{hit_policy: ...}}")
        policies[name] = one["hit_policy"]
    try:
        read_inputs(inputs)
    except ValueError as error:
        return wrong("T004", str(error))
    return {
        "format": 1,
        "ruleset": said.get("ruleset"),
        "inputs": [{"name": name, **_plain(one)} for name, one in inputs.items()],
        "hit_policies": policies,
    }


def _plain(said: dict[str, Any]) -> dict[str, Any]:
    """Without what JSON does not have: YAML reads dates."""
    return {
        key: value.isoformat() if isinstance(value, date) else value
        for key, value in said.items()
        if value is not None
    }


def _cause(error: yaml.YAMLError) -> str:
    cause = getattr(error, "problem", None)
    return f": {cause}" if cause else ""


def _text(path: Path, problems: list[Problem]) -> str | None:
    """The file as text, without a byte order mark; None when it cannot be read."""

    def wrong(code: str, message: str, row: int | None = None) -> None:
        problems.append(Problem(code, path.name, row, None, "", message))

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        wrong("T001", "the file is missing")
        return None
    except OSError as error:
        wrong("T001", f"cannot be read: {error.strerror}")
        return None
    if not data.strip():
        wrong("T001", "the file is empty")
    elif data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        wrong("T003", "a spreadsheet with the name of a CSV file: save it as CSV UTF-8")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            guess = _encoding(data)
            looks = f"; it looks like {guess}" if guess else ""
            row = data.count(b"\n", 0, error.start) + 1
            detail = f"is not UTF-8 (byte {error.start}){looks}: save it as CSV UTF-8"
            wrong("T002", detail, row)
            return None
        if "\x00" not in text:
            return text
        wrong("T002", "holds NUL characters; it looks like UTF-16: save it as CSV UTF-8")
    return None


def _encoding(data: bytes) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    for name, title in _FOREIGN.items():
        try:
            data.decode(name)
        except UnicodeDecodeError:
            continue
        return title
    return None


def _table(path: Path, problems: list[Problem]) -> Cells:
    text = _text(path, problems)
    if text is None:
        return Cells(())
    before = len(problems)
    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = []
    numbers: list[int] = []
    number = 0
    try:
        for number, cells in _records(text):
            if number == 1:
                columns = cells
                _check_columns(path.name, columns, problems)
                continue
            if not any(cells):
                continue
            if len(rows) >= MOST_ROWS:
                detail = f"more than {MOST_ROWS} rows: a rule set of a city has fewer"
                problems.append(Problem("T012", path.name, number, None, "", detail))
                break
            if len(cells) != len(columns):
                detail = f"has {len(cells)} cells, row 1 has {len(columns)} columns"
                problems.append(Problem("T006", path.name, number, None, "", detail))
                continue
            _check_cells(path.name, number, columns, cells, problems)
            rows.append(cells)
            numbers.append(number)
    except csv.Error as error:
        detail = f"the quoting is broken after row {number}: {error}"
        problems.append(Problem("T003", path.name, number + 1, None, "", detail))
    return Cells(columns, tuple(rows), tuple(numbers)) if len(problems) == before else Cells(())


def _records(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each row with its number; str.strip takes the ideographic blank as well."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for number, cells in enumerate(reader, start=1):
        yield number, tuple([cell.strip() for cell in cells])


def _check_columns(file: str, columns: tuple[str, ...], problems: list[Problem]) -> None:
    if len(columns) == 1:
        for mark, name in ((";", "semicolons"), ("\t", "tabs")):
            if mark in columns[0]:
                detail = f"cells are separated by {name}: save it as CSV with commas"
                problems.append(Problem("T003", file, 1, None, "", detail))
                return
    for place, name in enumerate(columns, start=1):
        if not name:
            detail = f"column {place} has no name"
            problems.append(Problem("T005", file, 1, None, "", detail))
        elif name in columns[: place - 1]:
            problems.append(Problem("T005", file, 1, name, "", "the column is there twice"))


def _check_cells(
    file: str, number: int, columns: tuple[str, ...], cells: tuple[str, ...], told: list[Problem]
) -> None:
    for column, cell in zip(columns, cells, strict=True):
        if cell.startswith(("=", "+", "@")):
            told.append(
                Problem("T008", file, number, column, cell, "a formula: put its value here")
            )
        elif cell.startswith(_SHEET_ERRORS):
            told.append(Problem("T008", file, number, column, cell, "an error of the spreadsheet"))
        elif len(cell) > LONGEST_CELL:
            detail = f"longer than {LONGEST_CELL} characters"
            told.append(Problem("T012", file, number, column, cell, detail))
