"""Many small writes as few large ones: who writes waits, and is told once it is kept."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from shared.runtime import metrics
from shared.runtime.postgres import TRANSIENT

log = structlog.get_logger()
T = TypeVar("T")
_LONGEST_DELAY_S = 2.0


class Batcher(Generic[T]):
    """Collects what comes while the last batch is written, up to `most` items.

    `write` keeps a batch in one transaction, or raises. What is down is tried again in place.
    """

    def __init__(
        self, name: str, write: Callable[[Sequence[T]], Awaitable[None]], most: int = 500
    ) -> None:
        self._name = name
        self._write = write
        self._most = most
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._something = asyncio.Event()

    async def put(self, item: T) -> None:
        """Returns once `item` is kept. Raises what was wrong with it."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, kept))
        self._something.set()
        await kept

    async def run(self) -> None:
        """Write, until cancelled."""
        while True:
            await self._something.wait()
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            if not self._waiting:
                self._something.clear()
            await self._keep(batch)

    async def _keep(self, batch: Sequence[tuple[T, asyncio.Future[None]]]) -> None:
        try:
            await self._until_it_goes([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - found out one by one, just below
            if len(batch) > 1:
                for one in batch:
                    await self._keep([one])
                return
            ((_, kept),) = batch
            log.error("notices.not_kept", what=self._name, error=repr(error))
            if not kept.done():
                kept.set_exception(error)
            return
        for _, kept in batch:
            if not kept.done():
                kept.set_result(None)

    async def _until_it_goes(self, items: Sequence[T]) -> None:
        delay_s = 0.05
        while True:
            try:
                return await self._write(items)
            except TRANSIENT as error:
                metrics.RETRIES.labels(f"notifier-{self._name}").inc()
                log.warning("notices.retry", what=self._name, error=repr(error), in_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
