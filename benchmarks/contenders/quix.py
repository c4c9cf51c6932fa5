"""Quix Streams, on librdkafka. Modes: `exactly-once`, `at-least-once`."""

import logging
from typing import Any

from quixstreams import Application
from quixstreams.checkpointing import Checkpoint
from quixstreams.kafka import ConnectionConfig
from quixstreams.models import Serializer

from benchmarks.contenders.job import COMMIT_RECORDS, Clock, Job, work
from benchmarks.contenders.rules import city_rules
from shared.contract.wire import Outgoing, Record


class _Value(Serializer):
    """The value of an Outgoing: it is bytes already."""

    def __call__(self, value: Outgoing, ctx: object) -> bytes:
        return value.value or b""


def main(job: Job) -> None:
    transform, clock = work(job, city_rules()), Clock()
    app = Application(
        ConnectionConfig(
            bootstrap_servers=job.kafka,
            security_protocol="sasl_plaintext",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username=job.username,
            sasl_password=job.password,
        ),
        consumer_group=job.group,
        auto_offset_reset="earliest",
        processing_guarantee=job.mode,
        commit_every=COMMIT_RECORDS,
        auto_create_topics=False,
        loglevel=logging.WARNING,
    )
    source = app.topic(job.topic, value_deserializer="bytes")
    outputs = {name: app.topic(name, value_serializer=_Value()) for name in job.outputs}

    def forward(value: bytes, key: bytes, timestamp: int, headers: Any) -> list[Outgoing]:
        clock.taken()
        return transform(Record(job.topic, 0, 0, timestamp, key, tuple(headers or ()), value))

    stream = app.dataframe(source).apply(forward, expand=True, metadata=True)
    stream = stream.set_headers(lambda out, *_: list(out.headers))
    stream.to_topic(lambda out, *_: outputs[out.topic])
    _note_commits(clock)
    app.run(count=job.each * job.records)
    clock.tell(job.records)


def _note_commits(clock: Clock) -> None:
    """The library says nothing when a checkpoint (flush, offsets, transaction) is committed."""
    original = Checkpoint.commit

    def commit(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        clock.committed()

    Checkpoint.commit = commit


if __name__ == "__main__":
    main(Job.read())
