"""Intake's stream: what happens to cases, written down for their citizens."""

from collections.abc import Callable

from services.intake.handlers import FOLLOWED, on_event
from services.intake.store import SCHEMA, PostgresSteps
from shared.contract import topics
from shared.contract.events import Event
from shared.contract.wire import Record
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection, Pool
from shared.runtime.settings import Settings
from shared.runtime.sink import Sink
from shared.runtime.stream import consume

GROUP = "intake-projection"


async def follow(settings: Settings, pool: Pool, ring: Callable[[], None]) -> None:
    async def handle(connection: Connection, event: Event, _: Record) -> None:
        await on_event(event, PostgresSteps(connection))

    sink = Sink(pool, Tables(SCHEMA), GROUP, FOLLOWED, handle, ring)
    await consume(settings, GROUP, [topics.CASES, topics.NOTICES], sink)
