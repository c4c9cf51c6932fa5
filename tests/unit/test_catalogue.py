"""The city's data, and what is said when a table is broken: file, row and column."""

import csv
import io
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from catalogue import CatalogueError, Problem, load_catalogue
from catalogue.facts import RoutingFacts, load_facts
from catalogue.loader import CITY

DATA = CITY / "data"
TABLES = (
    "services.csv",
    "agencies.csv",
    "districts.csv",
    "documents.csv",
    "statuses.csv",
    "transitions.csv",
    "jurisdiction.csv",
    "topics.csv",
    "listings.csv",
    "wordings.csv",
    "offices.csv",
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
    for part in ("one (asked; on dispute)", "another"):
        row = [part, "一項", "proposal"]
        _edit(folder / "wordings.csv", lambda rows, row=row: rows.append(row))  # type: ignore[misc]

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


def test_every_word_of_a_rule_set_is_a_text_and_only_bounds_are_numbers_or_days(
    tmp_path: Path,
) -> None:
    inputs = _facts(
        tmp_path,
        "size: {type: text, values: [1, 2, no, 1.50, ~, 2026-01-01]}, "
        "many: {type: integer, min: -3, max: '12'}, day: {type: date, min: '2026-01-01'}",
    ).inputs

    assert inputs["size"].values == ("1", "2", "no", "1.50", "~", "2026-01-01")
    assert inputs["size"].read("no") == "no"
    with pytest.raises(ValueError, match="write 1 or 2 or no"):
        inputs["size"].read(1)
    assert (inputs["many"].least, inputs["many"].most) == (-3, 12)
    assert (inputs["day"].least, inputs["day"].most) == (date(2026, 1, 1), None)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "texts",
        "{type: integr}",
        "{meaning: x}",
        "{type: text, values: north}",
        "{type: text, values: []}",
        "{type: text, values: [[a]]}",
        "{type: text, values: ['']}",
        "{type: integer, min: many}",
        "{type: integer, max: }",
        "{type: integer, min: 1_000}",
        "{type: date, min: 2026-02-30}",
        "{type: date, max: [2026-01-01]}",
        "{type: text, min: 1}",
        "{type: text, meaning: [a]}",
        "{type: text, unit: {a: b}}",
    ],
)
def test_an_input_that_is_none_is_refused_with_its_file_and_name(tmp_path: Path, said: str) -> None:
    with pytest.raises(ValueError, match=r"ruleset\.yaml: input many: "):
        _facts(tmp_path, f"many: {said}")


@pytest.mark.parametrize(
    "content",
    [b"inputs: {a", b"just a text", b"", b"inputs: a", b"ruleset: test", b"inputs: {\xff: }"],
)
def test_a_header_that_is_none_is_refused_with_its_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ruleset.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=r"ruleset\.yaml: "):
        load_facts(tmp_path)


_SIDE = "service: {type: text}, district: {type: text}, side: {type: text, values: [a, b]}"


def test_blanks_a_mark_at_the_start_and_rows_that_say_nothing_do_not_count(tmp_path: Path) -> None:
    facts = _facts(
        tmp_path,
        _SIDE,
        "\ufeffid , service,\u3000district, side\r\n,,,\r\n\r\n , ,\n"
        "A, S-1\u3000; S-2 , - ,\u3000missing \r\n",
    )

    assert facts.required("S-1", "大安區") == facts.required("S-2", "北投區") == ("side",)
    assert facts.required("S-3", "大安區") == ()


@pytest.mark.parametrize(
    ("cells", "row", "told"),
    [
        ("A,S-1,-,missing,more", 4, "has 5 cells, row 1 has 4"),
        ("A,S-1,-", 4, "has 3 cells, row 1 has 4"),
        ('A,S-1,-,"missing', 4, "quot"),
        ('A,S-1,-,"missing"x', 4, "quot"),
        ("A,not (S-1),-,missing", 4, "a form can only"),
        ("A,S-1;,-,missing", 4, "a form can only"),
        ("A,S-1,,missing", 4, "a form can only"),
        ('A,"S-1; ""S-2""",-,missing', 4, "a form can only"),
    ],
)
def test_a_row_of_assume_that_cannot_be_read_is_refused_with_its_number(
    tmp_path: Path, cells: str, row: int, told: str
) -> None:
    # A new line inside of a quoted cell begins no row.
    before = 'id,service,district,side\n"A\nB",S-1,-,missing\n,,,\n'
    with pytest.raises(ValueError, match=rf"assume\.csv: row {row}: .*{told}"):
        _facts(tmp_path, _SIDE, f"{before}{cells}\n")


@pytest.mark.parametrize("head", ["id,service,,side", "id,service,side, side"])
def test_a_column_of_assume_without_a_name_of_its_own_is_refused(tmp_path: Path, head: str) -> None:
    with pytest.raises(ValueError, match=r"assume\.csv: row 1: "):
        _facts(tmp_path, _SIDE, f"{head}\nA,S-1,-,missing\n")


def test_an_assumption_about_what_is_no_input_is_refused_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"assume\.csv: row 2: the rules have no input 'sied'"):
        _facts(tmp_path, _SIDE, "id,service,sied\nA,S-1,missing\n")


def test_a_file_of_assumptions_that_is_no_text_is_refused_with_its_name(tmp_path: Path) -> None:
    _facts(tmp_path, _SIDE)
    (tmp_path / "assume.csv").write_bytes("id,service\n大安區,-\n".encode("big5"))
    with pytest.raises(ValueError, match=r"assume\.csv: is not UTF-8"):
        load_facts(tmp_path)


@pytest.mark.parametrize(
    ("file", "column", "value", "said"),
    [
        ("services.csv", "documents", "a paper of nobody's", "has no Chinese in wordings.csv"),
        ("services.csv", "fee_twd", "by mood", "has no Chinese in wordings.csv"),
        ("services.csv", "accept_at", "the moon", "neither agencies.csv nor offices.csv"),
        ("listings.csv", "audiences", "MARTIANS", "'MARTIANS' is no known audience"),
        ("listings.csv", "life_events", "RESIDENT", "'RESIDENT' is no known life event"),
        ("listings.csv", "basis_zh", "民法;刑法;憲法", "in both languages"),
    ],
)
def test_what_citizens_could_not_read_or_find_is_named(
    folder: Path, file: str, column: str, value: str, said: str
) -> None:
    _set(folder / file, 3, column, value)

    (problem,) = _problems(folder)
    assert (problem.file, problem.row) == (file, 3)
    assert said in problem.message


def test_a_service_that_nobody_could_find_is_named(folder: Path) -> None:
    _edit(folder / "listings.csv", lambda rows: rows.pop(1))

    (problem,) = _problems(folder)
    assert str(problem) == (
        "services.csv: row 2, column code: 'SVC-001' has no row in listings.csv"
    )
