"""The router's streams: the releases of the rules, and the events that ask for a decision."""

import asyncio
from datetime import UTC, datetime

import structlog
from aiokafka import TopicPartition

from services.router.domain import RuleSet, rule_set
from services.router.engine import Engine
from services.router.handlers import WANTED, on_event
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.wire import Outgoing, Record, decode, decode_release
from shared.runtime import kafka, metrics
from shared.runtime.settings import Settings

log = structlog.get_logger()
GROUP = "router"


class Releases:
    """Follows rules.releases. Without a rule set the router does not consume, and says so."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_version: dict[tuple[str, str], RuleSet] = {}
        self._first = asyncio.Event()

    @property
    def known(self) -> list[RuleSet]:
        return list(self._by_version.values())

    async def ready(self) -> None:
        """Returns once there is a rule set."""
        while not self._first.is_set():
            try:
                async with asyncio.timeout(10):
                    await self._first.wait()
            except TimeoutError:
                log.warning("router.no_rules", topic=topics.RULES, hint="casebus rules release")

    async def follow(self) -> None:
        """Read every release from the beginning, and new ones as they come, until cancelled."""
        consumer = kafka.consumer(self._settings)
        partition = TopicPartition(topics.RULES, 0)
        consumer.assign([partition])
        await consumer.start()
        try:
            await consumer.seek_to_beginning(partition)
            while True:
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    for message in messages:
                        self._take(kafka.record_of(message))
                if self._by_version and not self._first.is_set():
                    end = (await consumer.end_offsets([partition]))[partition]
                    if await consumer.position(partition) >= end:
                        self._first.set()
        finally:
            await consumer.stop()

    def _take(self, record: Record) -> None:
        try:
            rules = rule_set(decode_release(record))
        except PermanentError as error:
            # A broken release must not stop the city: the last good one stays in force.
            log.error("router.release_refused", offset=record.offset, code=error.code)
            metrics.DEAD.labels(GROUP, error.code).inc()
            return
        self._by_version[rules.id, rules.version] = rules
        log.info("router.rules", version=rules.version, effective_from=str(rules.effective_from))


def transform(releases: Releases, record: Record) -> list[Outgoing]:
    """One record to those that follow from it. Raises PermanentError when it is broken."""
    event = decode(record, WANTED)
    if event is None:
        return []
    metrics.DECISIONS.labels(event.type).inc()
    return on_event(event, releases.known, datetime.now(UTC), record.header("traceparent"))


def engine(settings: Settings, releases: Releases) -> Engine:
    names = [topics.APPLICATIONS, topics.CASES]
    return Engine(settings, GROUP, names, lambda record: transform(releases, record))
