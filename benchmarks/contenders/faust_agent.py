"""A plain Faust agent: events(), send, and Faust's own commits."""

import asyncio
import tempfile
from typing import Any

import faust
import uvloop
from faust.types.auth import SASLMechanism

from benchmarks.contenders.job import BATCH_BYTES, COMMIT_RECORDS, LINGER_MS, Clock, Job, work
from benchmarks.contenders.rules import city_rules
from shared.contract.wire import Record


async def main(job: Job) -> None:
    transform, clock = work(job, city_rules()), Clock()
    app = faust.App(
        job.group,
        broker=f"kafka://{job.kafka}",
        broker_credentials=faust.SASLCredentials(
            username=job.username,
            password=job.password,
            mechanism=SASLMechanism.SCRAM_SHA_512,
        ),
        key_serializer="raw",
        value_serializer="raw",
        store="memory://",
        datadir=tempfile.gettempdir(),
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=COMMIT_RECORDS,
        broker_commit_every=COMMIT_RECORDS,
        producer_acks=-1,
        producer_linger=LINGER_MS / 1000,
        producer_max_batch_size=BATCH_BYTES,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
    )
    outputs = {name: app.topic(name, key_type=bytes, value_type=bytes) for name in job.outputs}
    done, finished = 0, asyncio.Event()

    @app.agent(app.topic(job.topic, key_type=bytes, value_type=bytes))  # type: ignore[untyped-decorator]
    async def forward(stream: Any) -> None:
        nonlocal done
        async for event in stream.events():
            clock.taken()
            for out in transform(_record(event.message)):
                await outputs[out.topic].send(
                    key=out.key, value=out.value, headers=dict(out.headers)
                )
            done += 1
            if done >= job.records:
                finished.set()

    await app.start()
    await finished.wait()
    await app.producer.flush()
    await app.consumer.commit()
    clock.committed()
    clock.tell(done)
    await app.stop()


def _record(message: Any) -> Record:
    headers = message.headers or {}
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=int(message.timestamp * 1000),
        key=message.key,
        headers=tuple(headers.items() if hasattr(headers, "items") else headers),
        value=message.value,
    )


if __name__ == "__main__":
    uvloop.run(main(Job.read()))
