"""A folder of tables, as a rule owner keeps it, read into the document that travels."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.router.rules.errors import Problem, TableError, unseen
from services.router.rules.files import read_text
from services.router.rules.header import HEADER, read_header

TABLES = ("lead", "joint_review", "deadline", "assume")
EXAMPLES = "examples"
MOST_ROWS = 200_000
LONGEST_CELL = 2_000
_FILES = tuple(f"{name}.csv" for name in (*TABLES, EXAMPLES))
_SHEETS = (".xls", ".xlsx", ".xlsm", ".ods", ".tsv")
_MARK_MISSING = "is a quotation mark missing?"
_SHEET_ERROR = re.compile(
    r"#(?:REF|VALUE|NUM|NULL|DIV/0|SPILL|CALC|FIELD|BLOCKED|CONNECT|BUSY|UNKNOWN)!"
    r"|#NAME\?|#N/A|#GETTING_DATA|###+|Err:[0-9]{3}"
)


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
    paths = _paths(folder)
    problems: list[Problem] = []
    header = read_header(folder / HEADER, problems)
    found: dict[str, Cells] = {}
    for path in paths:
        ending = path.suffix.lower()
        if path.name in _FILES:
            found[path.stem] = _table(path, problems)
        elif ending in _SHEETS:
            detail = "a spreadsheet: save it as CSV UTF-8 and take this file away"
            problems.append(Problem("T003", path.name, None, None, "", detail))
        elif ending == ".csv":
            detail = f"no table of a rule set; known are {', '.join(_FILES)}"
            if path.name.lower() in _FILES:
                detail = f"is named with capitals: name it {path.name.lower()}"
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


def _paths(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        detail = "there is no such folder"
    except NotADirectoryError:
        detail = f"is a file: give the folder that holds {HEADER}"
    except OSError as error:
        detail = f"cannot be read: {error.strerror}"
    raise TableError([Problem("T001", str(folder), None, None, "", detail)])


def _table(path: Path, problems: list[Problem]) -> Cells:
    text = read_text(path, problems)
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
                if len(problems) > before:
                    break
                continue
            if not any(cells):
                continue
            if len(rows) >= MOST_ROWS:
                detail = f"more than {MOST_ROWS} rows: a rule set of a city has fewer"
                problems.append(Problem("T012", path.name, number, None, "", detail))
                break
            if len(cells) != len(columns):
                detail = f"has {len(cells)} cells, row 1 has {len(columns)} columns"
                if not any(cells[len(columns) :]):
                    detail += ": empty ones at the end count too"
                elif len(cells) > len(columns):
                    detail += ": is a cell with a comma in it not quoted?"
                problems.append(Problem("T006", path.name, number, None, "", detail))
                continue
            _check_cells(path.name, number, columns, cells, problems)
            rows.append(cells)
            numbers.append(number)
    except csv.Error as error:
        detail = "a quoted cell has no end: a quotation mark is missing"
        if "expected after" in str(error):
            detail = "the quoting is broken: a mark inside of a quoted cell is written twice"
        elif "limit" in str(error):
            detail = f"a cell has more than {csv.field_size_limit()} characters: {_MARK_MISSING}"
        problems.append(Problem("T003", path.name, number + 1, None, "", detail))
    return Cells(columns, tuple(rows), tuple(numbers)) if len(problems) == before else Cells(())


def _records(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Each row with its number; str.strip takes the ideographic blank as well."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    for number, cells in enumerate(reader, start=1):
        yield number, tuple([cell.strip() for cell in cells])


def _check_columns(file: str, columns: tuple[str, ...], problems: list[Problem]) -> None:
    def wrong(code: str, message: str, column: str | None = None) -> None:
        problems.append(Problem(code, file, 1, column, "", message))

    if not any(columns):
        return wrong("T005", "is empty: it must name the columns; take away the rows above them")
    if columns[0].startswith("sep="):
        return wrong("T003", "is a spreadsheet's note of its separator: take this row away")
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(mark in column for column in columns):
            return wrong("T003", f"cells are separated by {name}: save it as CSV with commas")
    if unnamed := [place for place, name in enumerate(columns) if not name]:
        letters = ", ".join(map(_letters, unnamed[:10])) + (", ..." if unnamed[10:] else "")
        detail = f"columns without a name: {letters}; name them, or delete them in the spreadsheet"
        wrong("T005", detail)
    seen: set[str] = set()
    for name in columns:
        if name in seen:
            wrong("T005", "the column is there twice", name)
        elif hidden := unseen(name):
            wrong("T005", f"holds {hidden}, which nobody sees: type the name anew", name)
        if name:
            seen.add(name)


def _letters(place: int) -> str:
    """A column as a spreadsheet names it: A to Z, AA and on."""
    rest, last = divmod(place, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("A") + last)


def _check_cells(
    file: str, number: int, columns: tuple[str, ...], cells: tuple[str, ...], told: list[Problem]
) -> None:
    for column, cell in zip(columns, cells, strict=True):
        if cell.startswith(("=", "+", "@")):
            told.append(
                Problem("T008", file, number, column, cell, "a formula: put its value here")
            )
        elif cell.startswith(("#", "Err:")) and _SHEET_ERROR.fullmatch(cell):
            detail = "an error of the spreadsheet: put the value here"
            told.append(Problem("T008", file, number, column, cell, detail))
        elif len(cell) > LONGEST_CELL:
            detail = f"longer than {LONGEST_CELL} characters"
            told.append(Problem("T012", file, number, column, cell, detail))
