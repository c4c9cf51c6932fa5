"""A release of rules that would mislead cases, or cannot be read, is refused whole."""

import csv
import shutil
from pathlib import Path

import pytest

from tests.city import ROOT, City, application

RULES = ROOT / "catalogue" / "rules"


def changed(folder: Path, changes: dict[str, str]) -> str:
    """The city's rules with these cells in the first row."""
    shutil.copy(RULES / "lead.yaml", folder)
    with (RULES / "lead.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    rows[0] |= changes
    with (folder / "lead.csv").open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return str(folder)


async def test_a_new_version_is_released_once_and_cases_go_by_it(
    city: City, tmp_path: Path
) -> None:
    folder = changed(tmp_path, {"basis": "the same decision, for another reason"})
    first = city.command("rules", "release", folder, "--approver", "王小明")
    again = city.command("rules", "release", folder)
    assert "rows, released" in first
    assert "was released before; nothing changed" in again
    assert first.split(":")[0] == again.split(":")[0]
    await city.at(await city.submit(application()), "IPC", "ASSIGNED")


@pytest.mark.parametrize(
    "changes",
    [{"lead": ""}, {"lead": "NOSUCH"}, {"chain": "DOSW;NOSUCH"}, {"service": "-"}],
    ids=["nobody leads", "an unknown lead", "an unknown next agency", "for every service"],
)
async def test_rules_that_would_mislead_cases_are_refused(
    city: City, tmp_path: Path, changes: dict[str, str]
) -> None:
    assert city.command("rules", "release", changed(tmp_path, changes), status=2) == ""


BROKEN: dict[str, dict[str, str]] = {
    "no file": {},
    "no YAML": {"lead.yaml": ": [", "lead.csv": ""},
    "an empty header": {"lead.yaml": "", "lead.csv": "id\n"},
    "no rule set named": {"lead.yaml": "a: 1", "lead.csv": "id\n"},
    "no row": {"lead.yaml": "ruleset: lead", "lead.csv": "id,service\n"},
    "too many cells": {"lead.yaml": "ruleset: lead", "lead.csv": "id\n1,2,3\n"},
    "no such column": {"lead.yaml": "ruleset: lead", "lead.csv": "a,b\n1,2\n"},
}


@pytest.mark.parametrize("files", BROKEN.values(), ids=BROKEN)
async def test_a_folder_that_cannot_be_read_is_refused(
    city: City, tmp_path: Path, files: dict[str, str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert city.command("rules", "release", str(tmp_path), status=2) == ""
