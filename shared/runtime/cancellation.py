"""A cancellation that a library kept to itself.

While an aiokafka client closes, it waits for its own cancelled task and suppresses
CancelledError: also one that was meant for whoever closes it. A loop that tries again for ever
would then never end; so it asks here before it goes on.
"""

import asyncio


def raise_if_cancelled() -> None:
    """Raises CancelledError when somebody asked the current task to end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
