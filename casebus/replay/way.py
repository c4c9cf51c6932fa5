"""The way of a replay through the topics, and how far it has come."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Stretch:
    """The offsets of one partition from `start` up to `end`; counted up to `done`."""

    topic: str
    partition: int
    start: int
    end: int
    done: int

    @property
    def records(self) -> int:
        return self.end - self.start

    @property
    def finished(self) -> bool:
        return self.done >= self.end


@dataclass(slots=True)
class Way:
    """What is to be read, in order: of each partition the decisions, then the applications."""

    cluster: str
    pairs: list[tuple[Stretch, Stretch]] = field(default_factory=list)

    @property
    def records(self) -> int:
        """Offsets in all; transactions leave markers among them."""
        return sum(one.records for pair in self.pairs for one in pair)

    @property
    def done(self) -> int:
        return sum(one.done - one.start for pair in self.pairs for one in pair)
