"""Operators' orders about what was set aside: taken up by the service that owns it.

`casebus dead` writes an order into SERVICE.dead_orders, as the role operator; the service
carries it out with its own rights and code, and writes down what came of it. Each order is
carried out by one process at a time; one that was interrupted is carried out again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import structlog
from aiokafka.errors import KafkaError

from shared.contract.errors import TransientError
from shared.runtime.postgres import TRANSIENT, Connection, Pool

log = structlog.get_logger()
_POLL_S = 0.5
_LONGEST_DELAY_S = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """`target`: of a parked event NUMBER:CASE, of an outbox row NUMBER, of a dead letter
    TOPIC:PARTITION:OFFSET."""

    id: int
    kind: Literal["parked", "row", "letter"]
    target: str
    action: Literal["replay", "drop"]


@dataclass(frozen=True, slots=True)
class Done:
    """What came of an order; `settled` when nothing is left to do about its target."""

    outcome: str
    settled: bool = True


# In the transaction that also writes down what came of it.
Do = Callable[[Order, Connection], Awaitable[Done]]
Mine = Callable[[str], Awaitable[bool]]


async def everybodys(_: str) -> bool:
    """For `carry_out`, where one part has all orders of a kind."""
    return True


async def carry_out(pool: Pool, schema: str, kind: str, do: Do, mine: Mine = everybodys) -> None:
    """Carry out the orders of this kind as they come, until cancelled.

    `mine` says whether an order's target is this part's affair; `do` may be called again for an
    order that it had finished, and must not do it twice.
    """
    delay_s = _POLL_S
    while True:
        await asyncio.sleep(delay_s)
        try:
            await _open_ones(pool, schema, kind, do, mine)
            delay_s = _POLL_S
        except (KafkaError, TransientError, *TRANSIENT) as error:
            log.warning("orders.retry", schema=schema, kind=kind, error=repr(error))
            delay_s = min(delay_s * 2, _LONGEST_DELAY_S)


async def _open_ones(pool: Pool, schema: str, kind: str, do: Do, mine: Mine) -> None:
    """Carry out, from the oldest on, the orders that nobody is at."""
    select = (
        f"SELECT id, kind, target, action FROM {schema}.dead_orders"
        " WHERE done_at IS NULL AND kind = $1 ORDER BY id"
    )
    for row in await pool.fetch(select, kind):
        order = Order(**dict(row))
        if not await mine(order.target):
            continue
        async with pool.acquire() as connection, connection.transaction():
            if not await _taken(connection, schema, order):
                continue
            done = await do(order, connection)
            await _finish(connection, schema, order, done)
        log.info(
            "orders.done",
            schema=schema,
            order=order.id,
            kind=kind,
            action=order.action,
            outcome=done.outcome,
        )


async def _taken(connection: Connection, schema: str, order: Order) -> bool:
    """Whether the order is ours until this transaction ends, and still to be done.

    A lock on the row would give the transaction a number, and every relay would wait for its end.
    """
    lock = "SELECT pg_try_advisory_xact_lock(hashtext($1), hashtext($2))"
    if not await connection.fetchval(lock, f"{schema}.dead_orders", order.target):
        return False
    still_open = f"SELECT done_at IS NULL FROM {schema}.dead_orders WHERE id = $1"
    return bool(await connection.fetchval(still_open, order.id))


async def _finish(connection: Connection, schema: str, order: Order, done: Done) -> None:
    finish = (
        f"UPDATE {schema}.dead_orders SET done_at = clock_timestamp(), outcome = $2, settled = $3"
        " WHERE id = $1"
    )
    outcome = done.outcome.replace("\0", "\ufffd")[:2000]  # a text takes no NUL
    await connection.execute(finish, order.id, outcome, done.settled)
