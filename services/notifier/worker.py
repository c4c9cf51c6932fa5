"""The notifier's streams: events into the ledger, due notices out to the providers."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from uuid import UUID

import structlog

from catalogue import Catalogue
from services.notifier.channels import Channel, Receipt
from services.notifier.domain import Claimed
from services.notifier.handlers import TAKEN, on_event, send
from services.notifier.messages import Messages
from services.notifier.settings import NotifierSettings
from services.notifier.store import TABLES, PostgresLedger, PostgresOutcomes
from shared.contract import topics
from shared.contract.events import Event
from shared.contract.wire import Record
from shared.runtime.postgres import TRANSIENT, Connection, Pool
from shared.runtime.sink import Sink
from shared.runtime.stream import consume
from shared.runtime.vault import Vault

log = structlog.get_logger()
GROUP = "notifier-ledger"
_AT_ONCE = 50
_IDLE_POLL_S = 0.25


async def take(
    settings: NotifierSettings, pool: Pool, catalogue: Catalogue, ring: Callable[[], None]
) -> None:
    """Events into the ledger."""

    async def handle(connection: Connection, event: Event, _: Record) -> None:
        await on_event(event, PostgresLedger(connection), catalogue)

    sink = Sink(pool, TABLES, GROUP, TAKEN, handle, ring)
    await consume(settings, GROUP, [topics.APPLICATIONS, topics.CASES], sink)


class Dispatcher:
    """Sends what is due. Many may run: a row is leased to one of them at a time."""

    def __init__(
        self,
        settings: NotifierSettings,
        pool: Pool,
        vault: Vault,
        channels: Mapping[str, Channel],
        messages: Messages,
        ring: Callable[[], None],
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._ready = ready
        self._settings = settings
        self._pool = pool
        self._vault = vault
        self._channels = channels
        self._messages = messages
        self._outcomes = PostgresOutcomes(pool)
        self._ring = ring

    async def run(self) -> None:
        """Send, until cancelled, once `ready` has returned."""
        await self._ready()
        for channel in self._channels.values():
            await channel.start()
        try:
            while True:
                try:
                    sent = await self._once()
                except TRANSIENT as error:
                    log.warning("dispatcher.retry", error=repr(error))
                    sent = 0
                if not sent:
                    await asyncio.sleep(_IDLE_POLL_S)
        finally:
            for channel in self._channels.values():
                await channel.stop()

    async def on_receipt(self, receipt: Receipt) -> None:
        await self._outcomes.receipt(
            receipt.provider, receipt.provider_message_id, receipt.state, receipt.at
        )
        self._ring()

    async def _once(self) -> int:
        await self._outcomes.give_up_lost()
        claimed = await self._outcomes.claim(_AT_ONCE)
        await asyncio.gather(*(self._send(one) for one in claimed))
        if claimed:
            self._ring()
        return len(claimed)

    async def _send(self, claimed: Claimed) -> None:
        await send(
            claimed,
            self._channels,
            self._messages,
            self._unseal,
            self._outcomes,
            self._settings.track_url,
            lambda: datetime.now(UTC),
            random.random,
        )

    async def _unseal(self, case_id: UUID, sealed: str) -> bytes:
        async with self._pool.acquire() as connection:
            key = await self._vault.open(connection, case_id, "notice")
        return key.unseal(sealed)
