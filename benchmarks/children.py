"""Contenders in processes of their own: told on standard input, answering with a line of JSON."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.contenders.job import Job
from benchmarks.stand import ROOT, Stand

_TIMEOUT_S = 120
# Of what a child said when it failed.
_LAST = 3000


class NoAnswerError(Exception):
    """A contender ended without an answer; the message is what it said."""


def job(stand: Stand, **rest: Any) -> Job:
    """What a contender is told: where Kafka is, and `rest`."""
    return Job(
        kafka=stand.address,
        username="admin",
        password=stand.secrets.kafka["admin"],
        **rest,
    )


async def answer(
    module: str, told: str, *, python: str = sys.executable, timeout_s: float = _TIMEOUT_S
) -> dict[str, float]:
    """Run `benchmarks.contenders.MODULE` to its end. Raises NoAnswerError."""
    async with child(module, python=python) as process:
        asking = asyncio.create_task(process.communicate(told.encode() + b"\n"))
        done, _ = await asyncio.wait([asking], timeout=timeout_s)
        if not done:
            process.kill()
        out, errors = await asking
    for line in out.decode().splitlines():
        if line.startswith("{"):
            found: dict[str, float] = json.loads(line)
            return found
    said = (errors or out).decode()[-_LAST:]
    raise NoAnswerError(f"{module}, {'at its end' if done else f'within {timeout_s} s'}: {said}")


@contextlib.asynccontextmanager
async def child(
    module: str, *, python: str = sys.executable
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, with pipes; killed when it is not over by the end."""
    process = await asyncio.create_subprocess_exec(
        python,
        "-m",
        f"benchmarks.contenders.{module}",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
