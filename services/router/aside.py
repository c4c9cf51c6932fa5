"""Records that nobody's case depends on: told after the commit, or not at all."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import structlog

from services.router.sending import Sender
from shared.contract.wire import Outgoing
from shared.runtime import kafka
from shared.runtime.cancellation import raise_if_cancelled
from shared.runtime.settings import Settings

log = structlog.get_logger()

_MOST_WAITING = 10_000
_BATCH = 1000
_SEND_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 1.0
_PAUSE_S = 1.0


class Aside:
    """Sends the records for `topic` with a producer of its own, so that a partition of it that is
    offline holds no case up. `lost` hears of each one that is given up."""

    def __init__(self, settings: Settings, topic: str, lost: Callable[[Outgoing], None]) -> None:
        self.topic = topic
        self._settings = settings
        self._lost = lost
        self._waiting: deque[Outgoing] = deque()
        self._offered = asyncio.Event()

    def offer(self, records: Sequence[Outgoing]) -> None:
        """Never waits. What is more than 10,000 records at once is given up."""
        room = _MOST_WAITING - len(self._waiting)
        self._waiting.extend(records[:room])
        self._give_up(records[room:])
        self._offered.set()

    async def run(self) -> None:
        """Until cancelled; then one more try of 1 s with what is left."""
        try:
            while True:
                await self._offered.wait()
                await self._tell(_SEND_TIMEOUT_S, closing=False)
                await asyncio.sleep(_PAUSE_S)
        except asyncio.CancelledError:
            if self._waiting:
                await self._tell(_CLOSE_TIMEOUT_S, closing=True)
            raise
        finally:
            self._give_up(self._waiting)

    async def _tell(self, timeout_s: float, *, closing: bool) -> None:
        """Everything that is offered, until something fails; when closing, what is here."""
        producer = kafka.producer(self._settings)
        batch: list[Outgoing] = []
        try:
            async with asyncio.timeout(timeout_s):
                await producer.start()
            sender = Sender(producer, set())
            while self._waiting or not closing:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                async with asyncio.timeout(timeout_s):
                    await sender.send(batch)
                batch = []
                if not self._waiting and not closing:
                    self._offered.clear()
                    await self._offered.wait()
        except Exception as error:  # noqa: BLE001 - whatever it was, no case waits for these
            log.warning("aside.lost", topic=self.topic, records=len(batch), error=repr(error))
        finally:
            self._give_up(batch)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await producer.stop()
        raise_if_cancelled()

    def _give_up(self, records: Iterable[Outgoing]) -> None:
        for record in records:
            self._lost(record)
