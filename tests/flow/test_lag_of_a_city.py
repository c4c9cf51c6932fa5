"""A consumer that stands still, one that is gone, one that was set back, and those that are idle:
each is shown as what it is, and as well again once it is."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from shared.runtime import kafka
from tests.city import City, application, eventually

APPLICATIONS = 12


class Console:
    """What the console tells, asked again and again."""

    def __init__(self, city: City) -> None:
        self._client = httpx.AsyncClient(base_url=city.running.urls["console"])

    async def lag(self) -> dict[str, Any]:
        answer = await self._client.get("/api/lag")
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    async def group(self, name: str) -> dict[str, Any]:
        groups = (await self.lag())["groups"]
        return next((one for one in groups if one["group"] == name), {})

    async def becomes(self, name: str, state: str, within_s: float = 60) -> None:
        await eventually(
            lambda: self.group(name), lambda found: found.get("state") == state, within_s
        )

    async def page(self) -> str:
        return (await self._client.get("/", params={"lang": "en"})).raise_for_status().text

    async def close(self) -> None:
        await self._client.aclose()


@asynccontextmanager
async def console_of(city: City) -> AsyncIterator[Console]:
    console = Console(city)
    try:
        yield console
    finally:
        await console.close()


@asynccontextmanager
async def frozen(city: City, name: str) -> AsyncIterator[None]:
    """One process stands still; it goes on whatever happens."""
    pid = city.running.pids[name]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def transaction(city: City, statement: str) -> AsyncIterator[None]:
    """A transaction that somebody has left open after `statement`."""
    connection = await city.database()
    try:
        # The city's own limit of a minute for such transactions would end it.
        await connection.execute("SET idle_in_transaction_session_timeout = 0")
        async with connection.transaction():
            await connection.execute(statement)
            yield
    finally:
        await connection.close()


async def committed(city: City, group: str) -> dict[TopicPartition, int]:
    """What the group has committed, where that is more than nothing."""
    async with kafka.started(kafka.admin(city.kafka("operator"))) as admin:
        found = await admin.list_consumer_group_offsets(group)
    return {partition: at.offset for partition, at in found.items() if at.offset > 0}


async def set_back(city: City, user: str, group: str) -> None:
    """Take the group's position in one partition back by one; it has no member now."""
    partition, at = next(iter((await committed(city, group)).items()))
    async with kafka.started(kafka.consumer(city.kafka(user), group=group)) as consumer:
        consumer.assign([partition])
        await consumer.commit({partition: OffsetAndMetadata(at - 1, "")})


@pytest.mark.full
async def test_each_consumer_and_outbox_is_shown_as_what_it_is(city: City) -> None:
    """Set back, gone, standing still, held by a transaction; all at once, as each takes half a
    minute to show."""
    async with console_of(city) as console:
        await city.submit(application())
        await eventually(lambda: committed(city, "notifier-ledger"))
        await eventually(
            lambda: console.group("notifier-ledger"), lambda found: found.get("members") == 1
        )
        # Neither the lock nor who waits for it has a transaction number yet: no relay is held.
        async with (
            frozen(city, "notifier"),
            transaction(city, "LOCK TABLE backoffice.consumed IN SHARE MODE"),
        ):
            await asyncio.gather(*(city.submit(application()) for _ in range(APPLICATIONS)))
            await eventually(
                lambda: console.group("notifier-ledger"), lambda found: found.get("members") == 0
            )
            await set_back(city, "notifier", "notifier-ledger")
            await console.becomes("notifier-ledger", "REWOUND")
            told = await city.acommand("lag")
            assert {one["state"] for one in told["relays"]} == {"OK"}
            waiting = (await console.group("backoffice-inbox"))["records"]
            assert waiting >= APPLICATIONS
            await city.submit(application())
            await eventually(
                lambda: console.group("backoffice-inbox"),
                lambda found: found["records"] > waiting,
            )
            async with transaction(city, "SELECT pg_current_xact_id()"):
                await _held_up(city, console)
        for group in ("notifier-ledger", "backoffice-inbox"):
            await console.becomes(group, "OK")
        assert (await console.lag())["transaction"] is None


async def _held_up(city: City, console: Console) -> None:
    await asyncio.gather(*(city.submit(application()) for _ in range(APPLICATIONS)))
    await console.becomes("notifier-ledger", "STOPPED")
    await console.becomes("backoffice-inbox", "STALLED")
    assert (await console.group("notifier-ledger"))["seconds"] >= 30

    async def intake() -> dict[str, Any]:
        relays = (await console.lag())["relays"]
        return next(one for one in relays if one["outbox"] == "intake")

    await eventually(intake, lambda found: found["state"] == "STALLED", 60)
    assert (await console.lag())["transaction"]["owner"] == "postgres"
    page = await console.page()
    assert "Nobody is there" in page
    assert "The oldest transaction" in page
    states = {one["group"]: one["state"] for one in (await city.acommand("lag"))["totals"]}
    assert states["notifier-ledger"] == "STOPPED"
    assert states["backoffice-inbox"] == "STALLED"
    assert states["console-shadow"] == "OK"
