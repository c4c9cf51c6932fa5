"""What the rules ask about a case, and what a form must ask for: read from the rule set.

ruleset.yaml says which inputs there are and what an answer may be. assume.csv says which of
them are never missing, so it is also the list of what a form must ask for. Both are read as the
router reads them (docs/rules-format.md): each word is a text, blanks around a cell do not count.
"""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from catalogue.loader import CITY

_NO_CONDITION = ("id", "basis", "note")
_TABLES = ("lead", "joint_review", "deadline", "assume")
_TYPES = ("text", "integer", "yes_no", "date")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,14})")


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
class Asked:
    """The services whose rules look at an input; None when those of every service do."""

    services: frozenset[str] | None

    def of(self, service: str) -> bool:
        return self.services is None or service in self.services


@dataclass(frozen=True, slots=True)
class RoutingFacts:
    """The inputs by name, which of them a case must have, and where each may count."""

    inputs: Mapping[str, Input]
    never_missing: tuple[_NeverMissing, ...]
    asked: Mapping[str, Asked] = field(default_factory=dict)

    def required_in(self, name: str, service: str) -> frozenset[str] | None:
        """The districts in which a case of this service must have this input: none at all
        (None), all of them (empty), or these."""
        rows = [
            row.districts
            for row in self.never_missing
            if row.name == name and (row.services is None or service in row.services)
        ]
        if not rows:
            return None
        return frozenset() if None in rows else frozenset().union(*filter(None, rows))

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

    Raises OSError, or ValueError, which names the file and the row or the input: for what cannot
    be read, and for a row of assume.csv that a form cannot make true.
    """
    return _cached() if folder is None else _load(folder)


@cache
def _cached() -> RoutingFacts:
    return _load(CITY / "rules")


def _load(folder: Path) -> RoutingFacts:
    inputs = _inputs(folder / "ruleset.yaml")
    path = folder / "assume.csv"
    rows = _rows(path) if path.exists() else []
    return RoutingFacts(
        inputs, tuple(_never_missing(*row, inputs) for row in rows), _asked(folder, inputs)
    )


def _asked(folder: Path, inputs: Mapping[str, Input]) -> dict[str, Asked]:
    """For each input the services in whose rows it has a condition."""
    services: dict[str, set[str] | None] = {}
    for table in _TABLES:
        path = folder / f"{table}.csv"
        for _, row in _rows(path) if path.exists() else []:
            try:
                of = _listed(row.get("service", "-"))
            except ValueError:
                of = None  # a condition of another kind: any service, as far as a form can tell
            for name in inputs.keys() & {key for key, cell in row.items() if cell != "-"}:
                known = services.setdefault(name, set())
                services[name] = None if of is None or known is None else known | of
    return {
        name: Asked(None if found is None else frozenset(found))
        for name in inputs
        if (found := services.get(name, set())) != set()
    }


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path.name}: is not UTF-8: save it as UTF-8") from None


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows that say something, with their numbers as a spreadsheet counts them."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    columns: list[str] = []
    found = []
    number = 0

    def wrong(message: str) -> ValueError:
        return ValueError(f"{path.name}: row {number}: {message}")

    try:
        for number, row in enumerate(reader, start=1):
            cells = [cell.strip() for cell in row]
            if number == 1:
                columns = cells
                if not all(columns) or len(set(columns)) < len(columns):
                    raise wrong("each column has a name of its own")
            elif any(cells):
                if len(cells) != len(columns):
                    raise wrong(f"has {len(cells)} cells, row 1 has {len(columns)} columns")
                found.append((number, dict(zip(columns, cells, strict=True))))
    except csv.Error as error:
        number += 1
        raise wrong(f"the quoting is broken: {error}") from None
    return found


def _inputs(path: Path) -> dict[str, Input]:
    text = _text(path)
    try:
        said = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - it makes texts, lists and mappings
    except yaml.YAMLError as error:
        raise ValueError(f"{path.name}: is no YAML: {error}") from None
    described = said.get("inputs") if isinstance(said, dict) else None
    if not isinstance(described, dict):
        raise ValueError(f"{path.name}: inputs: expected a name and a description for each input")
    found = {}
    for name, one in described.items():
        try:
            found[name] = _input(name, one)
        except ValueError as error:
            raise ValueError(f"{path.name}: input {name}: {error}") from None
    return found


def _input(name: str, said: Any) -> Input:
    if not isinstance(said, dict) or said.get("type") not in _TYPES:
        raise ValueError(f"expected {{type: ..., meaning: ...}}, a type is {', '.join(_TYPES)}")
    values, meaning, unit = said.get("values"), said.get("meaning", ""), said.get("unit", "")
    texts = isinstance(values, list) and all(isinstance(one, str) and one for one in values)
    if values is not None and not (values and texts):
        raise ValueError("values: expected a list of texts")
    if not isinstance(meaning, str) or not isinstance(unit, str):
        raise ValueError("meaning and unit: expected a text")
    meaning_en, _, meaning_zh = (meaning or name).partition(" / ")
    least, most = (_bound(key, said["type"], said.get(key)) for key in ("min", "max"))
    chinese = meaning_zh or meaning_en
    return Input(name, said["type"], meaning_en, chinese, unit, tuple(values or ()), least, most)


def _bound(key: str, kind: str, said: Any) -> int | date | None:
    if said is None:
        return None
    if isinstance(said, str):
        if kind == "integer" and _INTEGER.fullmatch(said):
            return int(said)
        if kind == "date" and (day := _day(said)) is not None:
            return day
    raise ValueError(f"{key} is {said!r}, expected the whole number or YYYY-MM-DD of its type")


def _never_missing(
    number: int, row: Mapping[str, str], inputs: Mapping[str, Input]
) -> _NeverMissing:
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
    if missing[0] not in inputs:
        raise ValueError(f"assume.csv: row {number}: the rules have no input {missing[0]!r}")
    return _NeverMissing(missing[0], services, districts)


def _listed(cell: str) -> frozenset[str] | None:
    """The values of a list, None for any. Raises ValueError for any other condition."""
    items = frozenset(map(str.strip, cell.split(";")))
    if '"' in cell or cell == "present" or "" in items or re.match(r"not\s*\(", cell):
        raise ValueError(cell)
    return None if cell == "-" else items


def _day(text: str) -> date | None:
    try:
        return (
            date.fromisoformat(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None
        )
    except ValueError:
        return None
