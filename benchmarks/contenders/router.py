"""The project's own engine, with its releases, its transform and its settings.

Modes: `exactly-once`, as it runs in the city; `at-least-once`, without transactions.
"""

import asyncio
import contextlib
from typing import Any

import structlog
import uvloop
from pydantic import SecretStr

from benchmarks.contenders.job import Clock, Job, passed_on
from services.router.engine import Engine
from services.router.worker import Releases, transform
from shared.contract.wire import Outgoing, Record
from shared.runtime.settings import Settings


class _Clocked(Engine):
    """Notes when each step's commit was acknowledged."""

    def __init__(self, *arguments: Any, clock: Clock, records: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._clock = clock
        self._records = records
        self._committed: dict[Any, int] = {}
        self.taken: dict[Any, int] = {}
        self.finished = asyncio.Event()

    async def _step(self, partition: Any, *rest: Any) -> bool:
        found = await super()._step(partition, *rest)
        if found:
            self._clock.committed()
            self._committed[partition] = self.taken[partition.partition]
            if sum(self._committed.values()) >= self._records:
                self.finished.set()
        return found


async def main(job: Job) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    settings = settings_of(job)
    clock, releases = Clock(), Releases(settings)
    alone = passed_on(job) if job.work == "pass on" else None

    def counted(record: Record) -> list[Outgoing]:
        clock.taken()
        engine.taken[record.partition] = engine.taken.get(record.partition, 0) + 1
        return alone(record) if alone else transform(releases, record)

    engine = _Clocked(
        settings,
        job.group,
        [job.topic],
        counted,
        transactional=job.mode == "exactly-once",
        clock=clock,
        records=job.records,
    )
    parts = [
        asyncio.create_task(releases.follow()),
        asyncio.create_task(engine.run(releases.ready)),
    ]
    await engine.finished.wait()
    clock.tell(sum(engine.taken.values()))
    for part in parts:
        part.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await part


def settings_of(job: Job) -> Settings:
    return Settings(
        kafka=job.kafka,
        kafka_security="SASL_PLAINTEXT",
        kafka_username=job.username,
        kafka_password=SecretStr(job.password),
    )


if __name__ == "__main__":
    uvloop.run(main(Job.read()))
