"""A service that writes down what it hears, on the real PostgreSQL; a test says what goes wrong."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from uuid import uuid4

from shared.contract import topics
from shared.contract.events import CaseStatusChanged, Event
from shared.contract.wire import Outgoing, Record, encode
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection, Pool
from shared.runtime.sink import Sink
from shared.runtime.stream import consume
from tests.broker.ground import Ground, running
from tests.examples import event, record


@dataclass(slots=True)
class Office:
    """A service that writes down (case, reason) of each event; a test says what goes wrong."""

    ground: Ground
    schema: str
    topic: str
    pool: Pool
    trouble: Callable[[str], BaseException | None] = field(default=lambda reason: None)
    _offset: int = 0

    @property
    def sink(self) -> Sink:
        tables = Tables(self.schema)
        return Sink(self.pool, tables, self.schema, [CaseStatusChanged], self.handle, lambda: None)

    async def handle(self, connection: Connection, told: Event, _: Record) -> None:
        assert isinstance(told, CaseStatusChanged)
        await connection.execute(
            f"INSERT INTO {self.schema}.written VALUES ($1, $2)", str(told.case_id), told.reason
        )
        if (trouble := self.trouble(told.reason)) is not None:
            raise trouble

    def record(self, case: str, reason: str) -> Record:
        """What the consumer would hand over next: an event of `case` (a name of this test)."""
        told = event(CaseStatusChanged, case_id=case_of(case), reason=reason)
        self._offset += 1
        return record(encode(self.topic, told), offset=self._offset)

    async def written(self) -> list[str]:
        rows = await self.pool.fetch(f"SELECT reason FROM {self.schema}.written ORDER BY seq")
        return [row["reason"] for row in rows]

    async def parked(self) -> list[tuple[str, int]]:
        rows = await self.pool.fetch(
            f'SELECT code, "offset" FROM {self.schema}.parked ORDER BY seq'
        )
        return [(row["code"], row["offset"]) for row in rows]

    async def letters(self) -> int:
        found = await self.pool.fetchval(
            f"SELECT count(*) FROM {self.schema}.outbox WHERE topic = $1", topics.dead(self.topic)
        )
        return int(found)

    async def send(self, *told: tuple[str, str]) -> None:
        """Put an event for each (case, reason) on the topic."""
        await self.ground.send(self.topic, [self.outgoing(*one) for one in told])

    def outgoing(self, case: str, reason: str) -> Outgoing:
        told = event(CaseStatusChanged, case_id=case_of(case), reason=reason)
        return encode(self.topic, told)

    @contextlib.asynccontextmanager
    async def streaming(self) -> AsyncIterator["asyncio.Future[None]"]:
        """The stream, running beside the test."""
        work = consume(self.ground.settings(), self.schema, [self.topic], self.sink)
        async with running(work) as task:
            yield task


_cases: dict[str, object] = {}


def case_of(name: str) -> object:
    return _cases.setdefault(name, uuid4())


@contextlib.asynccontextmanager
async def opened(ground: Ground) -> AsyncIterator[Office]:
    schema = await ground.schema()
    topic = await ground.topic("heard")
    await ground.topics(topics.dead(topic))
    async with ground.pool(schema) as pool:
        await pool.execute(
            f"CREATE TABLE {schema}.written"
            " (case_id text, reason text, seq bigint GENERATED ALWAYS AS IDENTITY)"
        )
        yield Office(ground, schema, topic, pool)


def fails_on(*reasons: str) -> Callable[[str], BaseException | None]:
    return lambda reason: ValueError(f"cannot do {reason}") if reason in reasons else None
