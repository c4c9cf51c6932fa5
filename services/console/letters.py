"""Dead letters of the router, taken up again or laid to rest, as operators order.

The router has no database in which a bad event could wait: it is a letter on a dead-letter topic.
A replay puts the record on router.replays, as it once was, with the outbox: once for each letter.
"""

import asyncio
from collections.abc import Callable

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from services.console.releases import SCHEMA, TABLES
from shared.contract import topics
from shared.contract.wire import Outgoing, Record
from shared.runtime import kafka
from shared.runtime.orders import Done, Order, carry_out
from shared.runtime.postgres import Connection, Pool
from shared.runtime.reading import up_to
from shared.runtime.settings import Settings

_PATIENCE_S = 10.0
_ROUTER = "router"
# What a replayed record keeps of its letter, so that one that fails again says so.
_KEPT = ("dead_first_at", "dead_tries")


async def run(settings: Settings, pool: Pool, ring: Callable[[], None]) -> None:
    """Carry out the orders about letters, until cancelled."""

    async def do(order: Order, connection: Connection) -> Done:
        done = await settle(settings, connection, order)
        ring()
        return done

    await carry_out(pool, SCHEMA, "letter", do)


async def settle(settings: Settings, connection: Connection, order: Order) -> Done:
    """Replay or drop one letter, in the transaction of `connection`."""
    settled = await connection.fetchrow(
        f"SELECT ordered_by, outcome FROM {SCHEMA}.dead_orders"
        " WHERE kind = 'letter' AND target = $1 AND settled",
        order.target,
    )
    if settled is not None:
        before = f"{settled['outcome']}, by {settled['ordered_by']}"
        return Done(f"nothing is left to do: {before}", settled=False)
    if order.action == "drop":
        return Done("dropped; the letter stays on its topic")
    letter = await read_record(settings, order.target)
    if letter is None:
        return Done("there is no such letter", settled=False)
    if letter.header("dead_group") != _ROUTER:
        return Done("only letters of the router can be replayed from their topic", settled=False)
    await TABLES.append(connection, [replay_of(letter, order.target)])
    return Done("on its way to the router again")


def replay_of(letter: Record, target: str) -> Outgoing:
    """The record of before, for the router."""
    headers = [
        (name, value)
        for name, value in letter.headers
        if not name.startswith("dead_") or name in _KEPT
    ]
    headers.append(("replay_of", target.encode()))
    return Outgoing(topics.ROUTER_REPLAYS, letter.key or b"", tuple(headers), letter.value)


async def read_record(settings: Settings, place: str) -> Record | None:
    """The record at TOPIC:PARTITION:OFFSET, or None when there is none. Raises KafkaError."""
    topic, partition, offset = place.rsplit(":", 2)
    where = TopicPartition(topic, int(partition))
    async with kafka.started(kafka.consumer(settings)) as consumer:
        if where not in await kafka.partitions_of(consumer, [topic]):
            return None
        end = (await consumer.end_offsets([where]))[where]
        if int(offset) >= end:
            return None
        consumer.assign([where])
        consumer.seek(where, int(offset))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                async for records in up_to(consumer, {where: end}):
                    return records[0] if records[0].offset == int(offset) else None
        except TimeoutError:
            raise KafkaError(f"{topic} does not answer") from None
        return None
