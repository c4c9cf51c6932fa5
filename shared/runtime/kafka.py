"""Consumers and producers with the settings that keep a promise, in one place.

aiokafka's own defaults are unsafe for this work (acks=1, auto-commit, read_uncommitted, latest).
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.producer import sender

from shared.contract import topics
from shared.contract.wire import Outgoing, Record
from shared.runtime import headers
from shared.runtime.settings import Settings

# Here, so that it holds for Faust's consumers too.
headers.tolerate()

# After a commit the broker refuses the next transaction until its markers are written, a few
# milliseconds; aiokafka then waits a fixed 20 ms, and has no setting for it.
_NEXT_TRANSACTION_S = 0.002
SESSION_TIMEOUT_MS = 10_000
# A topic that was deleted and made again is noticed this soon; the client's own is 5 minutes.
METADATA_MAX_AGE_MS = 10_000
HEARTBEAT_MS = 3_000
# A dead producer's open transaction holds back every read_committed reader this long at most.
TRANSACTION_TIMEOUT_MS = 12_000
# Of a dead letter; other topics keep the broker's own limit of about 1 MiB.
LARGEST_BYTES = 2 * 1024 * 1024
# An idempotent send never gives up by itself; past this its producer is thrown away.
SEND_TIMEOUT_S = 15.0
# Of a letter's tries: the number may be anybody's, and Python reads 4,300 digits at most.
_MOST_DIGITS = 10


def connection(settings: Settings) -> dict[str, Any]:
    """The arguments that every aiokafka client of this process takes."""
    found: dict[str, Any] = {
        "bootstrap_servers": settings.kafka,
        "security_protocol": settings.kafka_security,
    }
    if settings.kafka_security.startswith("SASL"):
        found |= {
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    if settings.kafka_security == "SASL_SSL":
        found["ssl_context"] = ssl.create_default_context(cafile=settings.kafka_ca_file)
    return found


def consumer(
    settings: Settings, *topics: str, group: str | None = None, reset: str = "earliest"
) -> AIOKafkaConsumer:
    """A consumer that sees committed records only and commits by hand.

    Without a position it begins at the beginning; with `reset` "none" that is an error.
    """
    return AIOKafkaConsumer(
        *topics,
        group_id=group,
        auto_offset_reset=reset,
        enable_auto_commit=False,
        isolation_level="read_committed",
        session_timeout_ms=SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        **connection(settings),
    )


def producer(settings: Settings, *, transactional_id: str | None = None) -> AIOKafkaProducer:
    """An idempotent producer, acknowledged by all in-sync replicas."""
    sender.BACKOFF_OVERRIDE = _NEXT_TRANSACTION_S
    return AIOKafkaProducer(
        acks="all",
        enable_idempotence=True,
        transactional_id=transactional_id,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        linger_ms=2,
        max_batch_size=256 * 1024,
        max_request_size=LARGEST_BYTES,
        **connection(settings),
    )


def admin(settings: Settings) -> AIOKafkaAdminClient:
    return AIOKafkaAdminClient(**connection(settings))


Client = TypeVar("Client", AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient)


@contextlib.asynccontextmanager
async def started(client: Client) -> AsyncIterator[Client]:
    """`client`, started; and ended, also when its start was cut off. Raises KafkaError."""
    try:
        await client.start()
        yield client
    except asyncio.CancelledError as error:
        # A client whose connection closes cancels the requests on it, and so who awaits them.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise KafkaConnectionError("a connection was closed under a request") from error
    finally:
        await (client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())


async def partitions_of(consumer: AIOKafkaConsumer, names: Iterable[str]) -> list[TopicPartition]:
    """Every partition of the topics `names`, as the broker says, in order.

    The client then knows their leaders: otherwise it would ask for each topic's alone, with a
    pause of 0.1 s between.
    """
    client = consumer._client
    wanted = list(names)
    await client.set_topics(wanted)
    return [
        TopicPartition(name, n)
        for name in wanted
        for n in sorted(client.cluster.partitions_for_topic(name) or ())
    ]


def record_of(message: Any) -> Record:
    """Our own record from aiokafka's, byte for byte."""
    return Record(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=message.timestamp,
        key=message.key,
        headers=tuple(message.headers),
        value=message.value,
    )


def dead_letter_headers(
    record: Record, code: str, error: Exception, group: str = ""
) -> list[tuple[str, bytes]]:
    """The original headers and, after them, why, by whom, when and from where it was set aside.

    A letter that was replayed and fails again keeps its first time, and counts its tries.
    """
    now = datetime.now(UTC).isoformat()
    tries = record.header("dead_tries") or "0"
    counted = tries.isdecimal() and len(tries) < _MOST_DIGITS
    words = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace")
    return [
        *((name, value) for name, value in record.headers if not name.startswith("dead_")),
        ("dead_code", code.encode()),
        ("dead_error", words[:2000].decode("utf-8", "ignore").encode()),
        ("dead_topic", record.topic.encode()),
        ("dead_partition", str(record.partition).encode()),
        ("dead_offset", str(record.offset).encode()),
        ("dead_group", group.encode()),
        ("dead_first_at", (record.header("dead_first_at") or now).encode()),
        ("dead_last_at", now.encode()),
        ("dead_tries", str(int(tries) + 1 if counted else 1).encode()),
    ]


def dead_letter(record: Record, code: str, error: Exception, group: str) -> Outgoing:
    """`record` for its dead-letter topic: key and body byte for byte."""
    headers = tuple(dead_letter_headers(record, code, error, group))
    return Outgoing(topics.dead(record.topic), record.key or b"", headers, record.value)


def by_topic(records: Sequence[Record]) -> dict[str, int]:
    """How many records of each topic, for the counters."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record.topic] = counts.get(record.topic, 0) + 1
    return counts
