"""What the rules ask about a case, and what a form must ask for: read from the rule set.

ruleset.yaml says which inputs there are and what an answer may be. assume.csv says which of
them are never missing, so it is also the list of what a form must ask for.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml

RULES = Path(__file__).parent / "rules"
_NO_CONDITION = ("id", "basis", "note")


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the rules. `least` and `most` are inclusive, None when there is no bound.

    `values` are all that a text may be; an open text has none and must not be asked for in
    clear, for it could be anything, personal data too.
    """

    name: str
    type: str
    meaning_en: str
    meaning_zh: str
    unit: str
    values: tuple[str, ...]
    least: int | date | None
    most: int | date | None

    @property
    def is_open(self) -> bool:
        return self.type == "text" and not self.values

    def read(self, value: object) -> str | int | bool:
        """The value as a fact. Raises ValueError, which says in both languages what to write."""
        match self.type, value:
            case "yes_no", bool():
                return value
            case "integer", int() if not isinstance(value, bool) and self._within(value):
                return value
            case "date", str() if (day := _day(value)) is not None and self._within(day):
                return value
            case "text", str() if value in self.values:
                return value
        raise ValueError(self.expected)

    def _within(self, value: Any) -> bool:
        return (self.least is None or self.least <= value) and (
            self.most is None or value <= self.most
        )

    @property
    def expected(self) -> str:
        """What it is and how to write it, in English and in Chinese."""
        match self.type:
            case "yes_no":
                en, zh = "write true or false", "請填 true 或 false"
            case "integer":
                en, zh = "write a whole number", "請填整數"
            case "date":
                en, zh = "write a day as YYYY-MM-DD", "請以 YYYY-MM-DD 填寫日期"
            case _:
                en, zh = f"write {' or '.join(self.values)}", f"請填 {' 或 '.join(self.values)}"
        if self.least is not None:
            en, zh = f"{en} from {self.least}", f"{zh},不小於 {self.least}"
        if self.most is not None:
            en, zh = f"{en} up to {self.most}", f"{zh},不大於 {self.most}"
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.meaning_en}: {en}{unit} / {self.meaning_zh}:{zh}"


@dataclass(frozen=True, slots=True)
class _NeverMissing:
    """One row of assume.csv; None means any."""

    name: str
    services: frozenset[str] | None
    districts: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class RoutingFacts:
    """The inputs by name, and which of them a case must have."""

    inputs: Mapping[str, Input]
    never_missing: tuple[_NeverMissing, ...]

    def required(self, service: str, district: str) -> tuple[str, ...]:
        """The inputs without which a case of this service in this district must not come."""
        return tuple(
            row.name
            for row in self.never_missing
            if (row.services is None or service in row.services)
            and (row.districts is None or district in row.districts)
        )


def load_facts(folder: Path | None = None) -> RoutingFacts:
    """Of the rule set in `folder` (the city's own when None).

    Raises OSError, or ValueError for a row of assume.csv that a form cannot make true.
    """
    return _cached() if folder is None else _load(folder)


@cache
def _cached() -> RoutingFacts:
    return _load(RULES)


def _load(folder: Path) -> RoutingFacts:
    document = yaml.safe_load((folder / "ruleset.yaml").read_text("utf-8"))
    inputs = {name: _input(name, said) for name, said in document["inputs"].items()}
    return RoutingFacts(inputs, tuple(_never_missing(*row) for row in _rows(folder / "assume.csv")))


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows that say something, with their numbers; none when there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = [{name: cell.strip() for name, cell in row.items()} for row in csv.DictReader(lines)]
    return [(number, row) for number, row in enumerate(rows, start=2) if any(row.values())]


def _input(name: str, said: Mapping[str, Any]) -> Input:
    meaning_en, _, meaning_zh = said.get("meaning", name).partition(" / ")
    return Input(
        name,
        said["type"],
        meaning_en,
        meaning_zh or meaning_en,
        said.get("unit", ""),
        tuple(said.get("values", ())),
        said.get("min"),
        said.get("max"),
    )


def _never_missing(number: int, row: Mapping[str, str]) -> _NeverMissing:
    conditions = {
        name: cell for name, cell in row.items() if cell != "-" and name not in _NO_CONDITION
    }
    missing = [name for name, cell in conditions.items() if cell == "missing"]
    given = conditions.keys() - set(missing)
    try:
        if len(missing) != 1 or not given <= {"service", "district"}:
            raise ValueError(missing)
        services, districts = (
            _listed(row[name] if name in given else "-") for name in ("service", "district")
        )
    except ValueError:
        raise ValueError(
            f"assume.csv: row {number}: a form can only see to rows with a list of services, "
            "at most a list of districts, and one cell that is `missing`"
        ) from None
    return _NeverMissing(missing[0], services, districts)


def _listed(cell: str) -> frozenset[str] | None:
    """The values of a list, None for any. Raises ValueError for any other condition."""
    if cell.startswith(("not(", '"')) or cell == "present":
        raise ValueError(cell)
    return None if cell == "-" else frozenset(map(str.strip, cell.split(";")))


def _day(text: str) -> date | None:
    try:
        return (
            date.fromisoformat(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None
        )
    except ValueError:
        return None
