"""aiokafka alone: getmany, send, gather, commit; at least once, nothing around it.

Modes: `same-work`, the router's transform on each record; `bytes`, the value sent on twice as
it came, without looking into it.
"""

import asyncio
from collections.abc import Callable

import uvloop

from benchmarks.contenders.job import COMMIT_RECORDS, Clock, Job, work
from benchmarks.contenders.router import settings_of
from benchmarks.contenders.rules import city_rules
from shared.contract import topics
from shared.contract.wire import Outgoing, Record
from shared.runtime import kafka


async def main(job: Job) -> None:
    transform = work(job, city_rules()) if job.mode == "same-work" else _forward(job)
    settings, clock = settings_of(job), Clock()
    consumer = kafka.consumer(settings, job.topic, group=job.group)
    producer = kafka.producer(settings)
    await asyncio.gather(consumer.start(), producer.start())
    done = 0
    while done < job.records:
        batches = await consumer.getmany(timeout_ms=200, max_records=COMMIT_RECORDS)
        if not batches:
            continue
        clock.taken()
        sent = []
        for messages in batches.values():
            for message in messages:
                for out in transform(kafka.record_of(message)):
                    headers = list(out.headers)
                    sent.append(
                        await producer.send(out.topic, out.value, key=out.key, headers=headers)
                    )
            done += len(messages)
        await asyncio.gather(*sent)
        await consumer.commit({p: messages[-1].offset + 1 for p, messages in batches.items()})
        clock.committed()
    clock.tell(done)
    await asyncio.gather(consumer.stop(), producer.stop())


def _forward(job: Job) -> Callable[[Record], list[Outgoing]]:
    agencies = [name for name in job.outputs if name != topics.CASES]

    def forward(record: Record) -> list[Outgoing]:
        key = record.key or b""
        return [
            Outgoing(agencies[key[0] % len(agencies)], key, record.headers, record.value),
            Outgoing(topics.CASES, key, record.headers, record.value),
        ]

    return forward


if __name__ == "__main__":
    uvloop.run(main(Job.read()))
