"""The console's streams: lag, measured every few seconds; events counted by the minute; what
releases in shadow decided."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import structlog
from aiokafka.errors import KafkaError

from catalogue import Catalogue
from services.console import shadow, store
from services.console.lag import group_lags, relay_lags
from services.console.releases import TABLES
from services.console.settings import ConsoleSettings
from shared.contract import topics
from shared.contract.events import CASE_EVENTS, DecisionShadowed, Event
from shared.contract.wire import Record
from shared.runtime import metrics
from shared.runtime.postgres import TRANSIENT, Connection, Pool
from shared.runtime.stream import Sink, consume

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
        "router": (topics.APPLICATIONS, topics.CASES),
        "backoffice-inbox": (topics.APPLICATIONS, *agencies, *updates),
        "notifier-ledger": (topics.APPLICATIONS, topics.CASES),
        GROUP: (topics.APPLICATIONS, topics.CASES, topics.NOTICES),
        SHADOW_GROUP: (topics.RULES_SHADOW,),
    }


class Sampler:
    """Measures lag again and again, of consumers and of outboxes."""

    def __init__(self, settings: ConsoleSettings, pool: Pool, catalogue: Catalogue) -> None:
        self._settings = settings
        self._pool = pool
        self._topics_of = topics_of(catalogue)

    async def run(self) -> None:
        while True:
            try:
                lags = await group_lags(self._settings, self._topics_of)
                async with self._pool.acquire() as connection:
                    relays = await relay_lags(self._settings, connection)
                    await store.put_samples(connection, datetime.now(UTC), lags, relays)
                for lag in lags:
                    labels = (lag.group, lag.topic, str(lag.partition))
                    metrics.GROUP_LAG.labels(*labels).set(lag.records)
                    metrics.GROUP_LAG_SECONDS.labels(*labels).set(lag.seconds)
                for relay in relays:
                    metrics.RELAY_LAG_ROWS.labels(relay.outbox).set(relay.rows)
                    metrics.RELAY_LAG_SECONDS.labels(relay.outbox).set(relay.seconds)
            except (KafkaError, *TRANSIENT) as error:
                log.warning("console.sample_failed", error=repr(error))
            await asyncio.sleep(self._settings.sample_every_s)


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
