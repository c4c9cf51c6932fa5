"""What can be wrong with a table or a fact, told so that a rule owner can mend it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Of a folder with ten thousand broken cells nobody reads more.
MOST_TOLD = 100


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
            f", {word} {value}"
            for word, value in (("row", self.row), ("column", self.column))
            if value is not None
        )
        cell = f" {_short(self.cell)!r}:" if self.cell else ""
        return f"{self.file}{where}:{cell} {self.message} [{self.code}]"

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "file": self.file,
            "row": self.row,
            "column": self.column,
            "cell": _short(self.cell),
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
    """A fact that an input cannot have: a wrong type, an unknown value, out of bounds."""

    def __init__(self, name: str, value: object, expected: str) -> None:
        self.name = name
        self.value = value
        super().__init__(f"{name} is {_short(repr(value))}, but {expected} is expected")


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
