"""Rule tables from a seed: complete, free of overlap, and as large as asked for.

A service's rows come from cutting the space of all its cases again and again, so every case
meets exactly one row; `check` proves it by counting, without the library that is measured.
"""

import csv
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

SEED = 1895
ROWS_PER_SERVICE = 13
DISTRICTS = (
    "松山區",
    "信義區",
    "大安區",
    "中山區",
    "中正區",
    "大同區",
    "萬華區",
    "文山區",
    "南港區",
    "內湖區",
    "士林區",
    "北投區",
)
SIDES = ("north", "south")
AGENCIES = tuple(f"AG-{n:02}" for n in range(1, 41))
MOST = 1_000_000

Facts = dict[str, Any]


class UnsoundTableError(Exception):
    """A table has a gap or an overlap: what is decided by it says nothing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One rule: the cases of one service that it matches, and the agency that leads.

    `low` and `high` are participants, both inclusive.
    """

    id: str
    service: str
    districts: tuple[str, ...] = DISTRICTS
    low: int = 0
    high: int = MOST
    newborn: tuple[bool, ...] = (False, True)
    sides: tuple[str, ...] = SIDES
    lead: str = AGENCIES[0]

    @property
    def size(self) -> int:
        """How many cases it matches."""
        span = self.high - self.low + 1
        return len(self.districts) * span * len(self.newborn) * len(self.sides)

    def meets(self, other: "Row") -> bool:
        """Is there a case that both match?"""
        return (
            max(self.low, other.low) <= min(self.high, other.high)
            and not set(self.districts).isdisjoint(other.districts)
            and not set(self.newborn).isdisjoint(other.newborn)
            and not set(self.sides).isdisjoint(other.sides)
        )

    def matches(self, facts: Mapping[str, Any]) -> bool:
        return (
            facts["service"] == self.service
            and facts["district"] in self.districts
            and self.low <= facts["participants"] <= self.high
            and facts["newborn"] in self.newborn
            and facts["side"] in self.sides
        )


def table(rules: int, seed: int = SEED) -> list[Row]:
    """`rules` rows, some 13 for each service, in the order of the services."""
    chance = random.Random(f"{seed}/{rules}")
    services = max(1, round(rules / ROWS_PER_SERVICE))
    rows: list[Row] = []
    for n in range(services):
        # As even as it goes: a service of another size would be another question.
        wanted = rules * (n + 1) // services - rules * n // services
        service = f"SVC-{n + 1:03}"
        cut = _cut(Row("", service), wanted, chance)
        rows += (
            replace(row, id=f"{service}.{k:02}", lead=chance.choice(AGENCIES))
            for k, row in enumerate(cut, start=1)
        )
    check(rows)
    return rows


def _cut(whole: Row, wanted: int, chance: random.Random) -> list[Row]:
    parts = [whole]
    while len(parts) < wanted:
        part = chance.choice([part for part in parts if part.size > 1])
        parts.remove(part)
        parts += _halves(part, chance)
    chance.shuffle(parts)
    return parts


def _halves(part: Row, chance: random.Random) -> tuple[Row, Row]:
    """Two rows for one. Number and district are cut more often, as they can be."""
    ways = ["number", "number"] * (part.low < part.high)
    ways += ["district", "district"] * (len(part.districts) > 1)
    ways += ["newborn"] * (len(part.newborn) > 1) + ["side"] * (len(part.sides) > 1)
    match chance.choice(ways):
        case "district":
            names = set(chance.sample(part.districts, chance.randrange(1, len(part.districts))))
            return (
                replace(part, districts=tuple(d for d in part.districts if d in names)),
                replace(part, districts=tuple(d for d in part.districts if d not in names)),
            )
        case "newborn":
            return replace(part, newborn=(False,)), replace(part, newborn=(True,))
        case "side":
            return replace(part, sides=SIDES[:1]), replace(part, sides=SIDES[1:])
        case _:
            # By the logarithm: limits that people write lie close together at the low end.
            low, high = max(part.low, 1), max(part.high, 2)
            border = round(low * (high / low) ** chance.uniform(0.2, 0.8))
            border = min(max(border, part.low + 1), part.high)
            return replace(part, high=border - 1), replace(part, low=border)


