"""Kafka, in small: logs, transactions, epochs, group offsets.

After what the broker does (KIP-98), one call at a time:
- a producer with a transactional id gets an epoch when it starts; who comes with an older one is
  fenced; starting ends what the id had open, and waits until a decided end is written everywhere;
- to commit is to decide. Then a marker goes into each partition that was written to, and into the
  group's offsets, one after another: in between one topic shows the records, another not yet;
- who reads committed records stops at the first one without a marker, and sees no aborted one;
- the broker ends a transaction that is open for too long, and fences its producer.

Not modelled: replicas and their loss, sequence numbers and repeated batches (one call is one
record), markers as offsets of their own, the loss or expiry of group offsets, KIP-890.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any


class Fenced(Exception):  # noqa: N818 - Kafka's own word
    """Another producer of this transactional id has started, or the broker ended it."""


@dataclass(frozen=True, slots=True)
class Record:
    offset: int
    case: int
    event: int


@dataclass(eq=False, slots=True)
class _Transaction:
    # None while it is open, then what was decided.
    commit: bool | None = None
    # Each partition or group that takes part, and whether the marker is written there.
    marked: dict[str, bool] = field(default_factory=dict)
    offsets: dict[tuple[str, str], Any] = field(default_factory=dict)


class Kafka:
    def __init__(self) -> None:
        self._logs: dict[str, list[tuple[_Transaction, int, int]]] = defaultdict(list)
        self._epochs: dict[str, int] = defaultdict(int)
        self._current: dict[str, _Transaction] = {}
        self._offsets: dict[tuple[str, str], Any] = {}
        # How often something became visible.
        self.changes = 0

    def producer(self, name: str) -> "Producer":
        """Start a producer with this transactional id (InitProducerId)."""
        self._end(name)
        self._epochs[name] += 1
        return Producer(self, name, self._epochs[name])

    def read(
        self, topic: str, offset: int = 0, most: int = 10**6, *, committed: bool = True
    ) -> list[Record]:
        """Up to `most` records from `offset` on; with `committed` up to the last stable offset."""
        found: list[Record] = []
        for at, (transaction, case, event) in enumerate(self._logs[topic]):
            if committed and not transaction.marked[topic]:
                break
            if at >= offset and len(found) < most and (transaction.commit or not committed):
                found.append(Record(at, case, event))
        return found

    def decided(self, topic: str) -> set[int]:
        """The events that are, or will be, there: their markers may still be missing."""
        return {event for transaction, _, event in self._logs[topic] if transaction.commit}

    def committed(self, group: str, topic: str) -> Any:
        """The group's offset, or None."""
        return self._offsets.get((group, topic))

    def commit_offset(self, group: str, topic: str, offset: Any) -> None:
        """Without a transaction."""
        self.changes += 1
        self._offsets[group, topic] = offset

    def write_marker(self) -> None:
        """The next marker of the first transaction that was decided."""
        for transaction in self._current.values():
            missing = [place for place, there in transaction.marked.items() if not there]
            if transaction.commit is not None and missing:
                self._mark(transaction, missing[0])
                return

    def expire(self) -> None:
        """The broker ends every transaction that is open, and fences its producer."""
        for name, transaction in self._current.items():
            if transaction.commit is None and transaction.marked:
                self._end(name)
                self._epochs[name] += 1

    def _end(self, name: str) -> None:
        transaction = self._current.get(name)
        if transaction is None:
            return
        if transaction.commit is None:
            transaction.commit = False
        for place in transaction.marked:
            self._mark(transaction, place)

    def _mark(self, transaction: _Transaction, place: str) -> None:
        if transaction.marked[place]:
            return
        transaction.marked[place] = True
        self.changes += 1
        if transaction.commit:
            for (group, topic), offset in transaction.offsets.items():
                if f"offsets of {group}" == place:
                    self._offsets[group, topic] = offset

    def transaction_of(self, name: str, epoch: int) -> _Transaction:
        """What this producer has open; raises Fenced."""
        if epoch != self._epochs[name]:
            raise Fenced(name)
        current = self._current.get(name)
        if current is None or current.commit is not None:
            # The broker takes nothing more until the markers of the last one are written.
            self._end(name)
            current = self._current[name] = _Transaction()
        return current

    def append(self, topic: str, transaction: _Transaction, case: int, event: int) -> None:
        self._logs[topic].append((transaction, case, event))


@dataclass(frozen=True, slots=True)
class Producer:
    """A started producer. Every method raises Fenced."""

    kafka: Kafka
    name: str
    epoch: int

    def send(self, topic: str, case: int, event: int) -> None:
        transaction = self.kafka.transaction_of(self.name, self.epoch)
        transaction.marked.setdefault(topic, False)
        self.kafka.append(topic, transaction, case, event)

    def send_offset(self, group: str, topic: str, offset: Any) -> None:
        transaction = self.kafka.transaction_of(self.name, self.epoch)
        transaction.marked.setdefault(f"offsets of {group}", False)
        transaction.offsets[group, topic] = offset

    def commit(self) -> None:
        self.kafka.transaction_of(self.name, self.epoch).commit = True

    def abort(self) -> None:
        self.kafka.transaction_of(self.name, self.epoch).commit = False
