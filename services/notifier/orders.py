"""Operators' orders about notices and addresses: `casebus notices` writes them, as the role
operator; a dispatcher carries them out with its own rights. Each is carried out once."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog

from services.notifier.consents import Consents
from services.notifier.domain import CHANNELS
from services.notifier.store import IN_TURN, sql, tell
from shared.runtime.postgres import TRANSIENT, Connection, Pool, rows

log = structlog.get_logger()
_POLL_S = 0.5


async def carry_out(pool: Pool, consents: Consents, ring: Callable[[], None]) -> None:
    """As they come, until cancelled."""
    while True:
        try:
            for order in await rows(sql.open_orders(pool)):
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute(IN_TURN)
                    if not await sql.take_order(connection, id=order["id"]):
                        continue
                    settled, outcome = await _do(order, connection, consents)
                    await sql.finish_order(
                        connection, id=order["id"], settled=settled, outcome=outcome
                    )
                log.info("notices.order", action=order["action"], outcome=outcome)
                ring()
        except TRANSIENT as error:
            log.warning("dispatcher.retry", what="orders", error=repr(error))
        await asyncio.sleep(_POLL_S)


async def _do(order: Any, connection: Connection, consents: Consents) -> tuple[bool, str]:
    """Whether it is settled, and what came of it."""
    target, by = order["target"], f"operator:{order['ordered_by']}"
    if order["action"] == "resend":
        try:
            notice_id = UUID(target)
        except ValueError:
            return False, "that is no notice's id"
        row = await sql.send_again(connection, notice_id=notice_id, reason=f"sent again by {by}")
        if row is None:
            state = await sql.state_of(connection, notice_id=notice_id)
            return False, f"it is {state} already" if state else "there is no such notice"
        await tell(connection, [row])
        return True, "it goes out again"
    number, _, channel = target.partition(":")
    for known in CHANNELS:
        if channel == known:
            wants = order["action"] == "allow"
            outcome = await consents.change_of_case(
                connection, number, known, wants, by, order["reason"]
            )
            return outcome.endswith(("there", "again")), outcome
    return False, f"there is no channel {channel!r}"
