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
    """Forward the first `records` of `topic`. `mode` is the contender's own variant.

    `work`: "route" is the router's, two records out for each one in; "pass on" only decodes, and
    sends each on to one of `outputs` as it came.
    """

    model_config = ConfigDict(frozen=True)
    kafka: str
    username: str
    password: str
    topic: str
    group: str
    records: int
    mode: str
    outputs: tuple[str, ...]
    work: str = "route"

    @property
    def each(self) -> int:
        """How many records follow from one."""
        return 2 if self.work == "route" else 1

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


def work(job: Job, rules: Collection[Release]) -> Callable[[Record], list[Outgoing]]:
    """What is to be done with a record, for those that have no releases of their own."""
    return _routed(rules) if job.work == "route" else passed_on(job)


def passed_on(job: Job) -> Callable[[Record], list[Outgoing]]:
    """Decode, choose a topic by the key, send on."""

    def transform(record: Record) -> list[Outgoing]:
        if decode(record, WANTED) is None:
            raise ValueError("the input is applications, and nothing else")
        key = record.key or b""
        topic = job.outputs[key[0] % len(job.outputs)]
        return [Outgoing(topic, key, record.headers, record.value)]

    return transform


def _routed(rules: Collection[Release]) -> Callable[[Record], list[Outgoing]]:
    """The router's own work on a record: decode, decide, encode two events."""

    def transform(record: Record) -> list[Outgoing]:
        event = decode(record, WANTED)
        told = on_event(event, rules, datetime.now(UTC)) if event else None
        if told is None:
            raise ValueError("the input is applications, and nothing else")
        return records(told, record.header("traceparent"))

    return transform
