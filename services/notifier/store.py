"""The notifier's tables in PostgreSQL, behind the ports of handlers.py."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import structlog

from services.notifier.domain import Claimed, Notice
from shared.contract import topics
from shared.contract.events import NoticeStateChanged
from shared.contract.wire import encode
from shared.runtime import metrics
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection, Pool, rows, statements

SCHEMA = "notifier"
TABLES = Tables(SCHEMA)
log = structlog.get_logger()
_sql = statements(Path(__file__).parent / "sql")


class PostgresLedger:
    """Inside the transaction of `connection`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put_recipient(self, case_id: UUID, sealed: str) -> None:
        await _sql.put_recipient(self._connection, case_id=case_id, sealed=sealed)

    async def put_notice(self, notice: Notice) -> None:
        await _sql.put_notice(
            self._connection,
            notice_id=notice.notice_id,
            cause=notice.cause,
            case_id=notice.case_id,
            number=notice.number,
            channel=notice.channel,
            template=notice.template,
            context=dict(notice.context),
            expires_at=notice.expires_at,
        )


class PostgresOutcomes:
    """What became of notices; each change is told on notices.events by the outbox."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, limit: int) -> list[Claimed]:
        """Due notices, held by this dispatcher for a minute: of each case one a channel."""
        return [
            Claimed(
                Notice(
                    notice_id=row["notice_id"],
                    cause=row["cause"],
                    case_id=row["case_id"],
                    number=row["number"],
                    channel=row["channel"],
                    template=row["template"],
                    expires_at=row["expires_at"],
                    context=row["context"],
                ),
                row["tries"],
                row["sealed"],
            )
            for row in await rows(_sql.claim(self._pool, limit=limit))
        ]

    async def record(
        self,
        notice: Notice,
        state: str,
        reason: str = "",
        provider: str | None = None,
        provider_message_id: str | None = None,
        next_try_at: datetime | None = None,
    ) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            if provider_message_id is not None:
                await _meet(connection, provider or "", provider_message_id)
            row = await _sql.set_state(
                connection,
                notice_id=notice.notice_id,
                state=state,
                reason=reason,
                provider=provider,
                provider_message_id=provider_message_id,
                next_try_at=next_try_at,
            )
            await self._tell(connection, row, state, reason)
            if provider_message_id is not None:
                # Its receipt may have been faster than this transaction.
                await self._apply(connection, provider or "", provider_message_id)

    async def give_up_lost(self) -> None:
        """Notices whose dispatcher died while sending become `unknown`."""
        async with self._pool.acquire() as connection, connection.transaction():
            for row in await rows(_sql.lost_leases(connection)):
                await self._tell(connection, row, "unknown", "dispatcher died while sending")

    async def receipt(
        self, provider: str, provider_message_id: str, state: str, at: datetime
    ) -> None:
        """Take a receipt; one that came before changes nothing."""
        async with self._pool.acquire() as connection, connection.transaction():
            await _meet(connection, provider, provider_message_id)
            await _sql.put_receipt(
                connection,
                provider=provider,
                provider_message_id=provider_message_id,
                state=state,
                at=at,
            )
            await self._apply(connection, provider, provider_message_id)

    async def _apply(self, connection: Connection, provider: str, provider_message_id: str) -> None:
        found = await rows(
            _sql.apply_receipts(
                connection, provider=provider, provider_message_id=provider_message_id
            )
        )
        for row in found:
            await self._tell(connection, row, row["state"], row["reason"])

    async def _tell(self, connection: Connection, row: Any, state: str, reason: str) -> None:
        metrics.NOTICES.labels(row["channel"], state).inc()
        log.info("notice.state", case_id=str(row["case_id"]), channel=row["channel"], state=state)
        event = NoticeStateChanged(
            id=uuid4(),
            source="notifier",
            time=datetime.now(UTC),
            case_id=row["case_id"],
            number=row["number"],
            notice=row["notice_id"],
            cause=row["cause"],
            channel=row["channel"],
            template=row["template"],
            state=state,
            provider=dict(row).get("provider") or "",
            reason=reason,
        )
        await TABLES.append(connection, [encode(topics.NOTICES, event)])


async def _meet(connection: Connection, provider: str, provider_message_id: str) -> None:
    """One after the other: else a notice and its receipt, both not yet committed, would miss
    each other, and the notice would stay `sent` for ever."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
        f"{provider}:{provider_message_id}",
    )
