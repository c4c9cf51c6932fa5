"""What spreadsheets, rule owners and attackers put into a folder: each is told with its place."""

import csv
import io
import os
import re
from pathlib import Path

import pytest

from services.router.rules import Problem, TableError, from_document, load
from tests.rules.folders import COLUMNS, HEADER, LEAD, ROW, folder, lead, problem, problems, row

# Of one file, as a spreadsheet of Taiwan saves it.
CHINESE = lead(row(note="中正區"), row(id="R-2", service="S-2", note="大安區"))


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
        ("service", "", "T007", "is empty"),
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
        ("R-1,S-1,-", "has 3 cells, row 1 has 12 columns"),
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


# Quoting and the ends of lines.


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('R-2,"S-2"x,-', "the quoting is broken: a mark inside of a quoted cell is written twice"),
        ('R-2,"S-2,-,-', "a quoted cell has no end: a quotation mark is missing"),
        ('R-2,"S-2,' + "x" * 200_000, "a quoted cell has no end: a quotation mark is missing"),
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


# Files that are no text.


@pytest.mark.parametrize(
    ("encoding", "looks"),
    [("big5", "Big5"), ("cp950", "Big5"), ("gbk", "GBK"), ("utf-16", "UTF-16")],
)
def test_another_encoding_is_named(tmp_path: Path, encoding: str, looks: str) -> None:
    found = problem(tmp_path, {"lead.csv": CHINESE.encode(encoding)})

    assert (found.code, found.file) == ("T002", "lead.csv")
    assert "is not UTF-8" in found.message
    assert looks in found.message
    assert found.message.endswith("save it as CSV UTF-8")
    assert found.row == (None if encoding == "utf-16" else 2)


def test_the_row_in_which_a_file_ceases_to_be_utf_8_is_counted_as_a_spreadsheet_does(
    tmp_path: Path,
) -> None:
    text = lead(row(note="one\ntwo"), row(id="R-2")).encode() + "R-3,中".encode("big5")

    assert problem(tmp_path, {"lead.csv": b"\xef\xbb\xbf" + text}).row == 4


def test_utf_16_without_a_mark_is_known_by_its_nul_characters(tmp_path: Path) -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        found = problem(tmp_path, {"lead.csv": CHINESE.encode(encoding)})

        assert (found.code, "UTF-16" in found.message) == ("T002", True)


def test_a_byte_that_no_known_encoding_has_is_told_all_the_same(tmp_path: Path) -> None:
    found = problem(tmp_path, {"lead.csv": LEAD.encode() + b"\xff\xff\n"})

    assert (found.code, found.row) == ("T002", 3)
    assert found.message == "is not UTF-8 from here on: save it as CSV UTF-8"


@pytest.mark.parametrize("start", [b"PK\x03\x04\x14\x00", b"\xd0\xcf\x11\xe0\xa1\xb1"])
def test_a_spreadsheet_that_was_only_renamed_is_told(tmp_path: Path, start: bytes) -> None:
    found = problem(tmp_path, {"lead.csv": start + bytes(range(256))})

    assert (found.code, found.file) == ("T003", "lead.csv")
    assert found.message == "a spreadsheet with the ending .csv: save it as CSV UTF-8"


@pytest.mark.parametrize("name", ["lead.xlsx", "Rules 2026.XLS", "deadline.ods", "deadline.tsv"])
def test_a_spreadsheet_beside_the_tables_is_told(tmp_path: Path, name: str) -> None:
    found = problem(tmp_path, {name: b"PK\x03\x04"})

    assert (found.code, found.file) == ("T003", name)
    assert found.message == "a spreadsheet: save it as CSV UTF-8 and take this file away"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b" \r\n \r\n"])
@pytest.mark.parametrize("name", ["lead.csv", "deadline.csv", "examples.csv", "ruleset.yaml"])
def test_an_empty_file_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    found = problem(tmp_path, {name: content})

    assert (found.code, found.file, found.row) == ("T001", name, None)
    assert found.message == "the file is empty: fill it, or take it away"


def test_only_a_head_is_a_table_without_rows_and_lead_must_have_one(tmp_path: Path) -> None:
    found = problem(tmp_path, {"lead.csv": COLUMNS})

    assert (found.code, found.file, found.message) == ("T001", "lead.csv", "the table has no row")

    rules = load(folder(tmp_path, {"lead.csv": LEAD, "deadline.csv": "id,service,limit,unit\n"}))
    assert "deadline" not in rules.document["tables"]


# The folder.


def test_a_folder_that_is_not_there_or_is_none_is_told(tmp_path: Path) -> None:
    (found,) = problems(tmp_path / "nowhere")
    assert (found.code, found.message) == ("T001", "there is no such folder")

    (tmp_path / "file").write_text("")
    (found,) = problems(tmp_path / "file")
    assert (found.code, found.message) == (
        "T001",
        "is a file: give the folder that holds ruleset.yaml",
    )

    (found,) = problems(Path("x" * 5000))
    assert (found.code, found.message) == ("T001", "cannot be read: File name too long")
    assert len(str(found)) < 200


