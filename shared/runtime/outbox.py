"""The outbox and the inbox: how a service's tables and Kafka agree without a dual write.

Both are used inside the transaction that changes the service's own tables.
"""

import asyncio
from collections.abc import Collection, Sequence
from uuid import UUID

from shared.contract.wire import Outgoing, Record
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
        self._waiting = f"SELECT DISTINCT case_id FROM {schema}.parked WHERE case_id = ANY($1)"
        self._park = (
            f'INSERT INTO {schema}.parked (topic, partition, "offset", case_id, header_names,'
            " header_values, value, code, error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
            " ON CONFLICT DO NOTHING RETURNING true"
        )

    @staticmethod
    def row(out: Outgoing) -> tuple[str, bytes, list[str], list[bytes], bytes | None]:
        """`out` as the columns topic, key, header_names, header_values, value."""
        names = [name for name, _ in out.headers]
        values = [value for _, value in out.headers]
        return out.topic, out.key, names, values, out.value

    async def append(self, connection: Connection, records: Sequence[Outgoing]) -> None:
        """Tell Kafka, when this transaction commits and in this order."""
        for out in records:
            await connection.execute(self._append, *self.row(out))

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
            )
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
