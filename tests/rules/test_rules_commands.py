"""`casebus rules` with what is bad: status 2, the reason on stderr or as JSON, no traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from casebus.commands.rules import app
from catalogue.build_rules import FOLDER
from tests.rules.folders import COLUMNS, HEADER, LEAD, ROW, folder, lead, row

RUNNER = CliRunner()
CASE = {"service": "SVC-056", "district": "中正區"}

# A name for each: the file that is bad, its content, and the code and place that are told.
BAD: dict[str, tuple[str, str | bytes | None, str]] = {
    "mixed types": ("lead.csv", lead(row(people="many")), "lead.csv, row 2, column people: 'many'"),
    "merged cells": ("lead.csv", lead(row(), row(id="R", service="")), "row 3, column service:"),
    "Big5": ("lead.csv", lead(row(note="中正區")).encode("big5"), "lead.csv, row 2: is not UTF-8"),
    "UTF-16": ("lead.csv", LEAD.encode("utf-16"), "it looks like UTF-16"),
    "formula": ("lead.csv", lead(row(lead="=A1")), "row 2, column lead: '=A1': a formula"),
    "ids": ("lead.csv", lead(row(), row(service="S-2")), "'R-1': this id stands in row 2 already"),
    "columns": ("lead.csv", "id,servcie,lead\nR,S,A\n", "did you mean 'service'?"),
    "semicolons": ("lead.csv", LEAD.replace(",", ";"), "cells are separated by semicolons"),
    "quoting": ("lead.csv", f'{COLUMNS}\nR,"S', "lead.csv, row 2: a quoted cell has no end"),
    "empty file": ("lead.csv", b"", "lead.csv: the file is empty"),
    "only a head": ("lead.csv", COLUMNS, "lead.csv: the table has no row"),
    "no lead": ("lead.csv", None, "lead.csv: the file is missing"),
    "no header": ("ruleset.yaml", None, "ruleset.yaml: the file is missing"),
    "renamed": ("lead.csv", b"PK\x03\x04\x00", "a spreadsheet with the ending .csv"),
    "spreadsheet": ("rules.xlsx", b"PK\x03\x04", "rules.xlsx: a spreadsheet: save it as CSV"),
    "short row": ("lead.csv", lead("R,S"), "lead.csv, row 2: has 2 cells, row 1 has 12 columns"),
    "long cell": ("lead.csv", lead(row(note="x" * 2001)), "longer than 2000 characters"),
    "terminal codes": ("lead.csv", lead(row(people="\x1b[2J\u202e")), r"'\u001b[2J\u202e'"),
    "no YAML": ("ruleset.yaml", "a: [", "ruleset.yaml, row 1: is no YAML"),
    "aliases": ("ruleset.yaml", "a: &a [x]\nb: *a", "row 2: an alias (*name) is not read"),
    "deep": ("ruleset.yaml", "[" * 1500, "hundreds of levels deep"),
    "keys": ("ruleset.yaml", HEADER + "tables: {}\n", "the key 'tables' is there twice"),
    "policy": ("ruleset.yaml", HEADER.replace("UNIQUE", "FIRST"), "hit policy of lead is 'FIRST'"),
    "examples": ("examples.csv", "id,service,lead\nE,S,x\n", "examples.csv, row 2, column lead:"),
}


@pytest.fixture(params=list(BAD))
def bad(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A folder that cannot be read, and what is told of it."""
    name, content, message = BAD[request.param]
    return folder(tmp_path / "bad", {name: content}), message


@pytest.fixture
def case(tmp_path: Path) -> Callable[[str | bytes], str]:
    """Writes a file of facts."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "facts.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def run(*arguments: object, stdin: str | None = None) -> Result:
    return RUNNER.invoke(app, [str(one) for one in arguments], input=stdin)


def refused(result: Result) -> str:
    """What was told on stderr, nothing on stdout."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    return result.stderr


