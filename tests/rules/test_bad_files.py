"""Files and folders that are no rule set, whatever saved them: each is told, and never a crash."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.rules import TableError, from_document, load
from services.router.rules.errors import unseen
from tests.rules.folders import COLUMNS, HEADER, LEAD, folder, lead, problem, problems, row

# Of one file, as a spreadsheet of Taiwan saves it.
CHINESE = lead(row(note="中正區"), row(id="R-2", service="S-2", note="大安區"))


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


@contextmanager
def as_nobody() -> Iterator[None]:
    """As somebody who is not root, who may read everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_what_one_may_not_read_is_told() -> None:
    # Not in tmp_path, whose parents are closed to everybody else.
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        folder(path)
        path.chmod(0o755)
        (path / "lead.csv").chmod(0)
        with as_nobody():
            (found,) = problems(path)
        assert (found.code, found.message) == ("T001", "cannot be read: Permission denied")

        path.chmod(0)
        with as_nobody():
            (found,) = problems(path)
        path.chmod(0o700)
        assert (found.code, found.message) == ("T001", "cannot be read: Permission denied")


def test_a_file_that_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    folder(tmp_path)
    for name, size in (("lead.csv", 100_000_001), ("ruleset.yaml", 200_001)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)

    assert [(one.code, one.file, one.message) for one in problems(tmp_path)] == [
        ("T012", "ruleset.yaml", "larger than 200 kB"),
        ("T012", "lead.csv", "larger than 100000 kB"),
    ]


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


# Anything.

csv_text = st.text(alphabet='id,service"lead\n\r;=#S-1\t 中\u3000\ufeff\x00\u200b')
changed_table = st.tuples(st.integers(0, len(LEAD)), st.integers(0, 20), csv_text).map(
    lambda cut: LEAD[: cut[0]] + cut[2] + LEAD[cut[0] + cut[1] :]
)
yaml_text = st.text(alphabet="abruleset:{}[],'\"\n -?&*!|>%@`#\t中~<=0")
changed_header = st.tuples(st.integers(0, len(HEADER)), st.integers(0, 20), yaml_text).map(
    lambda cut: HEADER[: cut[0]] + cut[2] + HEADER[cut[0] + cut[1] :]
)


@given(
    name=st.sampled_from(["lead.csv", "deadline.csv", "examples.csv", "ruleset.yaml"]),
    content=st.binary() | csv_text | changed_table | yaml_text | changed_header,
)
@settings(max_examples=600, deadline=None)
def test_a_file_of_anything_is_read_or_told(name: str, content: bytes | str) -> None:
    with TemporaryDirectory() as path:
        try:
            rules = load(folder(Path(path), {name: content}))
        except TableError as error:
            assert error.problems
            for told in error.problems:
                assert unseen(str(told)) == ""
                assert len(str(told)) < 1000
        else:
            assert rules.version
