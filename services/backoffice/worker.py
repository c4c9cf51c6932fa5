"""The back office's stream: assignments, agencies' own commands, and what citizens add."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime

from catalogue import Catalogue
from services.backoffice.handlers import TAKEN, Due, WorkingDay, on_event
from services.backoffice.store import TABLES, PostgresCases
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.events import (
    ApplicationSupplemented,
    ApplicationWithdrawn,
    CaseAssigned,
    CaseUpdate,
    Event,
)
from shared.contract.wire import Record
from shared.runtime.postgres import Connection, Pool
from shared.runtime.settings import Settings
from shared.runtime.sink import Sink
from shared.runtime.stream import consume

GROUP = "backoffice-inbox"


def update_topics(catalogue: Catalogue) -> list[str]:
    """Where agencies' own systems write."""
    return [
        topics.agency_updates(one.code) for one in catalogue.agencies.values() if one.own_system
    ]


def topic_names(catalogue: Catalogue) -> list[str]:
    cases = [topics.agency_cases(code) for code in catalogue.agencies]
    return [*cases, *update_topics(catalogue), topics.APPLICATIONS]


def check_topic(event: Event, topic: str, updates: Collection[str]) -> None:
    """Who may write to a topic may tell what belongs there: an agency's system gives commands,
    and neither assigns cases nor withdraws them. Raises PermanentError event.wrong_topic."""
    match event:
        case CaseUpdate():
            fits = topic in updates
        case CaseAssigned():
            fits = topic == topics.agency_cases(event.agency)
        case ApplicationSupplemented() | ApplicationWithdrawn():
            fits = topic == topics.APPLICATIONS
        case _:
            fits = False
    if not fits:
        raise PermanentError("event.wrong_topic", f"{event.type} does not belong on {topic}")


async def take(
    settings: Settings,
    pool: Pool,
    catalogue: Catalogue,
    due: Due,
    working_day: WorkingDay,
    ring: Callable[[], None],
) -> None:
    updates = update_topics(catalogue)

    async def handle(connection: Connection, event: Event, record: Record) -> None:
        check_topic(event, record.topic, updates)
        cases = PostgresCases(connection)
        await on_event(event, record.topic, cases, due, working_day, datetime.now(UTC))

    sink = Sink(pool, TABLES, GROUP, TAKEN, handle, ring, commands=updates)
    await consume(settings, GROUP, topic_names(catalogue), sink)
