"""Rates in turns: every contender for a fixed time, begun by another one each turn.

The clock is the process's own processor time: what else the machine does is not counted, and
all contenders compute in this process and wait for nothing.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from time import process_time
from typing import Any, TypeVar

from benchmarks.rules.tables import Facts

_CHUNK_S = 0.005
Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class Runner:
    """One contender with the facts it decides; it goes on where the last turn ended."""

    decide: Callable[[Facts], Any]
    facts: Sequence[Facts]
    at: int = 0
    chunk: int = 0

    def rate(self, seconds: float) -> float:
        """Decisions a second of processor time."""
        self.chunk = self.chunk or self._sized()
        done, begin = 0, process_time()
        while True:
            # Whole chunks: the clock is read some hundred times a turn, not once a decision.
            chunk = self.facts[self.at : self.at + self.chunk]
            decide = self.decide
            for facts in chunk:
                decide(facts)
            done += len(chunk)
            self.at = (self.at + len(chunk)) % len(self.facts)
            taken = process_time() - begin
            if taken >= seconds:
                return done / taken

    def _sized(self) -> int:
        begin, done = process_time(), 0
        while process_time() - begin < _CHUNK_S:
            self.decide(self.facts[done % len(self.facts)])
            done += 1
        return max(1, min(done, len(self.facts)))


def rates(
    runners: Mapping[Key, Runner], turns: int, seconds: float, told: Callable[[str], None]
) -> dict[Key, list[float]]:
    """For each its decisions a second, turn by turn."""
    keys = list(runners)
    found: dict[Key, list[float]] = {key: [] for key in keys}
    for turn in range(turns):
        start = turn * len(keys) // turns
        for key in (*keys[start:], *keys[:start]):
            found[key].append(runners[key].rate(seconds))
        told(f"turn {turn + 1} of {turns}")
    return found