def check(rows: Sequence[Row]) -> None:
    """Every case of every service meets exactly one row. Raises UnsoundTableError."""
    for service, own in by_service(rows).items():
        if any(row.size < 1 for row in own):
            raise UnsoundTableError(f"{service}: a row matches no case")
        if sum(row.size for row in own) != Row("", service).size:
            raise UnsoundTableError(f"{service}: the rows do not add up to all cases")
        for one, other in combinations(own, 2):
            if one.meets(other):
                raise UnsoundTableError(f"{one.id} and {other.id} overlap")


def by_service(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.service].append(row)
    return dict(found)


def cases(rows: Sequence[Row], count: int, seed: int = SEED) -> list[tuple[Facts, str]]:
    """Cases with the rule that decides: rows at random, half of the numbers at their border.

    The facts are what a JSON decoder gives: no string is shared with a table.
    """
    chance = random.Random(f"{seed}/{len(rows)}/cases")
    found = []
    for _ in range(count):
        row = chance.choice(rows)
        facts: Facts = {
            "service": row.service,
            "district": chance.choice(row.districts),
            "participants": chance.choice((row.low, row.high, *_within(row, chance))),
            "newborn": chance.choice(row.newborn),
            "side": chance.choice(row.sides),
        }
        found.append((json.loads(json.dumps(facts)), row.id))
    return found


def _within(row: Row, chance: random.Random) -> tuple[int, int]:
    return chance.randint(row.low, row.high), chance.randint(row.low, row.high)


def with_other_leads(rows: Sequence[Row], every: int) -> list[Row]:
    """Each `every`-th row leads to another agency."""
    return [
        replace(row, lead=AGENCIES[(AGENCIES.index(row.lead) + 1) % len(AGENCIES)])
        if n % every == 0
        else row
        for n, row in enumerate(rows)
    ]


def with_one_other_lead_a_service(rows: Sequence[Row]) -> list[Row]:
    return [row for own in by_service(rows).values() for row in with_other_leads(own, len(own))]


def with_a_gap(rows: Sequence[Row]) -> list[Row]:
    """The row in the middle of those with an upper limit has it one lower: one gap, no more."""
    limited = [n for n, row in enumerate(rows) if row.low < row.high < MOST]
    at = limited[len(limited) // 2]
    return [*rows[:at], replace(rows[at], high=rows[at].high - 1), *rows[at + 1 :]]


_RULESET = f"""ruleset: benchmark
inputs:
  service: {{type: text, names: services}}
  district: {{type: text, names: districts}}
  participants: {{type: integer, min: 0, max: {MOST}, unit: people}}
  newborn: {{type: yes_no}}
  side: {{type: text, values: [{", ".join(SIDES)}]}}
tables:
  lead: {{hit_policy: UNIQUE}}
"""


def write(rows: Sequence[Row], folder: Path) -> Path:
    """The folder of a rule set. Assumed is that no fact is missing, so that a plain table with
    the same rows says the same."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ruleset.yaml").write_text(_RULESET)
    inputs = ("district", "participants", "newborn", "side")
    with (folder / "lead.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("id", "service", *inputs, "lead"))
        lines.writerows((row.id, row.service, *_cells(row), row.lead) for row in rows)
    with (folder / "assume.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("id", *inputs))
        for n, name in enumerate(inputs):
            lines.writerow((name, *("missing" if n == k else "-" for k in range(len(inputs)))))
    return folder


def _cells(row: Row) -> Iterator[str]:
    yield "-" if row.districts == DISTRICTS else "; ".join(row.districts)
    if row.low == 0:
        yield "-" if row.high == MOST else f"<= {row.high}"
    else:
        yield f">= {row.low}" if row.high == MOST else f"[{row.low}..{row.high}]"
    yield "-" if len(row.newborn) > 1 else "yes" if row.newborn[0] else "no"
    yield "-" if row.sides == SIDES else row.sides[0]
