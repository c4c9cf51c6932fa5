"""The console's streams: lag, measured every few seconds; events counted by the minute; what
releases in shadow decided."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from catalogue import Catalogue
from services.console import history, shadow, store, stuck
from services.console.lag import GROUPS, group_lags, relay_lags
from services.console.releases import TABLES
from services.console.settings import ConsoleSettings
from services.console.states import STATES
from services.console.tally import Tally
from shared.contract import topics
from shared.contract.events import CASE_EVENTS, DecisionShadowed, Event
from shared.contract.wire import Record
from shared.runtime import metrics
from shared.runtime.postgres import TRANSIENT, Connection, Pool
from shared.runtime.sink import Sink
from shared.runtime.stream import consume

log = structlog.get_logger()
GROUP = "console-counts"
SHADOW_GROUP = "console-shadow"
SHADOWED = (DecisionShadowed,)


def topics_of(catalogue: Catalogue) -> Mapping[str, Sequence[str]]:
    """Which topics each consumer group reads."""
    agencies = [topics.agency_cases(code) for code in catalogue.agencies]
    updates = [
        topics.agency_updates(agency.code)
        for agency in catalogue.agencies.values()
        if agency.own_system
    ]
    return {
        "intake-projection": (topics.CASES, topics.NOTICES),
        "router": (topics.APPLICATIONS, topics.CASES, topics.ROUTER_REPLAYS),
        "backoffice-inbox": (topics.APPLICATIONS, *agencies, *updates),
        "notifier-ledger": (topics.APPLICATIONS, topics.CASES),
        GROUP: (topics.APPLICATIONS, topics.CASES, topics.NOTICES),
        SHADOW_GROUP: (topics.RULES_SHADOW,),
    }


def parking(group: str) -> bool:
    """Whether what this group sets aside is parked in a database; the router has none."""
    return group != "router"


class Sampler:
    """Measures again and again: lag of consumers and of outboxes, and what is stuck."""

    def __init__(self, settings: ConsoleSettings, pool: Pool, catalogue: Catalogue) -> None:
        self._settings = settings
        self._pool = pool
        self._topics_of = topics_of(catalogue)
        dead = {topics.dead(name) for names in self._topics_of.values() for name in names}
        self._tally = Tally(settings, sorted(dead), [name for name in GROUPS if parking(name)])

    async def run(self) -> None:
        while True:
            try:
                await self._sample()
            except (KafkaError, *TRANSIENT) as error:
                log.warning("console.sample_failed", error=repr(error))
            await asyncio.sleep(self._settings.sample_every_s)

    async def _sample(self) -> None:
        lags = await group_lags(self._settings, self._topics_of)
        async with self._pool.acquire() as connection:
            relays = await relay_lags(self._settings, connection)
            await history.put_samples(connection, datetime.now(UTC), lags, relays)
            picture = history.picture(await history.measured(connection))
        await self._tally.read()
        async with self._pool.acquire() as connection:
            settled = await stuck.settled_letters(connection)
            await stuck.put_letters(connection, self._tally.counted(settled))
            _show(picture, await stuck.stuck(connection))


def _show(picture: history.Picture, found: dict[str, Any]) -> None:
    """Everything as metrics."""
    for lag in picture.groups:
        labels = (lag["group"], lag["topic"], str(lag["partition"]))
        metrics.GROUP_LAG.labels(*labels).set(lag["records"])
        seconds = float("nan") if lag["seconds"] is None else lag["seconds"]
        metrics.GROUP_LAG_SECONDS.labels(*labels).set(seconds)
        metrics.PARTITION_END.labels(*labels[1:]).set(lag["end"])
    for total in picture.totals:
        metrics.GROUP_LAG_SUM.labels(total["group"]).set(total["records"])
        for state in STATES:
            metrics.GROUP_STATE.labels(total["group"], state).set(state == total["state"])
    for relay in picture.relays:
        metrics.RELAY_LAG_ROWS.labels(relay["outbox"]).set(relay["rows"])
        metrics.RELAY_LAG_SECONDS.labels(relay["outbox"]).set(relay["seconds"])
        metrics.REFUSED.labels(relay["outbox"]).set(relay["refused"])
    # What is stuck no more is not to be seen as it once was.
    metrics.PARKED.clear()
    for one in found["parked"]:
        metrics.PARKED.labels(one["service"], one["code"]).inc(one["events"])
    metrics.LETTERS.clear()
    for one in found["letters"]:
        metrics.LETTERS.labels(one["topic"], one["group"], one["code"]).set(one["letters"])


async def count(settings: ConsoleSettings, pool: Pool, ring: Callable[[], None]) -> None:
    """Count the city's events by minute and type."""

    async def handle(connection: Connection, event: Event, _: Record) -> None:
        await store.count(connection, event)

    sink = Sink(pool, TABLES, GROUP, tuple(CASE_EVENTS.values()), handle, ring)
    await consume(settings, GROUP, [topics.APPLICATIONS, topics.CASES, topics.NOTICES], sink)


async def count_shadow(settings: ConsoleSettings, pool: Pool, ring: Callable[[], None]) -> None:
    """Count what releases in shadow decided, by service, agencies and tables that differ."""
    await consume(settings, SHADOW_GROUP, [topics.RULES_SHADOW], shadow_sink(pool, ring))


def shadow_sink(pool: Pool, ring: Callable[[], None]) -> Sink:
    async def handle(connection: Connection, event: Event, _: Record) -> None:
        assert isinstance(event, DecisionShadowed)
        await shadow.count(connection, event)

    return Sink(pool, TABLES, SHADOW_GROUP, SHADOWED, handle, ring)
