"""Looks into uploaded documents in a process of its own, which may die of them.

A small file can unpack to gigabytes before a library notices: the process has a memory limit
and a deadline, and is replaced when it breaks either.
"""

import asyncio
import multiprocessing
import os
import resource
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from weakref import WeakValueDictionary

from services.intake.uploads import Upload, UploadError, inspect

_MEMORY_BYTES = 1024**3
_DEADLINE_S = 20.0


def _limited() -> None:
    os.environ.clear()  # the city's secrets are in there
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Inspector:
    """One document at a time, of each client one: who sends many waits for the others."""

    def __init__(self, deadline_s: float = _DEADLINE_S) -> None:
        self._deadline_s = deadline_s
        self._turn = asyncio.Lock()
        self._turn_of: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._pool: ProcessPoolExecutor | None = None

    async def inspect(self, name: str, content: bytes, client: str) -> Upload:
        """The document as it may be kept; `client` is who sent it. Raises UploadError."""
        turn_of_client = self._turn_of.setdefault(client, asyncio.Lock())
        async with turn_of_client, self._turn:
            # Once more when it dies: perhaps it was dead before this document came.
            for _ in range(2):
                try:
                    async with asyncio.timeout(self._deadline_s):
                        return await self._asked(name, content)
                except BrokenProcessPool:
                    await self._replace()
                except TimeoutError:
                    await self._replace()
                    raise UploadError("upload.too_slow") from None
                except asyncio.CancelledError:
                    await self._replace()
                    raise
            raise UploadError("upload.damaged")

    async def _asked(self, name: str, content: bytes) -> Upload:
        if self._pool is None:
            # Not forked from this process: what it knows is not in there.
            context = multiprocessing.get_context("forkserver")
            self._pool = ProcessPoolExecutor(1, context, _limited)
        return await asyncio.get_running_loop().run_in_executor(self._pool, inspect, name, content)

    async def close(self) -> None:
        async with self._turn:
            await self._replace()

    async def _replace(self) -> None:
        """End the process, whatever it is doing; the next document starts another."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        for process in list((pool._processes or {}).values()):
            process.kill()
        await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)
