"""A loop that tries again for ever ends when it is told to, also while a client closes."""

import asyncio
import contextlib

from shared.runtime.cancellation import raise_if_cancelled


async def _close() -> None:
    """What aiokafka's clients do when they close: end a task of their own, and wait for it."""
    own = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    own.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await own


async def test_a_cancellation_that_a_closing_client_keeps_to_itself_still_ends_the_loop() -> None:
    kept = asyncio.Event()

    async def again_and_again() -> None:
        while True:
            await _close()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                kept.set()
            raise_if_cancelled()

    # At each moment of the closing; at one of them the cancellation is kept.
    for ticks in range(1, 6):
        task = asyncio.create_task(again_and_again())
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled(), f"it went on after a cancellation {ticks} turns into its closing"
    assert kept.is_set(), "no cancellation came at the moment in question"
