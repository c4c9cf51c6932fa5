"""What can be wrong with a table or a fact, told so that a rule owner can mend it."""

import difflib
import reprlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

# Of a folder with ten thousand broken cells nobody reads more.
MOST_TOLD = 100
_LONGEST_SHOWN = 80
_REPR = reprlib.Repr()
_REPR.maxlevel = 2
_REPR.maxstring = _LONGEST_SHOWN
# Control and format characters, halves of a pair, separators of lines: all that nobody sees.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


@dataclass(frozen=True, slots=True)
class Problem:
    """One place that cannot be read. `row` counts as a spreadsheet does; None: the whole file."""

    code: str
    file: str
    row: int | None
    column: str | None
    cell: str
    message: str

    def __str__(self) -> str:
        where = "".join(
            f", {word} {_short(str(value))}"
            for word, value in (("row", self.row), ("column", self.column))
            if value is not None
        )
        cell = f" '{_short(self.cell)}':" if self.cell else ""
        return f"{_short(self.file)}{where}:{cell} {self.message} [{self.code}]"

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "file": _cut(self.file),
            "row": self.row,
            "column": None if self.column is None else _cut(self.column),
            "cell": _cut(self.cell),
            "message": self.message,
        }


class TableError(ValueError):
    """A rule set cannot be read; `problems` says where and why, `count` how many there are."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems[:MOST_TOLD])
        self.count = len(problems)
        more = f"\nand {self.count - MOST_TOLD} more" if self.count > MOST_TOLD else ""
        super().__init__("\n".join(map(str, self.problems)) + more)


class FactError(ValueError):
    """A fact that an input cannot have: a wrong type, an unknown value, out of bounds.

    `name` and `expected` may be told to anybody; the message has the value as well.
    """

    def __init__(self, name: str, value: object, expected: str) -> None:
        self.name = name
        self.value = value
        self.expected = expected
        super().__init__(f"{name} is {shown(value)}, but {expected} is expected")


def shown(value: object) -> str:
    """As Python writes it, but short: a bomb or a number of a million digits too."""
    try:
        return _short(_REPR.repr(value))
    except ValueError:
        return "a number of thousands of digits"


def unseen(text: str) -> str:
    """The first character that nobody sees, as U+200B; empty when there is none."""
    if text.isprintable():
        return ""
    found = (one for one in text if unicodedata.category(one) in _UNSEEN)
    return next((f"U+{ord(one):04X}" for one in found), "")


def near(name: str, known: Iterable[str]) -> str:
    """What was probably meant by an unknown name, as the end of a sentence."""
    by_small = {one.casefold(): one for one in known}
    close = difflib.get_close_matches(name[:_LONGEST_SHOWN].strip().casefold(), by_small, n=1)
    return f": did you mean {by_small[close[0]]!r}?" if close else ""


def _cut(text: str) -> str:
    """At most so long, and without halves of a pair, which no encoding has."""
    text = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
    return text.encode("utf-8", "backslashreplace").decode()


def _short(text: str) -> str:
    """For a terminal: cut, and with an escape for what nobody sees."""
    text = _cut(text)
    if text.isprintable():
        return text
    return "".join(f"\\u{ord(one):04x}" if unseen(one) else one for one in text)
