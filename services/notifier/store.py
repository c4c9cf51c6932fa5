"""The notifier's tables in PostgreSQL, behind the ports of handlers.py."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import structlog

from services.notifier.channels import Receipt
from services.notifier.domain import (
    EXPIRES_AFTER,
    SUPERSEDES,
    Choice,
    Claimed,
    Notice,
    parse_quiet,
)
from services.notifier.handlers import Result
from shared.contract import topics
from shared.contract.events import NoticeStateChanged
from shared.contract.wire import encode
from shared.runtime import metrics
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection, Pool, rows, statements

SCHEMA = "notifier"
TABLES = Tables(SCHEMA)
log = structlog.get_logger()
sql = statements(Path(__file__).parent / "sql")
_PAIRS = [(older, newer) for newer, names in SUPERSEDES.items() for older in sorted(names)]
_OLDER = [older for older, _ in _PAIRS]
_NEWER = [newer for _, newer in _PAIRS]
# One after the other: else a notice and its receipt, both not yet committed, would miss each
# other, and the notice would stay `sent` for ever. Each comes in batches, so few wait here.
IN_TURN = "SELECT pg_advisory_xact_lock(hashtext('notifier.outcomes'))"


class PostgresLedger:
    """Inside the transaction of `connection`. A notice waits `hold` for a newer one."""

    def __init__(self, connection: Connection, hold: timedelta = timedelta()) -> None:
        self._connection = connection
        self._hold = hold

    async def put_recipient(self, case_id: UUID, number: str, sealed: str) -> None:
        await sql.put_recipient(self._connection, case_id=case_id, number=number, sealed=sealed)

    async def close_case(self, case_id: UUID, at: datetime) -> None:
        await sql.close_case(self._connection, case_id=case_id, at=at)

    async def put_notice(self, notice: Notice) -> None:
        hold = timedelta() if notice.urgent else self._hold
        await sql.put_notice(
            self._connection,
            notice_id=notice.notice_id,
            cause=notice.cause,
            case_id=notice.case_id,
            number=notice.number,
            channel=notice.channel,
            template=notice.template,
            context=dict(notice.context),
            happened_at=notice.happened_at,
            urgent=notice.urgent,
            next_try_at=notice.happened_at + hold,
            expires_at=notice.happened_at + EXPIRES_AFTER,
        )


class PostgresOutcomes:
    """What became of notices; each change is told on notices.events by the outbox."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, channel: str, limit: int) -> list[Claimed]:
        found = await rows(
            sql.claim(self._pool, channel=channel, limit=limit, older=_OLDER, newer=_NEWER)
        )
        return [
            Claimed(
                Notice(
                    notice_id=row["notice_id"],
                    cause=row["cause"],
                    case_id=row["case_id"],
                    number=row["number"],
                    channel=row["channel"],
                    template=row["template"],
                    happened_at=row["happened_at"],
                    context=row["context"],
                    urgent=row["urgent"],
                ),
                row["tries"],
                row["expires_at"],
                row["sealed"],
                row["seq"],
                row["superseded"],
            )
            for row in found
        ]

    async def record(self, results: Sequence[Result]) -> None:
        attempts = [(one.notice, attempt) for one in results for attempt in one.attempts]
        accepted = [one for one in results if one.message_ids]
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(IN_TURN)
            changed = await rows(
                sql.record(
                    connection,
                    notice_ids=[one.notice.notice_id for one in results],
                    states=[one.state for one in results],
                    reasons=[one.reason for one in results],
                    providers=[one.provider for one in results],
                    addresses=[one.address for one in results],
                    segments=[one.segments for one in results],
                    next_tries=[one.next_try_at for one in results],
                    asked=[bool(one.attempts) for one in results],
                )
            )
            if attempts:
                segments = {one.notice.notice_id: one.segments for one in results}
                await sql.put_attempts(
                    connection,
                    notice_ids=[notice.notice_id for notice, _ in attempts],
                    providers=[attempt.provider for _, attempt in attempts],
                    began=[attempt.began_at for _, attempt in attempts],
                    ended=[attempt.ended_at for _, attempt in attempts],
                    outcomes=[attempt.outcome for _, attempt in attempts],
                    codes=[attempt.code for _, attempt in attempts],
                    segments=[segments[notice.notice_id] for notice, _ in attempts],
                )
            await tell(connection, changed)
            if accepted:
                parts = [
                    (
                        one.provider,
                        message_id,
                        one.notice.notice_id,
                        part,
                        len(one.message_ids),
                        one.attempts[-1].ended_at,
                    )
                    for one in accepted
                    for part, message_id in enumerate(one.message_ids, start=1)
                ]
                await _put_parts(connection, parts)
                # Their receipts may have been faster than this transaction.
                places = [(part[0], part[1]) for part in parts]
                await self._apply(connection, places)

    async def receipts(self, receipts: Sequence[Receipt]) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(IN_TURN)
            receipts = await self._placed(connection, receipts)
            await sql.put_receipts(
                connection,
                providers=[one.provider for one in receipts],
                message_ids=[one.message_id for one in receipts],
                states=[one.state for one in receipts],
                ats=[one.at for one in receipts],
                codes=[one.code for one in receipts],
            )
            await self._apply(connection, [(one.provider, one.message_id) for one in receipts])
            if hard := [one for one in receipts if one.hard]:
                found = await rows(
                    sql.bounced(
                        connection,
                        providers=[one.provider for one in hard],
                        message_ids=[one.message_id for one in hard],
                        codes=[one.code for one in hard],
                    )
                )
                for row in found:
                    metrics.CONSENTS.labels(row["channel"], row["given_by"]).inc()

    async def _placed(
        self, connection: Connection, receipts: Sequence[Receipt]
    ) -> Sequence[Receipt]:
        """Where our own reference came back, the notice is known even when the answer to the send
        was lost, or is later than the receipt. One without an id of the provider's is of the
        notice's last message."""
        ids = {one.notice_id for one in receipts if one.notice_id and not one.message_id}
        found = await rows(sql.last_message(connection, notice_ids=list(ids))) if ids else []
        known = {row["notice_id"]: (row["provider"], row["message_id"]) for row in found}
        placed, fresh = [], []
        for one in receipts:
            if one.notice_id is not None and not one.message_id:
                provider, message_id = known.get(one.notice_id, (one.provider, str(one.notice_id)))
                one = replace(one, provider=provider, message_id=message_id)
            if one.notice_id is not None:
                fresh.append((one.provider, one.message_id, one.notice_id, 1, 1, one.at))
            placed.append(one)
        if fresh:
            await _put_parts(connection, fresh)
        return placed

    async def give_up_lost(self) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(IN_TURN)
            await tell(connection, await rows(sql.lost_leases(connection)))

    async def choices(self, addresses: Sequence[bytes]) -> Mapping[bytes, Choice]:
        found = await rows(sql.choices(self._pool, addresses=addresses))
        return {row["address"]: choice_of(row) for row in found}

    async def _apply(self, connection: Connection, places: Sequence[tuple[Any, str]]) -> None:
        changed = await rows(
            sql.apply_receipts(
                connection,
                providers=[provider for provider, _ in places],
                message_ids=[message_id for _, message_id in places],
            )
        )
        await tell(connection, changed)


