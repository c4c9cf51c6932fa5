"""The back office's stream: assignments, agencies' own commands, and what citizens add."""

from collections.abc import Callable
from datetime import UTC, datetime

from catalogue import Catalogue
from services.backoffice.handlers import TAKEN, Due, on_event
from services.backoffice.store import TABLES, PostgresCases
from shared.contract import topics
from shared.contract.events import Event
from shared.contract.wire import Record
from shared.runtime.postgres import Connection, Pool
from shared.runtime.settings import Settings
from shared.runtime.stream import Sink, consume

GROUP = "backoffice-inbox"


def topic_names(catalogue: Catalogue) -> list[str]:
    names = [topics.agency_cases(code) for code in catalogue.agencies]
    names += [
        topics.agency_updates(agency.code)
        for agency in catalogue.agencies.values()
        if agency.own_system
    ]
    return [*names, topics.APPLICATIONS]


async def take(
    settings: Settings, pool: Pool, catalogue: Catalogue, due: Due, ring: Callable[[], None]
) -> None:
    async def handle(connection: Connection, event: Event, record: Record) -> None:
        cases = PostgresCases(connection)
        await on_event(event, record.topic, cases, due, datetime.now(UTC))

    sink = Sink(pool, TABLES, GROUP, TAKEN, handle, ring)
    await consume(settings, GROUP, topic_names(catalogue), sink)
