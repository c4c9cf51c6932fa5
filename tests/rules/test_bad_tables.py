"""What spreadsheets, rule owners and attackers put into a folder: each is told with its place."""

import csv
import io
import re
from pathlib import Path

import pytest

from services.router.rules import Problem, TableError, load
from tests.rules.folders import COLUMNS, HEADER, LEAD, ROW, folder, lead, problem, problems, row

# One cell.


@pytest.mark.parametrize(
    ("column", "cell", "code", "message"),
    [
        ("people", "many", "T009", "'many' is no whole number"),
        ("people", "1,000", "T009", "'1,000' is no whole number; write 1000"),
        ("people", "3.0", "T009", "'3.0' is no whole number; write 3"),
        ("people", "007", "T009", "'007' is no whole number; leave out the leading zeros"),
        ("people", "１２", "T009", "'１２' is no whole number; write '12'"),
        ("people", "1E+06", "T009", "a spreadsheet has shortened it"),
        ("people", "2026-01-01", "T009", "'2026-01-01' is no whole number"),
        ("people", "", "T007", "is empty: write '-' for anything; a merged cell leaves"),
        ("newborn", "TRUE", "T009", "'TRUE' is neither yes nor no"),
        ("born_on", "2026/1/5", "T009", "'2026/1/5' is no date YYYY-MM-DD; write 2026-01-05"),
        ("born_on", "46000", "T009", "'46000' is no date YYYY-MM-DD; write it as 2026-11-24"),
        ("street", "a；b", "T009", "'a；b' holds '；': separate values by ';'; write 'a;b'"),
        ("service", "", "T007", "is empty: name the service; a merged cell leaves"),
        ("service", "-", "T009", "name the services"),
        ("service", "missing", "T009", "it is never missing"),
        ("id", "", "T007", "is empty: expected letters, digits"),
        ("id", "R 1", "T010", "expected letters, digits, '.', '_' and '-'"),
        ("id", "規則一", "T010", "expected letters, digits, '.', '_' and '-'"),
        ("lead", "", "T007", "is empty: expected the code of an agency"),
        ("lead", "police", "T010", "expected the code of an agency: capitals, digits and '-'"),
        ("lead", "POLICE; LAND", "T010", "expected the code of an agency"),
        ("chain", "LAND;;TAX", "T010", "an item is empty: two semicolons, or one at the end"),
        ("chain", "LAND、TAX", "T010", "expected codes of agencies, separated by ';'"),
        ("priority", "high", "T010", "expected a whole number from 0 to 1000000, or empty"),
        ("priority", "-1", "T010", "expected a whole number from 0 to 1000000, or empty"),
        ("priority", "1000001", "T010", "expected a whole number from 0 to 1000000, or empty"),
        ("district", "=VLOOKUP(A2;X;2)", "T008", "a formula: put its value here"),
        ("note", "+886 2 2720", "T008", "a formula: put its value here"),
        ("note", "@SUM(A1)", "T008", "a formula: put its value here"),
        ("lead", "#REF!", "T008", "an error of the spreadsheet: put the value here"),
        ("people", "#N/A", "T008", "an error of the spreadsheet: put the value here"),
        ("people", "Err:502", "T008", "an error of the spreadsheet: put the value here"),
        ("born_on", "########", "T008", "an error of the spreadsheet: put the value here"),
        pytest.param("note", "x" * 2001, "T012", "longer than 2000 characters", id="long"),
    ],
)
def test_a_cell_that_cannot_be_read_is_told_with_file_row_column_and_cell(
    tmp_path: Path, column: str, cell: str, code: str, message: str
) -> None:
    found = problem(
        tmp_path,
        {"lead.csv": lead(row(service="S-2"), row(id="R-2", **{column: cell}))}
        if column != "id"
        else {"lead.csv": lead(row(service="S-2"), row(id=cell))},
    )

    shown = cell if len(cell) <= 80 else cell[:77] + "..."
    assert (found.code, found.file, found.row, found.column) == (code, "lead.csv", 3, column)
    assert found.cell == cell
    assert message in found.message
    assert str(found).startswith(f"lead.csv, row 3, column {column}:")
    assert shown in str(found)


@pytest.mark.parametrize("note", ["#123 of the list", "Err: see page 3", "# N/A", "-5", "'=1"])
def test_a_note_that_only_looks_like_a_spreadsheets_error_is_a_note(
    tmp_path: Path, note: str
) -> None:
    assert load(folder(tmp_path, {"lead.csv": lead(row(note=note))})).tables["lead"].rows


