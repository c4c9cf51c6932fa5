"""docs/findings: a page for each code, whose examples are tried."""

import re
from pathlib import Path

import pytest

from catalogue import load_catalogue
from services.router.rules import Names, Report, load, verify
from services.router.rules.findings import TITLES
from services.router.rules.verifying import BUDGET
from tests.docs import rows, section

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "findings"
INDEX = (PAGES / "index.md").read_text("utf-8")
CODES = list(TITLES)


def page(code: str) -> str:
    return (PAGES / f"{code}.md").read_text("utf-8")


def tables(text: str) -> dict[str, str]:
    """The CSV files that stand in `text`, each below its name."""
    found = re.findall(r"^`([a-z_]+\.csv)`\n```csv\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(found) == text.count("```csv")
    return dict(found)


def before_and_after(code: str) -> tuple[dict[str, str], dict[str, str]]:
    """The files of the example, and the same ones mended."""
    example = tables(section(page(code), "Example"))
    mended = tables(section(page(code), "Mended"))
    # To mend by taking a file away would need words that a test does not read.
    assert example
    assert mended
    return example, example | mended


def said(code: str) -> str:
    """What the page shows of `check`."""
    (block,) = re.findall(r"^`check` says:\n```\n(.*?)^```$", page(code), re.DOTALL | re.M)
    return str(block)


def checked(code: str, files: dict[str, str], folder: Path) -> Report:
    """In a city that offers the services of the mended tables and no other."""
    header = re.search(r"^```yaml\n(.*?)^```$", INDEX, re.DOTALL | re.MULTILINE)
    assert header
    for name, text in {"ruleset.yaml": header[1], **files}.items():
        (folder / name).write_text(text, encoding="utf-8")
    catalogue = load_catalogue()
    offered = frozenset(
        re.findall(r",(SVC-[0-9]{3})(?=,)", before_and_after(code)[1]["lead.csv"]),
    )
    assert offered <= catalogue.services.keys()
    known = Names(offered, frozenset(catalogue.agencies), frozenset(catalogue.districts))
    lowered = re.search(r"budget lowered to ([0-9]+) steps", page(code))
    return verify(load(folder, known), budget=int(lowered[1]) if lowered else BUDGET)


def test_every_finding_has_a_page_and_every_page_a_finding() -> None:
    assert {one.stem for one in PAGES.iterdir()} == {*CODES, "index"}
    for code, title in TITLES.items():
        assert page(code).startswith(f"# {code}: {title}\n")


def test_the_map_of_findings_and_the_format_name_all_of_them() -> None:
    listed = rows(section(INDEX, "Findings of `casebus rules check`"))
    format_page = (ROOT / "docs" / "rules-format.md").read_text("utf-8")
    proved = rows(section(format_page, "What the verifier proves"))

    assert [(row[0], row[1]) for row in listed] == [
        (f"[{code}]({code}.md)", title) for code, title in TITLES.items()
    ]
    assert [row[0] for row in proved] == CODES


@pytest.mark.parametrize("code", CODES)
def test_the_example_of_a_page_has_its_finding_and_the_page_says_what_check_says(
    code: str, tmp_path: Path
) -> None:
    report = checked(code, before_and_after(code)[0], tmp_path)

    assert code in {finding.code for finding in report.findings}
    for finding in report.findings:
        assert f"{finding.code} {finding.title} ({finding.table}.csv" in said(code)
        assert finding.message in said(code)
        assert finding.example_row is None or finding.example_row in said(code)


@pytest.mark.parametrize("code", CODES)
def test_the_mended_example_of_a_page_has_no_finding(code: str, tmp_path: Path) -> None:
    assert checked(code, before_and_after(code)[1], tmp_path).findings == ()


@pytest.mark.parametrize("code", CODES)
def test_a_page_of_a_finding_has_the_same_parts_as_every_other(code: str) -> None:
    headings = re.findall(r"^## (.+)$", page(code), re.MULTILINE)

    assert headings == ["Example", "Mended", "Why the verifier insists"]


def test_what_the_map_shows_of_a_finding_is_what_its_page_shows() -> None:
    assert said("R102") in section(INDEX, "How a finding is told")
