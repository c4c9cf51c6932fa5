"""Reading the project's own pages: sections by heading, tables as rows, names in backticks."""

import re


def section(page: str, heading: str) -> str:
    """What stands under `heading`, up to the next heading of any level.

    Raises AssertionError when there is no such heading, or more than one.
    """
    parts = re.split(r"^#+ (.+)$", page, flags=re.MULTILINE)
    found = [body for title, body in zip(parts[1::2], parts[2::2], strict=True) if title == heading]
    assert len(found) == 1, f"{len(found)} headings {heading!r}"
    return found[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every table in `text`, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = [n for n, row in enumerate(table) if set("".join(row)) <= {"-"} and row]
    heads = {n - 1 for n in rules}
    return [row for n, row in enumerate(table) if n not in heads and n not in rules]


def names(cell: str) -> list[str]:
    """What a cell names in backticks."""
    return re.findall(r"`([^`]+)`", cell)
