"""What a ledger from an older copy does not know: the notices that were sent since.

Their ends are on notices.events. Entered again, they are not sent a second time.
"""

from collections.abc import Callable
from uuid import UUID

from services.notifier.store import SCHEMA
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.events import NoticeStateChanged
from shared.contract.wire import decode
from shared.runtime.postgres import Pool
from shared.runtime.reading import committed_records
from shared.runtime.settings import Settings

_ENDS = (
    "sent",
    "delivered",
    "unknown",
    "suppressed",
    "cancelled",
    "expired",
    "permanent_failure",
)
_PUT = (
    f"INSERT INTO {SCHEMA}.notices AS known (notice_id, cause, case_id, number, channel, template,"
    " context, state, provider, reason, happened_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6,"
    " '{}', $7, $8, $9, now(), now()) ON CONFLICT (notice_id) DO UPDATE SET state ="
    " excluded.state, provider = excluded.provider, reason = excluded.reason, changed_at = now()"
    " WHERE known.state IN ('created', 'deferred', 'sending', 'temporary_failure') RETURNING true"
)


async def enter_again(settings: Settings, pool: Pool, say: Callable[[str], None]) -> int:
    """How many notices had come to an end that the ledger did not know. Raises KafkaError, and
    what the database raises."""
    last: dict[UUID, NoticeStateChanged] = {}
    async for record in committed_records(settings, [topics.NOTICES]):
        try:
            event = decode(record, [NoticeStateChanged])
        except PermanentError:
            continue
        if isinstance(event, NoticeStateChanged):
            last[event.notice] = event
    entered = 0
    for event in last.values():
        if event.state in _ENDS:
            entered += bool(
                await pool.fetchval(
                    _PUT,
                    event.notice,
                    event.cause,
                    event.case_id,
                    event.number,
                    event.channel,
                    event.template,
                    event.state,
                    event.provider,
                    event.reason,
                )
            )
    if entered:
        say(f"{entered} notices had come to an end unknown to the ledger; they are not sent again")
    return entered
