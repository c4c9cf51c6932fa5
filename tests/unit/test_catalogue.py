"""The city's data, and what is said when a table is broken: file, row and column."""

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from catalogue import CatalogueError, Problem, load_catalogue
from catalogue.facts import RoutingFacts, load_facts
from catalogue.loader import DATA

TABLES = (
    "services.csv",
    "agencies.csv",
    "districts.csv",
    "documents.csv",
    "statuses.csv",
    "transitions.csv",
    "jurisdiction.csv",
)
Rows = list[list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the city's data, to be broken."""
    for name in TABLES:
        shutil.copy(DATA / name, tmp_path)
    return tmp_path


def _edit(path: Path, change: Callable[[Rows], None]) -> None:
    rows = list(csv.reader(io.StringIO(path.read_text("utf-8"), newline="")))
    change(rows)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    path.write_text(out.getvalue(), "utf-8")


def _set(path: Path, row: int, column: str, value: str) -> None:
    """Write a cell; `row` as a spreadsheet counts."""
    _edit(path, lambda rows: rows[row - 1].__setitem__(rows[0].index(column), value))


def _problems(folder: Path) -> list[Problem]:
    with pytest.raises(CatalogueError) as refused:
        load_catalogue(folder)
    assert all(str(problem) in str(refused.value) for problem in refused.value.problems)
    return list(refused.value.problems)


def _places(folder: Path) -> list[tuple[str, int, str]]:
    return [(problem.file, problem.row, problem.column) for problem in _problems(folder)]


def test_the_citys_own_data_holds() -> None:
    catalogue = load_catalogue()

    assert len(catalogue.districts) == 12
    assert sum(code.startswith("DO-") for code in catalogue.agencies) == 12
    assert {row.office for row in catalogue.jurisdiction} <= set(catalogue.agencies)
    assert len(catalogue.statuses) == 27
    assert sum(map(len, catalogue.transitions.values())) == 53


def test_a_copy_of_the_data_is_the_same_catalogue(folder: Path) -> None:
    assert load_catalogue(folder) == load_catalogue()


def test_a_byte_order_mark_as_spreadsheets_write_it_does_no_harm(folder: Path) -> None:
    path = folder / "services.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))

    assert load_catalogue(folder) == load_catalogue()


def test_big5_is_refused_and_what_to_save_instead_is_said(folder: Path) -> None:
    path = folder / "districts.csv"
    path.write_bytes(path.read_text("utf-8").encode("big5"))

    assert ("districts.csv", 0, "") in _places(folder)
    (problem,) = (p for p in _problems(folder) if p.file == "districts.csv")
    assert str(problem).startswith("districts.csv: the file: is not UTF-8")
    assert "CSV UTF-8" in problem.message


def test_a_table_that_is_missing_is_named(folder: Path) -> None:
    (folder / "documents.csv").unlink()

    (problem,) = _problems(folder)
    assert str(problem) == "documents.csv: the file: is missing"


def test_an_empty_table_lacks_its_columns(folder: Path) -> None:
    (folder / "documents.csv").write_text("")

    ((file, row, column),) = _places(folder)
    assert (file, row) == ("documents.csv", 1)
    assert "code" in column


def test_a_column_that_is_missing_is_named(folder: Path) -> None:
    def drop(rows: Rows) -> None:
        at = rows[0].index("queryable_by")
        for row in rows:
            del row[at]

    _edit(folder / "documents.csv", drop)

    assert _places(folder) == [("documents.csv", 1, "queryable_by")]


def test_a_column_that_nobody_knows_is_refused_and_named(folder: Path) -> None:
    def add(rows: Rows) -> None:
        for n, row in enumerate(rows):
            row.append("colour" if n == 0 else "red")

    _edit(folder / "documents.csv", add)

    assert {column for _, _, column in _places(folder)} == {"colour"}


def test_an_agency_that_does_not_exist_is_named_with_its_row(folder: Path) -> None:
    _set(folder / "services.csv", 5, "agency", "NOBODY")

    (problem,) = _problems(folder)
    assert (problem.file, problem.row, problem.column) == ("services.csv", 5, "agency")
    assert "'NOBODY'" in problem.message


def test_a_parent_that_does_not_exist_is_named_with_its_row(folder: Path) -> None:
    _set(folder / "agencies.csv", 7, "parent", "NOBODY")

    assert _places(folder) == [("agencies.csv", 7, "parent")]


@pytest.mark.parametrize("column", ["from", "to"])
def test_a_transition_to_or_from_no_status_is_named(folder: Path, column: str) -> None:
    _set(folder / "transitions.csv", 10, column, "DREAMING")

    assert _places(folder) == [("transitions.csv", 10, column)]


def test_a_jurisdiction_over_no_district_is_named(folder: Path) -> None:
    _set(folder / "jurisdiction.csv", 3, "district", "板橋區")

    assert _places(folder) == [("jurisdiction.csv", 3, "district")]


def test_an_office_that_is_no_agency_is_named(folder: Path) -> None:
    _set(folder / "jurisdiction.csv", 15, "office", "青年公園管理所")

    (problem,) = _problems(folder)
    assert (problem.file, problem.row, problem.column) == ("jurisdiction.csv", 15, "office")
    assert "agency" in problem.message


def test_a_semicolon_inside_brackets_does_not_cut_a_text_in_two(folder: Path) -> None:
    _set(folder / "services.csv", 4, "waivable", "one (asked; on dispute); another")

    waivable = load_catalogue(folder).services["SVC-003"].waivable
    assert waivable == ("one (asked; on dispute)", "another")


def test_a_code_that_stands_there_twice_is_named_where_it_stands_again(folder: Path) -> None:
    _edit(folder / "services.csv", lambda rows: rows.insert(9, list(rows[3])))

    (problem,) = _problems(folder)
    assert (problem.file, problem.row, problem.column) == ("services.csv", 10, "code")
    assert "SVC-003" in problem.message


@pytest.mark.parametrize("change", ["short", "long"])
def test_a_row_with_too_few_or_too_many_cells_is_named(folder: Path, change: str) -> None:
    def cut(rows: Rows) -> None:
        rows[4] = rows[4][:-1] if change == "short" else [*rows[4], "one too many"]

    _edit(folder / "documents.csv", cut)

    (problem,) = _problems(folder)
    assert (problem.file, problem.row, problem.column) == ("documents.csv", 5, "(all)")
    assert "expected 8 cells" in problem.message


def test_blank_lines_do_not_shift_the_row_numbers(folder: Path) -> None:
    _set(folder / "documents.csv", 5, "code", "not a code")
    _edit(folder / "documents.csv", lambda rows: rows.insert(1, []))

    assert _places(folder) == [("documents.csv", 6, "code")]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("code", "svc 1"),
        ("name_zh", ""),
        ("family", "circus"),
        ("limit", "soon"),
        ("limit", "-1"),
        ("limit_unit", "fortnight"),
        ("stage", "7"),
        ("open", "maybe"),
    ],
)
def test_a_cell_of_the_wrong_kind_is_named_and_shown(folder: Path, column: str, value: str) -> None:
    _set(folder / "services.csv", 4, column, value)

    (problem,) = _problems(folder)
    assert (problem.file, problem.row, problem.column) == ("services.csv", 4, column)
    assert repr(value) in problem.message


