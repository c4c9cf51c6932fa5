"""Events into PostgreSQL, each once: what a stream does with a batch, and with an order.

A batch is handled in one transaction: each event goes into the inbox and to its handler, and the
stream's position goes with them. What is down is tried again in place; what is bad is parked
with its case, and the other cases go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from uuid import NAMESPACE_URL, UUID, uuid5

import structlog

from shared.contract.errors import PermanentError, TransientError, code_of
from shared.contract.events import Event, derived_id
from shared.contract.wire import Record, decode
from shared.runtime import kafka, metrics
from shared.runtime.marks import mark
from shared.runtime.orders import Done, Order
from shared.runtime.outbox import Tables
from shared.runtime.postgres import TRANSIENT, Connection, Pool

log = structlog.get_logger()

Handler = Callable[[Connection, Event, Record], Awaitable[None]]

_AGAIN: tuple[type[BaseException], ...] = (TransientError, *TRANSIENT)
_LONGEST_DELAY_S = 5.0
_WAITING = "case.waiting"


class Sink:
    """Handles batches of records in PostgreSQL, each event once.

    `wanted` are the event types that `handle` understands; others are skipped. `handle` runs
    inside the transaction: it changes the service's tables and appends to its outbox, no more.
    `ring` wakes the service's relay after the commit.

    On the topics `commands` somebody outside asks for something, and `handle` gets events of
    every type from them. What is bad there is refused: it goes to the dead letters and parks
    nothing, for the case that it names may be another's.
    """

    def __init__(
        self,
        pool: Pool,
        tables: Tables,
        group: str,
        wanted: Sequence[type[Event]],
        handle: Handler,
        ring: Callable[[], None],
        commands: Collection[str] = (),
    ) -> None:
        self.pool = pool
        self.tables = tables
        self.group = group
        self._wanted = wanted
        self._handle = handle
        self._ring = ring
        self._commands = frozenset(commands)
        # Whether a batch is in hand, perhaps waiting for what is down.
        self.busy = False
        self._known = f"SELECT event_id FROM {tables.schema}.inbox WHERE event_id = ANY($1)"

    async def take(self, records: Sequence[Record]) -> None:
        """Returns once every record is handled, parked or known as a repeat; never before."""
        self.busy = True
        try:
            await self._take_until_it_goes(records)
        finally:
            self.busy = False
        self._ring()
        for topic, count in kafka.by_topic(records).items():
            metrics.CONSUMED.labels(self.group, topic).inc(count)

    async def _take_until_it_goes(self, records: Sequence[Record]) -> None:
        delay_s = 0.1
        while True:
            try:
                return await self._take_together(records)
            except _AGAIN as error:
                metrics.RETRIES.labels(self.group).inc()
                log.warning("stream.retry", group=self.group, error=repr(error), in_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _LONGEST_DELAY_S)

    async def _take_together(self, records: Sequence[Record]) -> None:
        """The whole batch in one transaction; one by one when an event of it is bad."""
        try:
            await self._transaction(records)
        except _AGAIN:
            raise
        except Exception:  # noqa: BLE001 - found out one by one, just below
            for record in records:
                await self._take_alone(record)

    async def _take_alone(self, record: Record) -> None:
        try:
            await self._transaction([record])
        except _AGAIN:
            raise
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, it is set aside
            await self._set_aside(record, code_of(error), error)

    async def _transaction(self, records: Sequence[Record]) -> None:
        """Inbox, handlers and outbox for `records`, or nothing at all."""
        decoded = [(record, self._decode(record)) for record in records]
        events = [(record, event) for record, event in decoded if event is not None]
        async with self.pool.acquire() as connection, connection.transaction():
            await self.tables.go_on(connection, self.group, records)
            waiting = await self.tables.waiting(connection, {r.case_id for r, _ in events})
            held = [(record, event) for record, event in events if record.case_id in waiting]
            await self._hold(connection, held)
            free = [(record, event) for record, event in events if record.case_id not in waiting]
            fresh = await self.tables.first_times(connection, [event.id for _, event in free])
            for record, event in free:
                if event.id in fresh:
                    fresh.discard(event.id)
                    await self._handle(connection, event, record)
                else:
                    metrics.REPEATED.labels(self.group).inc()

    async def carry_out(self, order: Order, names: Collection[str]) -> Done:
        """Replay or drop what is parked, for an operator; `names` are this stream's topics.

        A replay takes the case's parked events from the first on, in their order, each in a
        transaction of its own, and stops at one that fails again: it stays, in front of the others.
        What is dropped counts as seen, and what only waited behind it goes on. Raises what is
        worth another try.
        """
        number, _, case_id = order.target.partition(":")
        drop, handled, left = order.action == "drop", 0, ""
        if drop:
            async with self.pool.acquire() as connection, connection.transaction():
                await self.tables.first_parked(connection, case_id)
                named = await self.tables.parked(connection, int(number))
                if named is not None:
                    await self._drop(connection, int(number), named)
        while True:
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    first = await self.tables.first_parked(connection, case_id)
                    if first is None:
                        break
                    seq, code, record = first
                    if record.topic not in names or (drop and code != _WAITING):
                        left = f"{seq} ({code}) still stands before the rest"
                        break
                    await self._replay(connection, record)
                    await self.tables.unpark(connection, seq)
                handled += 1
            except _AGAIN:
                raise
            except Exception as error:  # noqa: BLE001 - the boundary: it stays aside
                code = code_of(error)
                await self.tables.park_again(self.pool, seq, code, repr(error))
                log.error("stream.parked", group=self.group, case_id=record.case_id, code=code)
                left = f"parked again: {code} {error}"
                return Done(_said(drop, handled, left), settled=False)
            finally:
                self._ring()
        return Done(_said(drop, handled, left))

    async def _replay(self, connection: Connection, record: Record) -> None:
        event = self._decode(record)
        if event is None:
            return
        if await self.tables.first_times(connection, [event.id]):
            await self._handle(connection, event, record)
        else:
            metrics.REPEATED.labels(self.group).inc()

    async def _drop(self, connection: Connection, seq: int, record: Record) -> None:
        try:
            event = self._decode(record)
        except PermanentError:
            event = None
        marked = await self.tables.mark_of(connection, seq)
        seen = _place(record, marked) if event is None else event.id
        await self.tables.first_times(connection, [seen])
        await self.tables.unpark(connection, seq)

    async def _hold(self, connection: Connection, held: Sequence[tuple[Record, Event]]) -> None:
        """Let these wait behind a parked event of their case, but for those handled before it."""
        if not held:
            return
        ids = [event.id for _, event in held]
        known: set[UUID] = {r["event_id"] for r in await connection.fetch(self._known, ids)}
        for record, event in held:
            if event.id in known:
                metrics.REPEATED.labels(self.group).inc()
                continue
            error = "an earlier event of this case is parked"
            if record.topic in self._commands:
                raise PermanentError(_WAITING, error)
            await self.tables.park(connection, record, _WAITING, error)

    def _decode(self, record: Record) -> Event | None:
        if record.topic not in self._commands:
            return decode(record, self._wanted)
        event = decode(record)
        # Who asks chooses the id. It counts within the topic only: it can neither pass for an
        # event of the city's own, so that this one looks like a repeat, nor for another agency's.
        return event and event.model_copy(update={"id": derived_id(event.id, record.topic)})

    async def _set_aside(self, record: Record, code: str, error: Exception) -> None:
        stored, refused = _without_nul(record), record.topic in self._commands
        async with self.pool.acquire() as connection, connection.transaction():
            await self.tables.go_on(connection, self.group, [record])
            place = _place(record, mark(record))
            if refused:
                first = bool(await self.tables.first_times(connection, [place]))
            elif await connection.fetch(self._known, [place]):
                first = False  # an operator has dropped it
            else:
                first = await self.tables.park(connection, stored, code, repr(error))
            if not first:
                return
            named = replace(record, headers=stored.headers)
            letter = kafka.dead_letter(named, code, error, self.group)
            await self.tables.append(connection, [letter])
        metrics.DEAD.labels(self.group, code).inc()
        if refused:
            log.warning("stream.refused", group=self.group, topic=record.topic, code=code)
        else:
            log.error("stream.parked", group=self.group, case_id=record.case_id, code=code)


def _said(drop: bool, handled: int, left: str) -> str:
    parts = ["dropped" if drop else "", f"{handled} handled" if handled else "", left]
    return "; ".join(part for part in parts if part) or "nothing is parked any more"


def _place(record: Record, marked: str) -> UUID:
    """An id for a record that may have none of its own; a topic made again has others."""
    place = f"{record.topic}/{record.partition}/{record.offset}/{marked}"
    return uuid5(NAMESPACE_URL, f"kafka:{place}")


def _without_nul(record: Record) -> Record:
    """PostgreSQL's texts hold no NUL, and the case and the headers' names are texts there."""
    return replace(
        record,
        key=None if record.key is None else record.key.replace(b"\0", b"?"),
        headers=tuple((name.replace("\0", "?"), value) for name, value in record.headers),
    )