@pytest.mark.parametrize("name", ["lead.csv", "ruleset.yaml"])
def test_a_file_that_must_be_there_is_told(tmp_path: Path, name: str) -> None:
    found = problem(tmp_path, {name: None})

    assert (found.code, found.file, found.message) == ("T001", name, "the file is missing")


def test_an_empty_folder_is_told_by_the_files_that_it_needs(tmp_path: Path) -> None:
    assert [one.file for one in problems(tmp_path)] == ["ruleset.yaml", "lead.csv"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leads.csv", "no table of a rule set; known are lead.csv, joint_review.csv, deadline.csv"),
        ("lead (1).csv", "no table of a rule set"),
        ("Deadline.csv", "is named with capitals: name it deadline.csv"),
        ("deadline.CSV", "is named with capitals: name it deadline.csv"),
    ],
)
def test_a_csv_file_that_is_no_table_is_told_for_nobody_would_miss_it(
    tmp_path: Path, name: str, message: str
) -> None:
    found = problem(tmp_path, {name: "id,service,limit,unit\n"})

    assert (found.code, found.file) == ("T001", name)
    assert found.message.startswith(message)


def test_other_files_are_no_business_of_the_rules(tmp_path: Path) -> None:
    others = {"README.md": "x", ".~lock.lead.csv#": "", "lead.csv.bak": b"\xff", "old": ""}

    assert load(folder(tmp_path, others))


def test_a_table_that_is_no_file_is_told(tmp_path: Path) -> None:
    folder(tmp_path, {"lead.csv": None})
    (tmp_path / "lead.csv").mkdir()
    (tmp_path / "deadline.csv").symlink_to(tmp_path / "deadline.csv")
    (tmp_path / "assume.csv").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "joint_review.csv")

    assert [(one.code, one.file, one.message) for one in problems(tmp_path)] == [
        ("T001", "assume.csv", "the file is missing"),
        ("T001", "deadline.csv", "cannot be read: Too many levels of symbolic links"),
        ("T001", "joint_review.csv", "cannot be read: it is no file"),
        ("T001", "lead.csv", "cannot be read: it is no file"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_one_may_not_read_is_told(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "lead.csv").chmod(0)
    (found,) = problems(tmp_path)
    assert (found.code, found.message) == ("T001", "cannot be read: Permission denied")

    tmp_path.chmod(0)
    (found,) = problems(tmp_path)
    tmp_path.chmod(0o700)
    assert (found.code, found.message) == ("T001", "cannot be read: Permission denied")


def test_a_file_that_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    folder(tmp_path)
    with (tmp_path / "lead.csv").open("wb") as file:
        file.truncate(100_000_001)

    (found,) = problems(tmp_path)

    assert (found.code, found.message) == ("T012", "larger than 100 MB: no table is")


# Large tables.


def test_two_hundred_thousand_rows_are_read_and_one_more_is_refused(tmp_path: Path) -> None:
    lines = [f"R-{at},S-{at % 5000},POLICE" for at in range(200_000)]
    text = "\n".join(["id,service,lead", *lines]) + "\n"

    rules = load(folder(tmp_path, {"lead.csv": text}))
    assert len(rules.tables["lead"].rows) == 200_000

    found = problem(tmp_path, {"lead.csv": text + "R,S-1,POLICE\n"})
    assert (found.code, found.row) == ("T012", 200_002)
    assert found.message == "more than 200000 rows: a rule set of a city has fewer"

    table = rules.document["tables"]["lead"]
    more = {
        **rules.document,
        "tables": {"lead": table | {"rows": [*table["rows"], ["R", "S", "P"]]}},
    }
    with pytest.raises(TableError, match="more than 200000 rows"):
        from_document(more)


def test_more_rows_for_one_service_than_can_be_proved_are_refused(tmp_path: Path) -> None:
    lines = [f"R-{at},S-1,POLICE,{at}" for at in range(20_001)]
    text = "\n".join(["id,service,lead,people", *lines]) + "\n"

    found = problem(tmp_path, {"lead.csv": text})

    assert (found.code, found.column) == ("T012", "service")
    assert found.message == "20001 rows for 'S-1': more than 20000"


def test_rows_for_any_service_count_for_each(tmp_path: Path) -> None:
    leads = ["id,service,lead", *(f"R-{at},S-{at},POLICE" for at in range(5000))]
    rest = ["id,service,limit,unit", *(f"D-{at},-,1,month" for at in range(1000))]

    found = problem(tmp_path, {"lead.csv": "\n".join(leads), "deadline.csv": "\n".join(rest)})

    assert (found.code, found.column) == ("T012", "service")
    assert found.message == "rows times services that they are for: more than 5000000"


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
