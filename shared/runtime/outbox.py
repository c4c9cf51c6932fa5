"""The outbox and the inbox: how a service's tables and Kafka agree without a dual write.

Both are used inside the transaction that changes the service's own tables.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from shared.contract.errors import TransientError
from shared.contract.wire import Outgoing, Record
from shared.runtime.marks import mark
from shared.runtime.postgres import Connection, Pool


class Tables:
    """The event tables of one service's schema. `schema` is a name from the code, not input."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self._append = (
            f"INSERT INTO {schema}.outbox (topic, key, header_names, header_values, value)"
            " VALUES ($1, $2, $3, $4, $5)"
        )
        self._seen = (
            f"INSERT INTO {schema}.inbox (event_id) SELECT DISTINCT unnest($1::uuid[]) ORDER BY 1"
            " ON CONFLICT DO NOTHING RETURNING event_id"
        )
        # Locked, so that a replay of these and an event behind them do not miss each other.
        self._waiting = (
            f"SELECT case_id FROM {schema}.parked WHERE case_id = ANY($1) ORDER BY seq FOR SHARE"
        )
        self._park = (
            f'INSERT INTO {schema}.parked (topic, partition, "offset", case_id, header_names,'
            " header_values, value, code, error, mark)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
            " ON CONFLICT DO NOTHING RETURNING true"
        )
        self._went_on = (
            f"INSERT INTO {schema}.consumed (group_id, topic, partition, next_offset, mark)"
            " SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[], $5::text[])"
            " ON CONFLICT (group_id, topic, partition)"
            " DO UPDATE SET next_offset = excluded.next_offset, mark = excluded.mark"
        )

    @staticmethod
    def row(out: Outgoing) -> tuple[str, bytes, list[str], list[bytes], bytes | None]:
        """`out` as the columns topic, key, header_names, header_values, value."""
        names = [name for name, _ in out.headers]
        values = [value for _, value in out.headers]
        return out.topic, out.key, names, values, out.value

    async def append(self, connection: Connection, records: Sequence[Outgoing]) -> None:
        """Tell Kafka, when this transaction commits and in this order."""
        await connection.executemany(self._append, [self.row(out) for out in records])

    async def first_times(self, connection: Connection, event_ids: Sequence[UUID]) -> set[UUID]:
        """Those not seen before, each once for ever: a repeat is to be left alone."""
        return {row["event_id"] for row in await connection.fetch(self._seen, event_ids)}

    async def waiting(self, connection: Connection, case_ids: Collection[str]) -> set[str]:
        """The cases with a parked event: what comes later for them must wait behind it."""
        return {row["case_id"] for row in await connection.fetch(self._waiting, list(case_ids))}

    async def park(self, connection: Connection, record: Record, code: str, error: str) -> bool:
        """Set `record` aside. False when it was set aside before (a repeat)."""
        # A text column takes no NUL, and anybody may write one into a header's name.
        names = [name.replace("\x00", "\ufffd") for name, _ in record.headers]
        values = [value for _, value in record.headers]
        return bool(
            await connection.fetchval(
                self._park,
                record.topic,
                record.partition,
                record.offset,
                record.case_id,
                names,
                values,
                record.value,
                code,
                error,
                mark(record),
            )
        )

    async def go_on(self, connection: Connection, group: str, records: Sequence[Record]) -> None:
        """Say, in this transaction, that `group` is done with `records`."""
        last = {(record.topic, record.partition): record for record in records}
        places = sorted(last)
        await connection.execute(
            self._went_on,
            group,
            [topic for topic, _ in places],
            [partition for _, partition in places],
            [last[place].offset + 1 for place in places],
            [mark(last[place]) for place in places],
        )

    async def positions(self, pool: Pool, group: str) -> dict[tuple[str, int], tuple[int, str]]:
        """(topic, partition) to (next offset, mark of the record before it)."""
        rows = await pool.fetch(
            "SELECT topic, partition, next_offset, mark"
            f" FROM {self.schema}.consumed WHERE group_id = $1",
            group,
        )
        return {(row["topic"], row["partition"]): (row["next_offset"], row["mark"]) for row in rows}

    async def forget(self, pool: Pool, group: str, partitions: Collection[tuple[str, int]]) -> None:
        """Let `group` begin anew in these (topic, partition)."""
        if partitions:
            await pool.executemany(
                f"DELETE FROM {self.schema}.consumed"
                " WHERE group_id = $1 AND topic = $2 AND partition = $3",
                [(group, topic, partition) for topic, partition in partitions],
            )

    async def first_parked(
        self, connection: Connection, case_id: str
    ) -> tuple[int, str, Record] | None:
        """Number, code and record of the case's first parked event; all of them are locked."""
        row = await connection.fetchrow(
            f"WITH locked AS (SELECT * FROM {self.schema}.parked WHERE case_id = $1"
            " ORDER BY seq FOR UPDATE) SELECT * FROM locked ORDER BY seq LIMIT 1",
            case_id,
        )
        return None if row is None else (row["seq"], row["code"], _parked_record(row))

    async def parked(self, connection: Connection, seq: int) -> Record | None:
        """A parked event by its number."""
        row = await connection.fetchrow(f"SELECT * FROM {self.schema}.parked WHERE seq = $1", seq)
        return None if row is None else _parked_record(row)

    async def mark_of(self, connection: Connection, seq: int) -> str:
        """Of the record that is parked under this number."""
        return str(
            await connection.fetchval(f"SELECT mark FROM {self.schema}.parked WHERE seq = $1", seq)
        )

    async def unpark(self, connection: Connection, seq: int) -> None:
        await connection.execute(f"DELETE FROM {self.schema}.parked WHERE seq = $1", seq)

    async def park_again(self, pool: Pool, seq: int, code: str, error: str) -> None:
        """A replay failed: the event stays where it is, in front of the others of its case."""
        await pool.execute(
            f"UPDATE {self.schema}.parked SET code = $2, error = $3, tries = tries + 1,"
            " last_at = clock_timestamp() WHERE seq = $1",
            seq,
            code,
            error,
        )

    async def send_anew(self, connection: Connection, seq: int, *, drop: bool) -> int | None:
        """Put a row that Kafka refused, and the later rows of its case, at the outbox's end.

        With `drop` without the row itself. The number of rows; None when it is no refused row.
        """
        # Who writes now is waited for, and nobody comes between.
        await connection.execute(f"LOCK TABLE {self.schema}.outbox IN SHARE ROW EXCLUSIVE MODE")
        oldest = await connection.fetchval(
            "SELECT pg_current_xact_id() = pg_snapshot_xmin(pg_current_snapshot())"
        )
        if not oldest:
            # One that began before us might yet write, and would be sent before the moved rows.
            raise TransientError("an older transaction still runs")
        # A dead letter held nobody back: the later rows under its key were sent.
        row = await connection.fetchrow(
            "SELECT xid::text AS xid, key, topic LIKE '%.dead' AS alone"
            f" FROM {self.schema}.outbox WHERE seq = $1 AND refused IS NOT NULL",
            seq,
        )
        if row is None:
            return None
        moved = (
            f"WITH moved AS (DELETE FROM {self.schema}.outbox WHERE key = $1"
            " AND (xid, seq) >= ($2::text::xid8, $3) AND (seq = $3 OR NOT $5) RETURNING *)"
            f" INSERT INTO {self.schema}.outbox"
            " (topic, key, header_names, header_values, value, created_at)"
            " SELECT topic, key, header_names, header_values, value, created_at FROM moved"
            " WHERE seq <> $3 OR NOT $4 ORDER BY moved.xid, moved.seq"
        )
        status = await connection.execute(moved, row["key"], row["xid"], seq, drop, row["alone"])
        return int(status.rsplit(" ", 1)[1])


def _parked_record(row: Any) -> Record:
    return Record(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        timestamp_ms=int(row["parked_at"].timestamp() * 1000),
        key=row["case_id"].encode(),
        headers=tuple(zip(row["header_names"], row["header_values"], strict=True)),
        value=row["value"],
    )


class Bell:
    """Wakes the relay after a commit; many commits close together ring once."""

    def __init__(self, pool: Pool, schema: str) -> None:
        self._pool = pool
        self._channel = f"{schema}_outbox"
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def run(self) -> None:
        """Pass the rings on until cancelled. A ring that is lost costs a slow poll, no more."""
        while True:
            await self._rung.wait()
            self._rung.clear()
            try:
                await self._pool.execute("SELECT pg_notify($1, '')", self._channel)
            except Exception:  # noqa: BLE001 - the relay polls anyway; the next ring tries again
                await asyncio.sleep(0.5)