def test_a_limit_without_a_unit_is_refused(folder: Path) -> None:
    _set(folder / "services.csv", 4, "limit", "8")
    _set(folder / "services.csv", 4, "limit_unit", "")

    assert _places(folder) == [("services.csv", 4, "limit_unit")]


def test_all_problems_are_told_at_once(folder: Path) -> None:
    _set(folder / "services.csv", 5, "agency", "NOBODY")
    _set(folder / "services.csv", 6, "stage", "9")
    _set(folder / "jurisdiction.csv", 3, "district", "板橋區")

    assert sorted(_places(folder)) == [
        ("jurisdiction.csv", 3, "district"),
        ("services.csv", 5, "agency"),
        ("services.csv", 6, "stage"),
    ]


def _facts(folder: Path, inputs: str, assume: str = "id,service\n") -> RoutingFacts:
    (folder / "ruleset.yaml").write_text(f"ruleset: test\ninputs: {{{inputs}}}\n", "utf-8")
    (folder / "assume.csv").write_text(assume, "utf-8")
    return load_facts(folder)


def test_an_answer_is_a_fact_only_when_it_is_of_its_type_and_within_its_bounds(
    tmp_path: Path,
) -> None:
    inputs = _facts(
        tmp_path,
        "day: {type: date, min: 2020-01-01, max: 2029-12-31}, many: {type: integer, min: 2},"
        "sure: {type: yes_no}, side: {type: text, values: [left, right]}, free: {type: text}",
    ).inputs
    good = {"day": "2024-02-29", "many": 2, "sure": False, "side": "left"}
    bad: dict[str, list[object]] = {
        "day": ["2023-02-29", "20240229", "2019-12-31", "2030-01-01", 2024, True],
        "many": [1, "2", 2.0, True],
        "sure": [0, 1, "yes", "true"],
        "side": ["", "Left", True, 1],
        "free": ["", "anything"],
    }

    assert {name: inputs[name].read(value) for name, value in good.items()} == good
    for name, values in bad.items():
        for value in values:
            with pytest.raises(ValueError, match=f"{name}: write"):
                inputs[name].read(value)
    assert [name for name, one in inputs.items() if one.is_open] == ["free"]


def test_what_a_form_must_ask_for_follows_from_the_rows_of_assume(tmp_path: Path) -> None:
    facts = _facts(
        tmp_path,
        "service: {type: text}, district: {type: text}, side: {type: text, values: [a, b]}",
        "id,service,district,side\nA,-,missing,-\n,,,\nB,S-1; S-2,大安區; 中山區,missing\n",
    )

    assert facts.required("S-1", "大安區") == ("district", "side")
    assert facts.required("S-2", "中山區") == ("district", "side")
    assert facts.required("S-3", "大安區") == facts.required("S-1", "北投區") == ("district",)


@pytest.mark.parametrize(
    "cells",
    [
        "S-1,-,missing,missing",
        "S-1,-,-,-",
        "S-1,-,missing,<5",
        "not(S-1),-,missing,-",
        "S-1,present,missing,-",
        'S-1,"""大安區""",missing,-',
    ],
)
def test_an_assumption_that_no_form_can_see_to_is_refused_with_its_row(
    tmp_path: Path, cells: str
) -> None:
    with pytest.raises(ValueError, match=r"assume.csv: row 2: a form can only"):
        _facts(tmp_path, "", f"id,service,district,side,many\nA,{cells}\n")
