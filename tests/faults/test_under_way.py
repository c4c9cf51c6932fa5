"""Under one run of traffic: routers come and go, transactions commit late, poison is written."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
import pytest_asyncio

from services.intake.identity import case_number
from shared.contract.events import ApplicationSupplemented
from shared.contract.wire import Outgoing, encode
from shared.runtime import kafka
from tests import examples
from tests.city import City, application, eventually
from tests.faults.load import (
    FULL,
    TIMEOUT_S,
    Aftermath,
    Traffic,
    another_router,
    applications,
    ended,
    members_are,
    routed_more,
)

pytestmark = pytest.mark.timeout(TIMEOUT_S)
_ROUNDS = 5 if FULL else 1
_LATE = 3


@pytest_asyncio.fixture(scope="module")
async def after_all_that(city: City, poison: set[str]) -> Aftermath:
    """1, 3 and again 1 routers, all of them in turn; meanwhile late commits and poison."""
    async with Traffic(city, 12.0, "--clerks") as traffic:
        for _ in range(_ROUNDS):
            async with another_router(city), another_router(city):
                await members_are(city, 3)
                async with _late_commits(city):
                    poison |= await _poisoned(city)
                    poison |= await _refused(city)
                    await applications(city, 10)
                await ended(city, "router")
                await members_are(city, 3)
            await members_are(city, 1)
            await routed_more(city)
        return await traffic.aftermath()


@contextlib.asynccontextmanager
async def _late_commits(city: City) -> AsyncIterator[None]:
    """Applications whose transactions begin before, and are held until the end.

    Somebody else is about to commit their idempotency keys, and in the end does not.
    """
    keys = [str(uuid4()) for _ in range(_LATE)]
    holder, watcher = await city.database("intake"), await city.database()
    held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    transaction_of = "SELECT max(xmin::text::bigint) FROM intake.applications"
    try:
        holding = holder.transaction()
        await holding.start()
        await holder.executemany(
            "INSERT INTO intake.idempotency (key_sha256, body_sha256, case_id)"
            " VALUES ($1, '', gen_random_uuid())",
            [(hashlib.sha256(key.encode()).digest(),) for key in keys],
        )
        async with asyncio.TaskGroup() as group:
            late = [group.create_task(city.submit(application(), key)) for key in keys]
            await eventually(lambda: watcher.fetchval(held), lambda count: count >= _LATE)
            try:
                yield
            finally:
                youngest = await watcher.fetchval(transaction_of)
                await holding.rollback()
        numbers = [task.result()["number"] for task in late]
        late_one = await watcher.fetchval(f"{transaction_of} WHERE number = ANY($1)", numbers)
        assert late_one < youngest
    finally:
        await holder.close()
        await watcher.close()


async def _poisoned(city: City) -> set[str]:
    """Where it stands now: of each kind, written past all services by the brokers' admin."""
    unknown = ApplicationSupplemented, {"case_id": uuid4(), "number": _number()}
    records = [
        _raw("applications.events", b"\x00\xff{"),
        _raw("cases.events", b"no JSON", "case.returned.v1"),
        _raw("cases.events", b"{}", "case.of_a_type_of_tomorrow.v1"),
        _raw("agency.IPC.cases", b'{"case_id": 1}', "case.assigned.v1"),
        # Sound, but in the wrong place: the back office's handler raises.
        encode("agency.IPC.cases", examples.event(unknown[0], **unknown[1])),
    ]
    producer = kafka.producer(city.kafka("admin"))
    await producer.start()
    try:
        done = [
            await producer.send_and_wait(
                one.topic, one.value, key=one.key, headers=list(one.headers)
            )
            for one in records
        ]
    finally:
        await producer.stop()
    return {f"{one.topic}:{one.partition}:{one.offset}" for one in done}


def _raw(topic: str, value: bytes, event_type: str = "") -> Outgoing:
    headers = (("ce_type", event_type.encode()),) if event_type else ()
    return Outgoing(topic, str(uuid4()).encode(), headers, value)


def _number() -> str:
    return case_number(datetime(2020, 1, 1, tzinfo=UTC).date(), uuid4().int % 10**7)


async def _refused(city: City) -> set[str]:
    """A row of intake's outbox that is larger than Kafka takes."""
    key = str(uuid4())
    connection = await city.database("intake")
    try:
        await connection.execute(
            "INSERT INTO intake.outbox (topic, key, header_names, header_values, value)"
            " VALUES ('applications.events', $1, '{}', '{}', $2)",
            key.encode(),
            bytes(3 * 1024 * 1024),
        )
    finally:
        await connection.close()
    return {f"row:{key}"}


async def test_routers_that_come_and_go_and_late_commits_lose_nothing_and_repeat_nothing(
    after_all_that: Aftermath,
) -> None:
    after_all_that.assert_every_answer_is_one_application()
    found = after_all_that.evidence
    assert found.submitted == found.applications
    assert found.first_assignments() == found.applications


async def test_poison_and_what_kafka_refuses_are_set_aside_and_all_else_goes_its_way(
    after_all_that: Aftermath, poison: set[str]
) -> None:
    assert len(poison) == 6 * _ROUNDS
    after_all_that.assert_nothing_lost_nothing_twice(poison)