class PostgresTokens:
    """How many messages a provider takes now, shared by all dispatchers: a bucket of one second."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self, provider: str, rate_per_s: float, wanted: int) -> int:
        """How many of `wanted` may go now."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await sql.refill(connection, provider=provider)
            full = max(1.0, rate_per_s)
            has = full if row is None else row["tokens"] + row["since_s"] * rate_per_s
            granted = min(wanted, int(min(full, has)))
            if granted:
                left = min(full, has) - granted
                await sql.put_tokens(connection, provider=provider, tokens=left)
            return max(0, granted)


def choice_of(row: Any) -> Choice:
    """A row of consents."""
    return Choice(row["wants"], row["given_by"], row["language"], parse_quiet(row["quiet"]))


async def _put_parts(connection: Connection, parts: Sequence[tuple[Any, ...]]) -> None:
    columns = list(zip(*parts, strict=True))
    await sql.put_parts(
        connection,
        providers=columns[0],
        message_ids=columns[1],
        notice_ids=columns[2],
        parts=columns[3],
        ofs=columns[4],
        accepted=columns[5],
    )


async def tell(connection: Connection, changed: Sequence[Any]) -> None:
    """The new states of these rows to notices.events, by the outbox."""
    records = []
    for row in changed:
        metrics.NOTICES.labels(row["channel"], row["state"]).inc()
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
            state=row["state"],
            provider=row["provider"] or "",
            reason=row["reason"],
        )
        records.append(encode(topics.NOTICES, event))
        log.debug("notice.state", case_id=str(row["case_id"]), state=row["state"])
    if records:
        await TABLES.append(connection, records)
