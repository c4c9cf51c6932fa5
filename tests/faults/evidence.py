"""What can be known after a fault, counted without the code that is under test.

Records are read with a consumer of our own, committed ones only, as the operator, and their
headers and bodies are taken apart here. Rows are read as the operator's role too.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from catalogue import load_catalogue
from tests.city import City

_PUBLIC = ("applications.events", "cases.events")
_STARTS = "application.submitted.v1"
_ASSIGNED = "case.assigned.v1"
_ROUTED = "case.routed.v1"


@dataclass(frozen=True, slots=True)
class Told:
    """A record: the event's id and type, its case, and what caused it."""

    topic: str
    id: str
    type: str
    case_id: str
    cause: str
    time: str


async def read(city: City, names: Sequence[str]) -> list[Any]:
    """Every committed record of these topics, in the order of each partition."""
    settings = city.kafka("operator")
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username=settings.kafka_username,
        sasl_plain_password=settings.kafka_password.get_secret_value(),
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        await consumer._client.set_topics(names)
        cluster = consumer._client.cluster
        partitions = [
            TopicPartition(name, n)
            for name in names
            for n in sorted(cluster.partitions_for_topic(name) or ())
        ]
        assert {p.topic for p in partitions} == set(names)
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        left = {p for p in partitions if ends[p]}
        found: list[Any] = []
        async with asyncio.timeout(60):
            while left:
                got = await consumer.getmany(*left, timeout_ms=100)
                found += [one for batch in got.values() for one in batch]
                left = {p for p in left if await consumer.position(p) < ends[p]}
    finally:
        await consumer.stop()
    return found


async def _read_sound(city: City, names: Sequence[str], set_aside: set[str]) -> list[Told]:
    return [_told(one) for one in await read(city, names) if _place(one) not in set_aside]


def _place(message: Any) -> str:
    return f"{message.topic}:{message.partition}:{message.offset}"


def _origin(letter: Any) -> str:
    """Where the record stands of which this dead letter is a copy."""
    headers = {name: value.decode() for name, value in letter.headers}
    return ":".join(headers[f"dead_{part}"] for part in ("topic", "partition", "offset"))


def _told(message: Any) -> Told:
    headers = {name: value.decode() for name, value in message.headers}
    body = json.loads(message.value)
    assert message.key.decode() == body["case_id"] == headers["ce_subject"]
    return Told(
        message.topic,
        headers["ce_id"],
        headers["ce_type"],
        body["case_id"],
        body.get("cause", ""),
        headers["ce_time"],
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """Rows and records, as multisets of (case, event that caused it)."""

    numbers: Counter[str]
    applications: Counter[tuple[str, str]]
    submitted: Counter[tuple[str, str]]
    assigned: Counter[tuple[str, str]]
    routed: Counter[tuple[str, str]]
    assignment_ids: Counter[str]
    in_inboxes: Counter[str]
    cases_in_offices: Counter[str]
    out_of_order: list[str]
    notice_causes: list[tuple[str, str]]
    # TOPIC:PARTITION:OFFSET of each dead letter's record; row:CASE of what Kafka refuses.
    set_aside: set[str]

    @classmethod
    async def of(cls, city: City) -> "Evidence":
        agencies = [f"agency.{code}.cases" for code in load_catalogue().agencies]
        dead = [f"{name}.dead" for name in (*_PUBLIC, "agency.cases")]
        set_aside = {_origin(one) for one in await read(city, dead)}
        at_agencies = await _read_sound(city, agencies, set_aside)
        public = await _read_sound(city, _PUBLIC, set_aside)
        assigned = [one for one in at_agencies if one.type == _ASSIGNED]
        routed = [one for one in public if one.type == _ROUTED]
        started = [one for one in public if one.type == _STARTS]
        connection = await city.database("operator")
        try:
            rows = await connection.fetch(
                "SELECT case_id::text, number, event_id::text FROM intake.applications"
            )
            inboxes = await connection.fetch(
                "SELECT assignment_id::text AS id FROM backoffice.assignments"
            )
            offices = await connection.fetch("SELECT case_id::text FROM backoffice.cases")
            for service in ("intake", "backoffice", "notifier", "console"):
                refused = f"SELECT key FROM {service}.outbox WHERE refused IS NOT NULL"
                set_aside |= {
                    f"row:{row['key'].decode()}" for row in await connection.fetch(refused)
                }
        finally:
            await connection.close()
        return cls(
            numbers=Counter(row["number"] for row in rows),
            applications=Counter((row["case_id"], row["event_id"]) for row in rows),
            submitted=Counter((one.case_id, one.id) for one in started),
            assigned=Counter((one.case_id, one.cause) for one in assigned),
            routed=Counter((one.case_id, one.cause) for one in routed),
            assignment_ids=Counter(one.id for one in assigned),
            in_inboxes=Counter(row["id"] for row in inboxes),
            cases_in_offices=Counter(row["case_id"] for row in offices),
            out_of_order=_out_of_order(assigned) + _out_of_order(routed),
            notice_causes=[(one.id, one.case_id) for one in (*started, *routed)],
            set_aside=set_aside,
        )

    def first_assignments(self) -> Counter[tuple[str, str]]:
        """Those that a submission caused; others follow from returns and chains."""
        return Counter({k: n for k, n in self.assigned.items() if k in self.applications})


def _out_of_order(told: Sequence[Told]) -> list[str]:
    """Cases whose records, within one topic, do not come in the order of their time."""
    last: dict[tuple[str, str], str] = {}
    wrong = []
    for one in told:
        key = one.topic, one.case_id
        if last.get(key, "") > one.time:
            wrong.append(one.case_id)
        last[key] = one.time
    return wrong


@dataclass(frozen=True, slots=True)
class Notices:
    """The ledger's notices by (number, channel), and how many messages arrived."""

    causes: Counter[tuple[str, str]]
    states: Counter[str]
    sent: Counter[tuple[str, str]]
    unknown: Counter[tuple[str, str]]
    arrived: Counter[tuple[str, str]]

    @classmethod
    async def of(cls, city: City, numbers: Sequence[str]) -> "Notices":
        connection = await city.database("operator")
        try:
            rows = await connection.fetch(
                "SELECT cause::text, number, channel, state FROM notifier.notices"
            )
        finally:
            await connection.close()
        return cls(
            causes=Counter((row["cause"], row["channel"]) for row in rows),
            states=Counter(row["state"] for row in rows),
            sent=_count(rows, "sent", "delivered"),
            unknown=_count(rows, "unknown"),
            arrived=await _arrived(city, numbers),
        )


def _count(rows: Sequence[Any], *states: str) -> Counter[tuple[str, str]]:
    return Counter((row["number"], row["channel"]) for row in rows if row["state"] in states)


async def _arrived(city: City, numbers: Sequence[str]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    at_once = asyncio.Semaphore(8)

    async with httpx.AsyncClient(timeout=30) as client:

        async def ask(channel: str, where: str, number: str) -> None:
            async with at_once:
                answer = await client.get(
                    f"{city.running.urls[where]}/api/messages",
                    params={"number": number, "limit": 1000},
                )
            found[number, channel] = len(answer.json())

        await asyncio.gather(
            *(
                ask(channel, where, number)
                for channel, where in (("mail", "mailbox"), ("sms", "sms"))
                for number in numbers
            )
        )
    return found
