"""A process: some parts side by side, ended together by SIGTERM or by the first that fails."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Mapping
from typing import Any

import structlog

log = structlog.get_logger()


async def side_by_side(*works: Awaitable[None]) -> None:
    """Run these until one of them raises, or this is cancelled; then end them all."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run_parts(parts: Mapping[str, Awaitable[None]]) -> None:
    """Run `parts` until SIGTERM or SIGINT, then cancel and await them all.

    A part that ends or raises ends the process with status 1: whoever started it starts it
    again, and every part begins from what was committed.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    tasks: dict[asyncio.Future[None], str] = {
        asyncio.ensure_future(part): name for name, part in parts.items()
    }
    waiter = asyncio.ensure_future(stopping.wait())
    everything: list[asyncio.Future[Any]] = [*tasks, waiter]
    await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
    failed = [task for task in tasks if task.done()]
    for task in failed:
        error = task.exception() if not task.cancelled() else None
        log.error("process.part_ended", part=tasks[task], error=repr(error), exc_info=error)
    waiter.cancel()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    log.info("process.stopped", clean=not failed)
    if failed:
        sys.exit(1)
