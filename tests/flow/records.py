"""Records as they lie on Kafka, written and read by a test itself."""

from collections.abc import Sequence
from uuid import UUID

from catalogue import load_catalogue
from services.intake.identity import parse_case_number
from shared.contract import topics
from shared.contract.events import CaseAssigned
from shared.contract.wire import Headers, Outgoing, Record, decode
from shared.runtime import kafka
from shared.runtime.settings import Settings
from tests.city import City, eventually


async def write(settings: Settings, *records: Outgoing, without_key: bool = False) -> list[int]:
    """The offsets that they got. Raises what the broker answers."""
    producer = kafka.producer(settings)
    try:
        await producer.start()
        done = [
            await producer.send_and_wait(
                one.topic,
                one.value,
                key=None if without_key else one.key,
                headers=list(one.headers),
            )
            for one in records
        ]
    finally:
        await producer.stop()
    return [one.offset for one in done]


async def read(settings: Settings, *names: str) -> list[Record]:
    """Every record of these topics, from the beginning to the end of now."""
    async with kafka.started(kafka.consumer(settings)) as consumer:
        partitions = await kafka.partitions_of(consumer, names)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        waiting, found = set(partitions), []
        while waiting:
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                found += [kafka.record_of(message) for message in batch]
            waiting = {p for p in waiting if await consumer.position(p) < ends[p]}
        return found


def every_topic() -> list[str]:
    agencies = load_catalogue().agencies
    own = {code for code, one in agencies.items() if one.own_system}
    return [spec.name for spec in topics.all_topics(list(agencies), own)]


async def letters(
    city: City, topic: str, offset: int, key: bytes | None = None, within_s: float = 20
) -> list[Record]:
    """The dead letters of the record at `offset` of `topic`, once there are: of any partition, or
    of the one with that `key`."""

    async def found() -> list[Record]:
        return [
            one
            for one in await read(city.kafka("operator"), topics.dead(topic))
            if one.header("dead_topic") == topic
            and one.header("dead_offset") == str(offset)
            and key in (None, one.key)
        ]

    return await eventually(found, within_s=within_s)


async def assignment(city: City, agency: str, number: str) -> CaseAssigned:
    """The case as the agency's own system gets it, under its own user."""

    async def found() -> CaseAssigned | None:
        for one in await read(city.kafka(agency), topics.agency_cases(agency)):
            event = decode(one)
            if isinstance(event, CaseAssigned) and event.number == parse_case_number(number):
                return event
        return None

    event = await eventually(found)
    assert event is not None
    return event


def raw(topic: str, key: UUID | bytes, value: bytes | None, headers: Headers = ()) -> Outgoing:
    return Outgoing(topic, key if isinstance(key, bytes) else str(key).encode(), headers, value)


def with_header(record: Outgoing, name: str, value: bytes | None) -> Outgoing:
    """`record` with this header changed, or taken away (None)."""
    kept: Sequence[tuple[str, bytes]] = [one for one in record.headers if one[0] != name]
    changed = [] if value is None else [(name, value)]
    return Outgoing(record.topic, record.key, (*kept, *changed), record.value)
