"""What the pages name is there: files, headings, code, commands, and the size of the city."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from casebus.main import app
from catalogue import load_catalogue
from catalogue.build_rules import TABLE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A fresh clone may be without what `make bench` and `casebus compose-env` write.
_WRITTEN_LATER = {ROOT / "docs" / "performance.md", ROOT / "deploy" / ".env"}


def prose(page: Path) -> str:
    """The page without its examples."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """(file, anchor) of every link that stays in the project."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            yield ((page.parent / path).resolve() if path else page), anchor


def named(page: Path) -> set[str]:
    """What a page names in backticks as a file of the project, `services/NAME` and such aside."""
    folders = "casebus|services|shared|catalogue|deploy|tests|benchmarks|docs"
    found = re.findall(rf"`((?:{folders})/[\w./-]+(?::\w+)?)`", prose(page))
    return {reference for reference in found if not re.search(r"/[A-Z]{3,}\b", reference)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [
        f"{path.relative_to(ROOT)}#{anchor}"
        for path, anchor in links(page)
        if path not in _WRITTEN_LATER
        and (not path.exists() or (anchor and anchor not in anchors(path)))
    ]

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_name_of_the_code_is_there(page: Path) -> None:
    missing = []
    for reference in named(page):
        path, _, name = reference.partition(":")
        found = (ROOT / path).exists()
        if found and name:
            text = (ROOT / path).read_text("utf-8")
            found = bool(re.search(rf"^\s*(?:async )?(?:def|class) {name}\b|^{name} =", text, re.M))
        if not found and (ROOT / path) not in _WRITTEN_LATER:
            missing.append(reference)

    assert missing == []


def test_every_page_can_be_reached_from_the_map() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md", ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen and page.suffix == ".md" and page.exists():
            seen.add(page)
            waiting += [path for path, _ in links(page)]

    assert set(PAGES) <= seen


def test_every_command_is_there() -> None:
    group: Any = get_command(app)
    commands = {
        name
        for name in group.list_commands(None)
        # A group has a function to begin with only when it does something itself.
        if (done := group.get_command(None, name).callback) is None
        or done.__name__.replace("_", "-") == name
    }
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for page in PAGES:
        text = page.read_text("utf-8")
        said = set(re.findall(r"(?:`|\$ |bin/)casebus ([a-z][a-z-]+)", text))
        made = set(re.findall(r"(?:^|`|\$ )make ([a-z][a-z-]+)", text, re.M))
        assert said <= commands, page
        assert made <= targets, page


def test_the_size_of_the_city_is_that_of_its_catalogue() -> None:
    catalogue = load_catalogue()
    rules = len(TABLE.read_text("utf-8").splitlines()) - 1
    size = f"{len(catalogue.services)} services, {len(catalogue.agencies)} agencies and {rules}"

    assert size in (ROOT / "README.md").read_text("utf-8")
