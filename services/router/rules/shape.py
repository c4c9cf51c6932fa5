"""The shape of what is read: objects, columns, rows of texts, ids; not yet what they say."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.router.rules.errors import MOST_TOLD, Problem, TableError, near, shown
from services.router.rules.folder import LONGEST_CELL, MOST_ROWS
from services.router.rules.inputs import is_unicode

ROW_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class RefusedError(ValueError):
    """An output cell that cannot be read; `column` and what was expected."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


def json_object(said: Any, what: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    """A JSON object with no other than the known keys. Raises ValueError."""
    if not isinstance(said, Mapping):
        raise ValueError(f"{what} is {shown(said)}, expected an object with {', '.join(known)}")
    for key in said:
        if key not in known:
            hint = near(str(key), known)
            raise ValueError(f"{what}: unknown {shown(key)}{hint}; known are {', '.join(known)}")
    return said


def columns_and_rows(file: str, given: Any, problems: list[Problem]) -> tuple[list[str], list[Any]]:
    """The two parts of a table in a document. Raises TableError."""

    def wrong(code: str, message: str) -> TableError:
        return TableError([*problems, Problem(code, file, None, None, "", message)])

    if not isinstance(given, Mapping) or set(given) != {"columns", "rows"}:
        raise wrong("T004", "expected columns and rows")
    columns, rows = given["columns"], given["rows"]
    if not isinstance(columns, list) or not all(isinstance(one, str) for one in columns):
        raise wrong("T004", "columns: expected a list of names")
    if not isinstance(rows, list):
        raise wrong("T004", "rows: expected a list of rows")
    if len(rows) > MOST_ROWS:
        raise wrong("T012", f"more than {MOST_ROWS} rows: a rule set of a city has fewer")
    return columns, rows


def check_columns(
    file: str,
    columns: Sequence[str],
    known: Sequence[str],
    required: Sequence[str],
    problems: list[Problem],
) -> None:
    """Tell the columns that are unknown, there twice, or missing."""
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            problems.append(Problem("T005", file, 1, column, "", "the column is there twice"))
        elif column not in known:
            hint = near(column, known) if len(problems) < MOST_TOLD else ""
            detail = f"unknown{hint}; known are {', '.join(known)}"
            problems.append(Problem("T005", file, 1, column, "", detail))
        seen.add(column)
    problems.extend(
        Problem("T005", file, 1, column, "", "the column is missing")
        for column in required
        if column not in seen
    )


def check_cells(
    file: str, number: int, columns: Sequence[str], cells: Any, problems: list[Problem]
) -> None:
    """Tell what is wrong with a row that should have a text for each column."""
    if not isinstance(cells, list) or len(cells) != len(columns):
        detail = f"expected {len(columns)} texts, one for each column"
        problems.append(Problem("T006", file, number, None, "", detail))
        return
    try:
        text = "".join(cells)
    except TypeError:
        text = ""
    else:
        if len(text) <= LONGEST_CELL and (text.isascii() or is_unicode(text)):
            return  # as nearly all are
    for column, cell in zip(columns, cells, strict=True):
        if not isinstance(cell, str):
            detail = f"is {shown(cell)}, expected a text"
            problems.append(Problem("T006", file, number, column, "", detail))
        elif len(cell) > LONGEST_CELL:
            detail = f"longer than {LONGEST_CELL} characters"
            problems.append(Problem("T012", file, number, column, cell, detail))
        elif not cell.isascii() and not is_unicode(cell):
            detail = "half of a surrogate pair is no character"
            problems.append(Problem("T010", file, number, column, cell, detail))


def check_id(
    file: str, number: int, row_id: str, ids: dict[str, int], problems: list[Problem]
) -> None:
    """Tell a wrong id; `ids` are those of earlier rows, with their numbers."""
    if not ROW_ID.fullmatch(row_id):
        detail = "expected letters, digits, '.', '_' and '-', at most 64, a letter or digit first"
        problems.append(refused(file, number, {"id": row_id}, RefusedError("id", detail)))
    elif row_id in ids:
        detail = f"this id stands in row {ids[row_id]} already"
        problems.append(Problem("T011", file, number, "id", row_id, detail))
    ids.setdefault(row_id, number)


def refused(file: str, number: int, said: Mapping[str, str], error: RefusedError) -> Problem:
    """A cell of `said` that is no output, or empty where it must not be."""
    cell = said.get(error.column, "")
    if cell:
        return Problem("T010", file, number, error.column, cell, str(error))
    return Problem("T007", file, number, error.column, "", f"is empty: {error}")