def test_every_cell_of_a_mixed_column_is_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    cells = ["5", "many", "1,000", "-", "3.0"]
    rows = [row(id=f"R-{at}", service=f"S-{at}", people=cell) for at, cell in enumerate(cells)]

    found = problems(folder(tmp_path, {"lead.csv": lead(*rows)}))

    assert [(one.row, one.cell) for one in found] == [(3, "many"), (4, "1,000"), (6, "3.0")]


def test_all_that_is_wrong_with_a_row_is_told_at_once(tmp_path: Path) -> None:
    wrong = row(id="a b", people="many", born_on="soon", lead="nobody")

    found = problems(folder(tmp_path, {"lead.csv": lead(wrong)}))

    assert [one.column for one in found] == ["people", "born_on", "id", "lead"]


def test_an_id_twice_is_told_with_the_row_that_has_it_first(tmp_path: Path) -> None:
    found = problem(tmp_path, {"lead.csv": lead(row(), row(id="R-2", service="S-2"), row())})

    assert (found.code, found.row, found.column) == ("T011", 4, "id")
    assert found.message == "this id stands in row 2 already"


def test_merged_cells_leave_empty_ones_and_each_is_told(tmp_path: Path) -> None:
    below = [row(id=f"R-{at}", service="", district="中正區") for at in (2, 3)]

    found = problems(folder(tmp_path, {"lead.csv": lead(row(), *below)}))

    assert [(one.code, one.row, one.column) for one in found] == [
        ("T007", 3, "service"),
        ("T007", 4, "service"),
    ]
    assert found[0].message.endswith("; a merged cell leaves the rows below it empty")


def test_at_most_a_hundred_problems_are_told_with_their_whole_number(tmp_path: Path) -> None:
    rows = [row(id=f"R-{at}", service=f"S-{at}", people="many") for at in range(1234)]

    with pytest.raises(TableError) as error:
        load(folder(tmp_path, {"lead.csv": lead(*rows)}))

    assert (len(error.value.problems), error.value.count) == (100, 1234)
    lines = str(error.value).splitlines()
    assert (len(lines), lines[-1]) == (101, "and 1134 more")


# Rows and columns.


def test_rows_that_say_nothing_count_and_are_left_out(tmp_path: Path) -> None:
    text = lead(",,,,,,,,,,,", row(), "", "\u3000, ,", row(id="R-2", people="many"))

    found = problem(tmp_path, {"lead.csv": text})

    assert found.row == 6


def test_a_cell_with_a_new_line_in_it_is_one_cell_of_one_row(tmp_path: Path) -> None:
    text = lead(row(note="one\ntwo\r\nthree"), row(id="R-2", people="many"))

    assert problem(tmp_path, {"lead.csv": text}).row == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("R-1,S-1,-", "has 3 cells, row 1 has 12 columns: empty ones at the end count too"),
        (f"{ROW},,", "has 14 cells, row 1 has 12 columns: empty ones at the end count too"),
        (f"{ROW},more", "has 13 cells, row 1 has 12 columns: is a cell with a comma in it not q"),
    ],
)
def test_a_row_with_more_or_fewer_cells_is_told(tmp_path: Path, line: str, message: str) -> None:
    found = problem(tmp_path, {"lead.csv": lead(line)})

    assert (found.code, found.row, found.column) == ("T006", 2, None)
    assert found.message.startswith(message)


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    rows = list(csv.reader(io.StringIO(lead(row(side="north", people="5..9", chain="LAND")))))
    turned = "".join(",".join(reversed(cells)) + "\n" for cells in rows)

    expected, found = (
        load(folder(tmp_path / name, {"lead.csv": text}))
        for name, text in (
            ("a", lead(row(side="north", people="5..9", chain="LAND"))),
            ("b", turned),
        )
    )

    assert found.tables == expected.tables


