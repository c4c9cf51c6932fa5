"""The notifier's stream: events into the ledger."""

from collections.abc import Callable
from datetime import timedelta

from catalogue import Catalogue
from services.notifier.handlers import TAKEN, on_event
from services.notifier.settings import NotifierSettings
from services.notifier.store import TABLES, PostgresLedger
from shared.contract import topics
from shared.contract.events import Event
from shared.contract.wire import Record
from shared.runtime.postgres import Connection, Pool
from shared.runtime.sink import Sink
from shared.runtime.stream import consume

GROUP = "notifier-ledger"


async def take(
    settings: NotifierSettings, pool: Pool, catalogue: Catalogue, ring: Callable[[], None]
) -> None:
    """Events into the ledger."""
    hold = timedelta(seconds=settings.collapse_s)

    async def handle(connection: Connection, event: Event, _: Record) -> None:
        await on_event(event, PostgresLedger(connection, hold), catalogue)

    sink = Sink(pool, TABLES, GROUP, TAKEN, handle, ring)
    await consume(settings, GROUP, [topics.APPLICATIONS, topics.CASES], sink)
