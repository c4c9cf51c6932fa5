"""Rows of intake's outbox to Kafka, from a position on until all are sent.

Modes: `relay`, the project's own; `raw`, aiokafka in a plain loop, at least once: fetch, send,
gather, and the position in PostgreSQL. Input: an OutboxJob.
"""

import asyncio
import contextlib
import sys
from typing import Any

import asyncpg
import structlog
import uvloop

from benchmarks.contenders.job import Clock, Job
from benchmarks.contenders.router import settings_of
from shared.runtime import kafka
from shared.runtime.postgres import open_pool
from shared.runtime.relay import Position, Relay
from shared.runtime.settings import StoreSettings

_BATCH_ROWS = 500


class OutboxJob(Job):
    """`database` is a role's URI; the raw loop begins behind (`xid`, `seq`), the relay where it
    stands."""

    database: str
    xid: int
    seq: int


class _Clocked(Relay):
    def __init__(self, *arguments: Any, records: int) -> None:
        super().__init__(*arguments)
        self._left = records
        self.clock = Clock()
        self.finished = asyncio.Event()

    async def _publish(self, producer: Any, rows: Any, before: Position) -> Position:
        self.clock.taken()
        after = await super()._publish(producer, rows, before)
        self.clock.committed()
        self._left -= len(rows)
        if self._left <= 0:
            self.finished.set()
        return after


async def main(job: OutboxJob) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    settings = StoreSettings(**settings_of(job).model_dump(), postgres=job.database)  # type: ignore[arg-type]  # from text
    pool = await open_pool(settings, "bench")
    try:
        await (_relay if job.mode == "relay" else _raw)(job, settings, pool)
    finally:
        await pool.close()


async def _relay(job: OutboxJob, settings: StoreSettings, pool: Any) -> None:
    relay = _Clocked(settings, pool, "intake", records=job.records)
    running = asyncio.create_task(relay.run())
    finished = asyncio.create_task(relay.finished.wait())
    await asyncio.wait([running, finished], return_when=asyncio.FIRST_COMPLETED)
    if not finished.done():
        await running
    relay.clock.tell(job.records)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def _raw(job: OutboxJob, settings: StoreSettings, pool: Any) -> None:
    clock, at, done = Clock(), (str(job.xid), job.seq), 0
    producer = kafka.producer(settings)
    await producer.start()
    while done < job.records:
        rows: list[asyncpg.Record] = await pool.fetch(
            "SELECT xid::text AS xid, seq, topic, key, header_names, header_values, value"
            " FROM intake.outbox o WHERE (xid, seq) > ($1::text::xid8, $2)"
            f" ORDER BY o.xid, o.seq LIMIT {_BATCH_ROWS}",
            *at,
        )
        clock.taken()
        sent = []
        for row in rows:
            headers = list(zip(row["header_names"], row["header_values"], strict=True))
            sent.append(
                await producer.send(row["topic"], row["value"], key=row["key"], headers=headers)
            )
        await asyncio.gather(*sent)
        at = (rows[-1]["xid"], rows[-1]["seq"])
        await pool.execute("UPDATE bench.position SET xid = $1, seq = $2", *at)
        clock.committed()
        done += len(rows)
    clock.tell(done)
    await producer.stop()


if __name__ == "__main__":
    uvloop.run(main(OutboxJob.model_validate_json(sys.stdin.buffer.readline())))
