"""Due notices out to the providers, and their receipts in. Many dispatchers may run.

A notice is leased to one of them at a time. Each channel goes on by itself: what one message
waits for holds no other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from services.notifier.batching import Batcher
from services.notifier.channels import Receipt, Reply
from services.notifier.consents import Consents, is_stop
from services.notifier.domain import Choice, Claimed, hash_of
from services.notifier.handlers import Destination, Outcomes, Result, Sender, destination_of
from services.notifier.orders import carry_out
from services.notifier.store import sql
from shared.contract.errors import PermanentError
from shared.runtime import metrics
from shared.runtime.postgres import TRANSIENT, Pool, rows
from shared.runtime.process import side_by_side
from shared.runtime.vault import CaseKey, Vault

log = structlog.get_logger()
_IDLE_POLL_S = 0.2
_RETRY_S = 1.0
_LAST_SENDS_S = 3.0
_LOST_EVERY_S = 2.0
_WEIGH_EVERY_S = 15.0
_PURGE_EVERY_S = 600.0


class Dispatcher:
    """Sends what is due, once `ready` has returned."""

    def __init__(
        self,
        forget_after_days: int,
        pool: Pool,
        vault: Vault,
        sender: Sender,
        outcomes: Outcomes,
        consents: Consents,
        ring: Callable[[], None],
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._forget_after_days = forget_after_days
        self._pool = pool
        self._vault = vault
        self._sender = sender
        self._outcomes = outcomes
        self._consents = consents
        self._ring = ring
        self._ready = ready
        self._results: Batcher[Result] = Batcher("results", outcomes.record)
        self._receipts: Batcher[Receipt] = Batcher("receipts", outcomes.receipts)
        self._under_way: Mapping[str, set[asyncio.Task[None]]] = {
            channel: set() for channel in sender.routes
        }

    async def run(self) -> None:
        """Until cancelled; then what is under way is finished and kept first."""
        await self._ready()
        keeping = asyncio.create_task(side_by_side(self._results.run(), self._receipts.run()))
        providers = [
            route.provider for routes in self._sender.routes.values() for route in routes.routes
        ]
        try:
            await asyncio.gather(*(provider.start() for provider in providers))
            await side_by_side(
                *(self._claim_on(channel) for channel in self._sender.routes),
                self._every(_LOST_EVERY_S, self._outcomes.give_up_lost),
                self._every(_WEIGH_EVERY_S, self._weigh),
                self._every(_PURGE_EVERY_S, self._purge),
                carry_out(self._pool, self._consents, self._ring),
            )
        finally:
            if tasks := [task for some in self._under_way.values() for task in some]:
                await asyncio.wait(tasks, timeout=_LAST_SENDS_S)
            await asyncio.gather(*(provider.stop() for provider in providers))
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def on_receipt(self, receipt: Receipt) -> None:
        """Returns once it is kept."""
        await self._receipts.put(receipt)
        self._ring()

    async def on_reply(self, reply: Reply) -> None:
        """A citizen answered: to stop is done, all else is nobody's to read here."""
        if is_stop(reply.text):
            await self._consents.stop("sms", reply.sender, "citizen", "answered stop")
        else:
            log.info("sms.reply_ignored", provider=reply.provider)

    async def _claim_on(self, channel: str) -> None:
        """Claim and send on this channel, as many at once as its providers take."""
        routes, under_way = self._sender.routes[channel], self._under_way[channel]
        while True:
            claimed: Sequence[Claimed] = []
            try:
                room = await routes.room(len(under_way))
                claimed = await self._outcomes.claim(channel, room) if room else []
                prepared = await self._prepared(claimed) if claimed else []
            except TRANSIENT as error:
                log.warning("dispatcher.retry", channel=channel, error=repr(error))
                self._hand_back(claimed)
                await asyncio.sleep(_RETRY_S)
                continue
            for one, to, choice in prepared:
                self._begin(channel, self._send(one, to, choice))
            if len(claimed) == room and under_way:
                await asyncio.wait(
                    under_way, return_when=asyncio.FIRST_COMPLETED, timeout=_IDLE_POLL_S
                )
            elif len(claimed) < room or not room:
                await asyncio.sleep(_IDLE_POLL_S)

    def _hand_back(self, claimed: Sequence[Claimed]) -> None:
        """They certainly were not sent: they are due again, not lost with their lease."""
        for one in claimed:
            back = Result(one.notice, "created", "handed back")
            self._begin(one.notice.channel, self._results.put(back))

    def _begin(self, channel: str, work: Coroutine[Any, Any, None]) -> None:
        under_way = self._under_way[channel]

        def ended(task: asyncio.Task[None]) -> None:
            under_way.discard(task)
            # What could not be kept was said where it could not be.
            if not task.cancelled():
                task.exception()

        task = asyncio.create_task(work)
        under_way.add(task)
        task.add_done_callback(ended)

    async def _prepared(
        self, claimed: Sequence[Claimed]
    ) -> list[tuple[Claimed, Destination, Choice]]:
        """Each with where it goes, opened for this moment, and what is wanted there."""
        cases = sorted({one.notice.case_id for one in claimed})
        async with self._pool.acquire() as connection:
            keys = await self._vault.open_many(connection, cases, "notice")
        found = []
        for one in claimed:
            try:
                to = self._destination(one, keys[one.notice.case_id])
            except PermanentError as error:
                to = Destination(None, error.code, "")
            except ValueError:
                to = Destination(None, "contact.unreadable", "")
            found.append((one, to))
        choices = await self._outcomes.choices([to.hashed for _, to in found if to.hashed])
        return [(one, to, choices.get(to.hashed, Choice())) for one, to in found]

    def _destination(self, claimed: Claimed, key: CaseKey | PermanentError) -> Destination:
        """Raises PermanentError or ValueError."""
        if isinstance(key, PermanentError):
            raise key
        to = destination_of(claimed.notice, key.unseal(claimed.sealed))
        if to.address is None:
            return to
        hashed = hash_of(self._consents.secret, claimed.notice.channel, to.address)
        return replace(to, hashed=hashed)

    async def _send(self, claimed: Claimed, to: Destination, choice: Choice) -> None:
        result = await self._sender.send(claimed, to, choice)
        for attempt in result.attempts:
            metrics.ATTEMPTS.labels(attempt.provider, attempt.outcome).inc()
        for route in self._sender.routes[claimed.notice.channel].routes:
            metrics.BREAKER_OPEN.labels(route.provider.name).set(not route.breaker.closed)
        await self._results.put(result)
        self._ring()

    async def _weigh(self) -> None:
        """Who brings receipts late gets less."""
        latest = {
            row["provider"]: row["receipt_p95_s"] for row in await rows(sql.receipt_p95(self._pool))
        }
        for routes in self._sender.routes.values():
            for route in routes.routes:
                route.receipt_p95_s = latest.get(route.provider.name, 0.0)

    async def _purge(self) -> None:
        """Addresses of cases that ended long ago, and receipts that nobody waited for."""
        days = self._forget_after_days
        forgotten = await rows(sql.forget_addresses(self._pool, days=days))
        await sql.forget_receipts(self._pool, days=days)
        if forgotten:
            log.info("notices.forgotten", notices=len(forgotten))

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except TRANSIENT as error:
                log.warning("dispatcher.retry", what=work.__name__, error=repr(error))
            await asyncio.sleep(seconds)
