"""FastStream on aiokafka: a subscriber that publishes, acknowledged after handling.

Modes: `single`, a record at a time; `batch`, FastStream's own batches.
"""

import asyncio
import logging
from typing import Any

import uvloop
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.security import SASLScram512

from benchmarks.contenders.job import BATCH_BYTES, COMMIT_RECORDS, LINGER_MS, Clock, Job, work
from benchmarks.contenders.rules import city_rules
from shared.contract.wire import Outgoing, Record


async def main(job: Job) -> None:
    transform, clock = work(job, city_rules()), Clock()
    batch = job.mode == "batch"
    broker = KafkaBroker(
        job.kafka,
        security=SASLScram512(job.username, job.password, use_ssl=False),
        acks="all",
        enable_idempotence=True,
        # A record at a time waits for each send: lingering would only make it wait longer.
        linger_ms=LINGER_MS if batch else 0,
        max_batch_size=BATCH_BYTES,
        apply_types=False,
        log_level=logging.WARNING,
    )
    done, finished = 0, asyncio.Event()

    async def publish(out: Outgoing) -> None:
        headers = {name: value.decode() for name, value in out.headers}
        await broker.publish(out.value, out.topic, key=out.key, headers=headers)

    async def forward(message: Any) -> None:
        nonlocal done
        clock.taken()
        raw = message.raw_message
        records = [_record(one) for one in (raw if batch else [raw])]
        await asyncio.gather(*(publish(out) for one in records for out in transform(one)))
        done += len(records)
        if done >= job.records:
            finished.set()

    options: dict[str, Any] = {"batch": True, "max_records": COMMIT_RECORDS} if batch else {}
    subscriber = broker.subscriber(
        job.topic,
        group_id=job.group,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.ACK,
        isolation_level="read_committed",
        decoder=_as_it_is,
        **options,
    )
    subscriber(forward)
    await broker.start()
    await finished.wait()
    # The last handling is acknowledged just after it returns; its commit is one round trip.
    while not await _all_committed(subscriber.consumer, job.records):
        pass
    clock.committed()
    clock.tell(done)
    await broker.stop()


async def _all_committed(consumer: Any, records: int) -> bool:
    committed = [await consumer.committed(one) or 0 for one in consumer.assignment()]
    return sum(committed) >= records


async def _as_it_is(message: Any) -> Any:
    """The handler decodes; FastStream would do it once more."""
    return message


def _record(raw: Any) -> Record:
    return Record(
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        timestamp_ms=raw.timestamp,
        key=raw.key,
        headers=tuple(raw.headers),
        value=raw.value,
    )


if __name__ == "__main__":
    uvloop.run(main(Job.read()))