@pytest.mark.parametrize(
    ("columns", "column", "message"),
    [
        (
            "id,service,lead,distrcit",
            "distrcit",
            "unknown: did you mean 'district'?; known are id,",
        ),
        ("id,service,lead,District", "District", "unknown: did you mean 'district'?"),
        ("id,service,lead,agency", "agency", "unknown; known are id, service, district, side"),
        ("id,service,lead,note,note", "note", "the column is there twice"),
        ("id,service,note", "lead", "the column is missing"),
        ("id,lead,note", "service", "the column is missing"),
        ("id,service,lead,note\u200b", "note\u200b", "holds U+200B, which nobody sees"),
    ],
)
def test_a_column_that_is_unknown_missing_or_there_twice_is_told(
    tmp_path: Path, columns: str, column: str, message: str
) -> None:
    cells = ["R-1", "S-1", "POLICE", "", ""][: columns.count(",") + 1]
    found = problem(tmp_path, {"lead.csv": f"{columns}\n{','.join(cells)}\n"})

    assert (found.code, found.file, found.row, found.column) == ("T005", "lead.csv", 1, column)
    assert found.message.startswith(message)


def test_empty_columns_that_a_spreadsheet_left_are_told_by_its_letters(tmp_path: Path) -> None:
    text = "".join(f"{line},,\n" for line in LEAD.splitlines())

    found = problem(tmp_path, {"lead.csv": text})

    assert (found.code, found.row, found.column) == ("T005", 1, None)
    assert found.message == (
        "columns without a name: M, N; name them, or delete them in the spreadsheet"
    )


def test_a_hundred_thousand_columns_are_told_in_a_few_words(tmp_path: Path) -> None:
    found = problem(tmp_path, {"lead.csv": "," * 100_000 + f"\n{ROW}"})
    assert found.message.startswith("is empty: it must name the columns")

    found = problem(tmp_path, {"lead.csv": "id" + "," * 100_000 + f"\n{ROW}"})
    assert found.message.startswith("columns without a name: B, C, D, E, F, G, H, I, J, K, ...;")

    odd = ",".join(f"c{at}" for at in range(100_000))
    with pytest.raises(TableError) as error:
        load(folder(tmp_path, {"lead.csv": f"{odd}\n{odd}"}))
    assert error.value.count == 100_003  # id, service and lead are missing


@pytest.mark.parametrize(
    ("mark", "name"), [(";", "semicolons"), ("\t", "tabs")], ids=["semicolons", "tabs"]
)
def test_cells_that_are_separated_by_something_else_are_told_once(
    tmp_path: Path, mark: str, name: str
) -> None:
    text = lead(row(), row(id="R-2", note="a, b")).replace(",", mark)

    found = problem(tmp_path, {"lead.csv": text})

    assert (found.code, found.file, found.row) == ("T003", "lead.csv", 1)
    assert found.message == f"cells are separated by {name}: save it as CSV with commas"


@pytest.mark.parametrize("start", ["\n", ",,,\n", " \r\n\n"])
def test_rows_above_the_columns_are_told(tmp_path: Path, start: str) -> None:
    found = problem(tmp_path, {"lead.csv": start + LEAD})

    assert (found.code, found.row) == ("T005", 1)
    assert found.message == "is empty: it must name the columns; take away the rows above them"


def test_the_note_of_a_separator_is_told(tmp_path: Path) -> None:
    found = problem(tmp_path, {"lead.csv": "sep=,\n" + LEAD})

    assert (found.code, found.row) == ("T003", 1)
    assert found.message == "is a spreadsheet's note of its separator: take this row away"


# Quoting and the ends of lines.


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('R-2,"S-2"x,-', "the quoting is broken: a mark inside of a quoted cell is written twice"),
        ('R-2,"S-2,-,-', "a quoted cell has no end: a quotation mark is missing"),
        (
            'R-2,"S-2,' + "x" * 200_000,
            "a cell has more than 131072 characters: is a quotation mark missing?",
        ),
    ],
    ids=["in the middle", "open", "open and long"],
)
def test_broken_quoting_is_told_with_the_row_in_which_it_begins(
    tmp_path: Path, line: str, message: str
) -> None:
    found = problem(tmp_path, {"lead.csv": lead(row(note="one\ntwo"), line, ROW)})

    assert (found.code, found.file, found.row) == ("T003", "lead.csv", 3)
    assert found.message == message


def test_a_mark_within_a_cell_that_is_not_quoted_stands_for_itself(tmp_path: Path) -> None:
    assert load(folder(tmp_path, {"lead.csv": lead(ROW + 'a 5" pipe')}))

    found = problem(tmp_path, {"lead.csv": lead(ROW.replace("R-1,S-1", 'R-1,S-"1'))})
    assert (found.code, found.column) == ("T009", "service")
    assert found.message == "a quotation mark is left open"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["", "BOM"])
