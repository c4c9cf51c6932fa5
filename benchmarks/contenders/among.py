"""The router as one of several processes of a group; told when to begin and when it is over.

Input: a Job on one line, `go` on the next, then the end of the file. Output: how many partitions
stand ready, each time that changes, and in the end what it did; times are of the machine's one
clock.
"""

import asyncio
import contextlib
import json
import sys
import time
from typing import Any

import structlog
import uvloop

from benchmarks.contenders.job import Job
from benchmarks.contenders.router import settings_of
from services.router.engine import Engine
from services.router.worker import Releases, transform
from shared.contract.wire import Outgoing, Record


class _Gated(Engine):
    """Takes nothing before `gate` is open, and notes when its commits were acknowledged."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.gate = asyncio.Event()
        self.ended = 0.0
        self._waiting: set[Any] = set()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        await super().on_partitions_revoked(revoked)
        self._waiting.clear()
        self._say()

    def _say(self) -> None:
        print(json.dumps({"partitions": len(self._waiting)}), flush=True)

    async def _step(self, partition: Any, *rest: Any) -> bool:
        if not self.gate.is_set():
            self._waiting.add(partition)
            self._say()
            await self.gate.wait()
        found = await super()._step(partition, *rest)
        if found:
            self.ended = time.monotonic()
        return found


async def main(job: Job) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    settings = settings_of(job)
    releases = Releases(settings)
    began, taken = 0.0, 0

    def counted(record: Record) -> list[Outgoing]:
        nonlocal began, taken
        began = began or time.monotonic()
        taken += 1
        return transform(releases, record)

    engine = _Gated(settings, job.group, [job.topic], counted)
    parts = [
        asyncio.create_task(releases.follow()),
        asyncio.create_task(engine.run(releases.ready)),
    ]
    await asyncio.to_thread(sys.stdin.buffer.readline)
    engine.gate.set()
    await asyncio.to_thread(sys.stdin.buffer.read)
    print(json.dumps({"began": began, "ended": engine.ended, "records": taken}), flush=True)
    for part in parts:
        part.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await part


if __name__ == "__main__":
    uvloop.run(main(Job.read()))
