"""What a measurement says: tables and sentences, as Markdown."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Table:
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        lines = [self.head, ("---",) * len(self.head), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@dataclass(frozen=True, slots=True)
class Section:
    """One question with its answer. `goals` are sentences on what was hoped for and what came."""

    title: str
    question: str
    how: str
    tables: tuple[Table, ...]
    goals: tuple[str, ...] = ()
    limits: tuple[str, ...] = field(default=())

    def markdown(self) -> str:
        parts = [f"## {self.title}", self.question, self.how]
        parts += [table.markdown() for table in self.tables]
        if self.goals:
            parts.append("\n".join(f"- {line}" for line in self.goals))
        if self.limits:
            parts.append(
                "What the figures do not say:\n\n" + "\n".join(f"- {line}" for line in self.limits)
            )
        return "\n\n".join(parts)


def spread(values: Sequence[float]) -> str:
    """The median, and from the least to the most."""
    if len(values) == 1:
        return f"{values[0]:,.0f}"
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} - {max(values):,.0f})"


def milliseconds(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.median(values):.1f} ({min(values):.1f} - {max(values):.1f})"


def ratio(values: Sequence[float], peer: Sequence[float]) -> str:
    """The ratio of two in each turn: its median, and from the least to the most."""
    found = [one / other for one, other in zip(values, peer, strict=True)]
    if len(found) == 1:
        return f"{found[0]:.2f}"
    return f"{statistics.median(found):.2f} ({min(found):.2f} - {max(found):.2f})"


def median_ratio(values: Sequence[float], peer: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(values, peer, strict=True))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """By nearest rank; `ordered` goes from the least to the most and is not empty."""
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]
