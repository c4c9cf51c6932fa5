"""What a database that was restored from an older copy has lost, entered again from Kafka.

A citizen who was given a number keeps it: the event holds all of the application's row. Lost for
good is the key of that case, and with it what was sealed; and the hash by which the same person is
known again.
"""

from collections.abc import Callable

from services.intake.store import SCHEMA
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.events import ApplicationConfirmationRequested, ApplicationSubmitted
from shared.contract.wire import decode
from shared.runtime.postgres import Pool
from shared.runtime.reading import committed_records
from shared.runtime.settings import Settings

_PUT = (
    f"INSERT INTO {SCHEMA}.applications"
    " (case_id, number, service, facts, sealed, received_at, event_id, duplicates)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING number"
)


async def enter_again(settings: Settings, pool: Pool, say: Callable[[str], None]) -> list[str]:
    """The numbers of the applications that Kafka knew and this database did not.

    No number that was given is given again. Raises KafkaError, and what the database raises.
    """
    entered: list[str] = []
    highest = 0
    for event in await _told(settings):
        # A number that was sent to be confirmed is given, though no case is there yet.
        highest = max(highest, int(event.number.split("-")[1]))
        if not isinstance(event, ApplicationSubmitted):
            continue
        values = (
            event.service,
            event.facts,
            event.sealed,
            event.received_at,
            event.id,
            event.duplicates,
        )
        if await pool.fetchval(_PUT, event.case_id, event.number, *values):
            entered.append(event.number)
    at = await pool.fetchval(f"SELECT nextval('{SCHEMA}.case_sequence')")
    if highest > at:
        await pool.execute(
            f"SELECT nextval('{SCHEMA}.case_sequence') FROM generate_series($1::bigint, $2)",
            at + 1,
            highest,
        )
    if entered:
        say(
            f"{len(entered)} applications were unknown to the database and are entered again; "
            f"their sealed parts cannot be opened any more: {', '.join(entered)}"
        )
    return entered


async def _told(
    settings: Settings,
) -> list[ApplicationSubmitted | ApplicationConfirmationRequested]:
    found: list[ApplicationSubmitted | ApplicationConfirmationRequested] = []
    models = (ApplicationSubmitted, ApplicationConfirmationRequested)
    async for record in committed_records(settings, [topics.APPLICATIONS]):
        try:
            event = decode(record, models)
        except PermanentError:
            continue
        if isinstance(event, models):
            found.append(event)
    return found