def errors(result: Result) -> list[dict[str, Any]]:
    """What was told as JSON on stdout."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    said = json.loads(result.stdout)
    assert said.pop("count", None) in (None, len(said["errors"]))
    assert list(said) == ["errors"]
    found: list[dict[str, Any]] = said["errors"]
    assert found
    return found


def test_a_folder_that_cannot_be_read_is_told_by_every_command(
    bad: tuple[Path, str], case: Callable[[str], str]
) -> None:
    path, message = bad
    facts = case(json.dumps(CASE))

    for arguments in (
        ("check", path),
        ("decide", path, facts),
        ("explain", path, facts),
        ("explain", path, facts, "--why-not", "POLICE"),
        ("diff", path, FOLDER),
        ("diff", FOLDER, path),
        ("diff", path, path),
    ):
        assert message in refused(run(*arguments)), arguments


def test_a_folder_that_cannot_be_read_is_told_as_json_by_every_command(
    bad: tuple[Path, str], case: Callable[[str], str]
) -> None:
    path, _ = bad
    facts = case(json.dumps(CASE))

    for arguments in (
        ("check", path),
        ("decide", path, facts),
        ("explain", path, facts),
        ("diff", FOLDER, path),
    ):
        for error in errors(run(*arguments, "--json")):
            assert list(error) == ["code", "file", "row", "column", "cell", "message"]
            assert error["code"].startswith("T0")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_and_other_ends_of_lines_are_read(tmp_path: Path, end: str) -> None:
    text = ("\ufeff" + LEAD.replace("S-1", "SVC-056").replace("POLICE", "LAND")).replace("\n", end)

    result = run("check", folder(tmp_path, {"lead.csv": text}), "--json")

    assert result.exit_code == 1  # 121 services have no row
    assert json.loads(result.stdout)["rows"]["lead"] == 1


def test_of_many_problems_a_hundred_are_told_and_how_many_there_are(tmp_path: Path) -> None:
    rows = [row(id=f"R-{at}", people="many") for at in range(250)]
    path = folder(tmp_path, {"lead.csv": lead(*rows)})

    assert refused(run("check", path)).splitlines()[-1] == "and 150 more"
    said = json.loads(run("check", path, "--json").stdout)
    assert (len(said["errors"]), said["count"]) == (100, 250)


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    assert "there is no such folder" in refused(run("check", tmp_path / "nowhere"))
    assert "is a file: give the folder" in refused(run("check", FOLDER / "lead.csv"))
    assert "File name too long" in refused(run("check", "x" * 5000))
    assert errors(run("check", tmp_path / "nowhere", "--json"))[0]["code"] == "T001"


FACTS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is no JSON object of facts"),
    "no JSON": ("service: SVC-056", "is no JSON object of facts"),
    "half": ('{"service": "SVC-056"', "is no JSON object of facts"),
    "single quotes": ("{'service': 'SVC-056'}", "is no JSON object of facts"),
    "two": ('{"service": "SVC-056"} {}', "is no JSON object of facts"),
    "array": ('[{"service": "SVC-056"}]', "expected one JSON object"),
    "text": ('"SVC-056"', "expected one JSON object"),
    "null": ("null", "expected one JSON object"),
    "twice": ('{"service": "SVC-056", "service": "SVC-001"}', "'service' is there twice"),
    "UTF-16": (json.dumps(CASE).encode("utf-16"), "is no JSON object of facts"),
    "Big5": (json.dumps(CASE, ensure_ascii=False).encode("big5"), "is no JSON object of facts"),
    "huge": ('{"service": ' + "9" * 5000 + "}", "is no JSON object of facts"),
    "deep": ('{"service": ' + "[" * 100_000 + "]" * 100_000 + "}", "is no JSON object of facts"),
    "no service": ("{}", "service is None, but the code of a service is expected"),
    "unknown service": ('{"service": "SVC-999"}', "service is 'SVC-999', but the code of a serv"),
    "list": ('{"service": ["SVC-056"]}', "service is ['SVC-056'], but the code of a service is"),
    "half a pair": ('{"service": "\\ud800"}', r"service is '\ud800', but the code of a service"),
    "number": ('{"service": "SVC-056", "district": 5}', "district is 5, but a text is expected"),
    "unknown": ('{"service": "SVC-056", "district": "x"}', "district is 'x', but one of 中山區, "),
    "NaN": ('{"service": "SVC-056", "district": NaN}', "district is nan, but a text is expected"),
    "yes": (
        '{"service": "SVC-056", "district": "大安區", "consents_hh_record": "yes"}',
        "consents_hh_record is 'yes', but true or false is expected",
    ),
}


@pytest.mark.parametrize("command", ["decide", "explain"])
@pytest.mark.parametrize("name", list(FACTS))
def test_facts_that_cannot_be_are_told(
    name: str, command: str, case: Callable[[str | bytes], str]
) -> None:
    content, message = FACTS[name]
    path = case(content)

    assert message in refused(run(command, FOLDER, path))
    (error,) = errors(run(command, FOLDER, path, "--json"))
    assert message in error["message"]


def test_facts_may_have_a_byte_order_mark_or_come_from_stdin(
    case: Callable[[str | bytes], str],
) -> None:
    text = json.dumps(CASE)
    expected = run("decide", FOLDER, case(text), "--json").stdout

    assert run("decide", FOLDER, case("\ufeff" + text), "--json").stdout == expected
    assert run("decide", FOLDER, "-", "--json", stdin=text).stdout == expected


def test_a_file_of_facts_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "No such file" in refused(run("decide", FOLDER, tmp_path / "none.json"))
    assert "Is a directory" in refused(run("decide", FOLDER, tmp_path))
    assert "No such file" in errors(run("explain", FOLDER, tmp_path / "x", "--json"))[0]["message"]


def test_a_fact_of_an_unknown_name_is_told_with_what_was_probably_meant(
    case: Callable[[str], str],
) -> None:
    facts = {"service": "SVC-056", "distrcit": "中正區", "\x1b[2J": 1, "\ud800": 1}

    result = run("decide", FOLDER, case(json.dumps(facts)))

    assert result.exit_code == 0
    assert "'distrcit' is no input and plays no part: did you mean 'district'?" in result.stderr
    assert "\x1b" not in result.stderr
    assert "district missing" in result.stdout


def test_an_agency_that_nobody_knows_is_told(case: Callable[[str], str]) -> None:
    for option in ("--why-not", "--tried"):
        result = run("explain", FOLDER, case(json.dumps(CASE)), option, "dosw")

        assert result.exit_code == 2
        assert "there is no agency 'dosw': did you mean 'DOSW'?" in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp950", "utf-8:strict"])
def test_a_terminal_that_is_not_utf_8_is_no_reason_for_a_traceback(
    encoding: str, tmp_path: Path, case: Callable[[str], str]
) -> None:
    facts = case(json.dumps(CASE))
    bad = folder(tmp_path / "bad", {"lead.csv": lead(row(people="㐀\u200b多"))})
    odd = b"\xff"  # what is no text in any encoding
    environment = os.environ | {"PYTHONIOENCODING": encoding}

    for arguments, status in (
        (("explain", FOLDER, facts), 0),
        (("explain", FOLDER, facts, "--why-not", odd), 2),
        (("check", bad), 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "casebus", "rules", *arguments],
            env=environment,
            capture_output=True,
            timeout=60,
        )
        assert b"Traceback" not in done.stderr
        assert done.returncode == status


def test_findings_are_no_errors(tmp_path: Path) -> None:
    text = lead(ROW.replace("S-1", "SVC-001").replace("POLICE", "IPC"))

    result = run("check", folder(tmp_path, {"lead.csv": text}))

    assert (result.exit_code, result.stderr) == (1, "")
