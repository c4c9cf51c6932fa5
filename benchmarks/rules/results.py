"""What a run found, between the process that measures and the one that writes the page."""

import json
from dataclasses import dataclass, field

Rates = dict[str, list[float]]
# What stands first in the tables.
OURS = "casebus, `decide`"
EXPLAIN = "casebus, `explain`"
EXPLAIN_JSON = "casebus, `explain`, as JSON"


@dataclass(slots=True)
class Results:
    """`rates` are decisions a second by size and contender, turn by turn; `seconds_of` seconds
    by what was done; `bytes_of` the memory of the largest table. `seconds` is one turn's.
    `zen_tables` and `zen_others` are zen's contenders with and without tables."""

    sizes: tuple[int, ...]
    turns: int
    seconds: float
    cases: int
    zen_tables: tuple[str, ...] = ()
    zen_others: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    services: dict[int, int] = field(default_factory=dict)
    rates: dict[int, Rates] = field(default_factory=dict)
    explained: Rates = field(default_factory=dict)
    ways: Rates = field(default_factory=dict)
    seconds_of: dict[str, list[float]] = field(default_factory=dict)
    bytes_of: dict[str, int] = field(default_factory=dict)


def from_json(text: str) -> Results:
    said = json.loads(text)
    for key in ("services", "rates"):
        # JSON has no numbers as keys.
        said[key] = {int(size): value for size, value in said[key].items()}
    return Results(**{**said, "sizes": tuple(said["sizes"])})