def test_the_ends_of_lines_and_a_byte_order_mark_change_nothing(
    tmp_path: Path, start: str, end: str
) -> None:
    text = lead(row(note="中正區"), row(id="R-2", service="S-2"))
    (tmp_path / "plain").mkdir()

    plain = load(folder(tmp_path / "plain", {"lead.csv": text}))
    found = load(
        folder(
            tmp_path,
            {
                "lead.csv": start + text.replace("\n", end),
                "ruleset.yaml": start + HEADER.replace("\n", end),
            },
        )
    )

    assert found.version == plain.version
    assert [one.number for one in found.tables["lead"].rows] == [2, 3]


def test_mixed_ends_of_lines_are_read(tmp_path: Path) -> None:
    text = f"{COLUMNS}\r\n{row()}\r{row(id='R-2', service='S-2')}\n{row(id='R-3', service='S-3')}"

    found = load(folder(tmp_path, {"lead.csv": text})).tables["lead"].rows

    assert [one.number for one in found] == [2, 3, 4]


def test_blanks_around_a_cell_do_not_count(tmp_path: Path) -> None:
    columns, cells = COLUMNS.replace(",", " ,\u3000"), ROW.replace(",", "\u00a0, ")
    text = f" {columns}\n\u3000{cells}\n"

    assert load(folder(tmp_path, {"lead.csv": text})).document["tables"]["lead"]["rows"] == [
        ROW.split(",")
    ]


# Examples.


@pytest.mark.parametrize(
    ("text", "code", "column", "message"),
    [
        ("id,service,lead\nE-1,S-1,\n", "T007", "lead", "is empty: expected the code of an"),
        ("id,service,lead\nE-1,S-1,nobody\n", "T010", "lead", "expected the code of an agency"),
        ("id,service,lead\n,S-1,TRIAGE\n", "T007", "id", "is empty"),
        ("id,service,people,lead\nE-1,S-1,>5,TRIAGE\n", "T009", "people", "'>5' is no whole"),
        ("id,service,side,lead\nE-1,S-1,-,TRIAGE\n", "T009", "side", "an example has one value"),
        ("id,service,lead,rule\nE-1,S-1,TRIAGE,a b\n", "T010", "rule", "expected the id of a row"),
    ],
)
def test_a_cell_of_an_example_is_told_like_any_other(
    tmp_path: Path, text: str, code: str, column: str, message: str
) -> None:
    found = problem(tmp_path, {"examples.csv": text})

    assert (found.code, found.file, found.row, found.column) == (code, "examples.csv", 2, column)
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    ("columns", "column"), [("id,service", "lead"), ("id,service,lead,answer", "answer")]
)
def test_a_column_of_the_examples_is_told_like_any_other(
    tmp_path: Path, columns: str, column: str
) -> None:
    cells = ",".join(["E-1", "S-1", "TRIAGE", ""][: columns.count(",") + 1])
    found = problem(tmp_path, {"examples.csv": f"{columns}\n{cells}\n"})

    assert (found.code, found.file, found.column) == ("T005", "examples.csv", column)


# What is told.


def test_a_message_is_one_line_and_short_whatever_the_cell_holds(tmp_path: Path) -> None:
    cell = "\x1b[31m\u202e\n" + "x" * 1900

    found = problem(tmp_path, {"lead.csv": lead(row(people=cell))})

    assert len(str(found)) < 400
    assert str(found).isprintable()
    assert len(found.to_json()["cell"]) <= 80


def test_each_problem_as_json_has_the_fields_of_the_format(tmp_path: Path) -> None:
    found = problem(tmp_path, {"lead.csv": lead(row(people="many"))})

    assert found.to_json() == {
        "code": "T009",
        "file": "lead.csv",
        "row": 2,
        "column": "people",
        "cell": "many",
        "message": "'many' is no whole number",
    }
    assert re.fullmatch(r"lead\.csv, row 2, column people: 'many': .* \[T009\]", str(found))


def test_a_problem_that_is_about_a_whole_file_has_neither_row_nor_column() -> None:
    found = Problem("T001", "lead.csv", None, None, "", "the file is missing")

    assert str(found) == "lead.csv: the file is missing [T001]"
    assert (found.to_json()["row"], found.to_json()["column"]) == (None, None)
