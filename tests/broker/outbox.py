"""An outbox on the real PostgreSQL, and a relay from it to the real broker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from kafka.admin import KafkaAdminClient

from shared.contract.wire import Outgoing
from shared.runtime import kafka
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Pool
from shared.runtime.relay import Relay, group, read_position
from tests.broker.ground import Ground, running
from tests.city import eventually


@dataclass(frozen=True, slots=True)
class Outbox:
    """An outbox, the topic that its rows name, and a relay between them when it is started."""

    ground: Ground
    schema: str
    topic: str
    pool: Pool

    @contextlib.asynccontextmanager
    async def relay(self) -> AsyncIterator["asyncio.Future[None]"]:
        """A relay that runs beside the test."""
        async with self.ground.pool(f"relay-{self.schema}") as pool:
            async with running(Relay(self.ground.settings(), pool, self.schema).run()) as task:
                yield task

    async def append(self, *values: bytes, key: bytes = b"case-1") -> None:
        """One transaction with a row for each value."""
        rows = [Outgoing(self.topic, key, (("n", value[:20]),), value) for value in values]
        async with self.pool.acquire() as connection, connection.transaction():
            await Tables(self.schema).append(connection, rows)

    async def values(self) -> list[bytes | None]:
        return [record.value for record in await self.ground.records(self.topic)]

    async def arrived(self, wanted: Sequence[bytes]) -> None:
        """Until the relay stands behind the last row; then Kafka has just these, in this order."""
        await self.at_end()
        assert await self.values() == list(wanted)

    async def at_end(self) -> None:
        last = await self.pool.fetchval(
            f"SELECT xid || ':' || seq FROM {self.schema}.outbox ORDER BY xid DESC, seq DESC"
        )

        async def position() -> str:
            return str(await read_position(self.ground.settings(), self.schema))

        await eventually(position, lambda found: found == last)

    async def lose_position(self) -> None:
        """As if Kafka had never known it. No relay may run."""
        await asyncio.to_thread(self._delete_group)

    def _delete_group(self) -> None:
        admin = KafkaAdminClient(**kafka.connection(self.ground.settings()))
        try:
            admin.delete_groups([group(self.schema)])
        finally:
            admin.close()
