"""What every contender is told, and what it answers. Needs nothing but pydantic and yaml."""

import json
import sys
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from services.router.domain import Release
from services.router.handlers import WANTED, on_event, records
from shared.contract.wire import Outgoing, Record, decode

# As much as one transaction of the router takes; the peers commit as often.
COMMIT_RECORDS = 1000
LINGER_MS = 2
BATCH_BYTES = 256 * 1024


class Job(BaseModel):
    """Forward the first `records` of `topic`. `mode` is the contender's own variant."""

    model_config = ConfigDict(frozen=True)
    kafka: str
    username: str
    password: str
    topic: str
    group: str
    records: int
    mode: str
    outputs: tuple[str, ...]

    @classmethod
    def read(cls) -> "Job":
        return cls.model_validate_json(sys.stdin.buffer.readline())


class Clock:
    """From the first record taken to the last commit acknowledged."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._ended = 0.0

    def taken(self) -> None:
        if self._began is None:
            self._began = time.perf_counter()

    def committed(self) -> None:
        """Something was committed; the last one counts."""
        self._ended = time.perf_counter()

    def tell(self, records: int) -> None:
        seconds = self._ended - (self._began or self._ended)
        print(json.dumps({"seconds": seconds, "records": records}), flush=True)


def work(rules: Collection[Release]) -> Callable[[Record], list[Outgoing]]:
    """The router's own work on a record: decode, decide, encode two events."""

    def transform(record: Record) -> list[Outgoing]:
        event = decode(record, WANTED)
        told = on_event(event, rules, datetime.now(UTC)) if event else None
        if told is None:
            raise ValueError("the input is applications, and nothing else")
        return records(told, record.header("traceparent"))

    return transform
