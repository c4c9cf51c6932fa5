"""What a replay counts, and its form as JSON, which is also how it is kept while it waits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Some:
    """How many cases, and the number of the first of them."""

    cases: int = 0
    example: str = ""

    def add(self, number: str) -> None:
        self.cases += 1
        self.example = self.example or number


Counts = dict[tuple[str, ...], Some]
# The tables of counts, and what each part of a key is called in JSON.
_KEYS = {"moves": ("service", "from", "to"), "refused": ("input",), "assumptions": ("row",)}


@dataclass(slots=True)
class Totals:
    """Each application is one of `same`, `moved`, `to_triage`, `from_triage`, `not_routed`.

    `moves` by service, agency of then and agency of the candidate; `refused` by the input whose
    fact the candidate cannot take (it sends such a case to triage); `assumptions` by the row of
    assume that a case matches. `decisions` were taken again: `reproduced` came out the same,
    `different` did not, those in `not_reproducible`, by reason, could not be. `repeated` are
    events that are there twice, `unreadable` records that are no events.
    """

    applications: int = 0
    same: int = 0
    moved: int = 0
    to_triage: int = 0
    from_triage: int = 0
    not_routed: int = 0
    moves: Counts = field(default_factory=dict)
    refused: Counts = field(default_factory=dict)
    assumptions: Counts = field(default_factory=dict)
    decisions: int = 0
    reproduced: int = 0
    different: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)
    not_reproducible: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    unreadable: int = 0

    @property
    def elsewhere(self) -> int:
        """Cases that would not have gone where they went."""
        return self.moved + self.to_triage + self.from_triage

    def to_json(self) -> dict[str, Any]:
        """For JSON; of the tables the largest counts first. `from_json` reads it again."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return plain | {name: _listed(plain[name], keys) for name, keys in _KEYS.items()}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "Totals":
        tables = {
            name: {
                tuple(row[key] for key in keys): Some(row["cases"], row["example"])
                for row in said[name]
            }
            for name, keys in _KEYS.items()
        }
        return cls(**{**said, **tables})


def _listed(counts: Counts, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    ordered = sorted(counts.items(), key=lambda one: (-one[1].cases, one[0]))
    return [
        {**dict(zip(keys, key, strict=True)), "cases": some.cases, "example": some.example}
        for key, some in ordered
    ]
