"""Keeps programs running: starts them, tells when one ends and starts it again, stops them all."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LAST_LINES = 12
_LONGEST_PAUSE_S = 10.0
_STEADY_S = 20.0
_LOG_LIMIT_BYTES = 20 * 1024 * 1024
_PR_SET_PDEATHSIG = 1


class PrepareError(Exception):
    """A program has not what it needs to start; the message says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """A process to keep. `identity` are a subprocess's user and group; none: who asks.

    `prepare` is done in a thread before each start; it raises PrepareError or OSError.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    identity: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[], object] | None = None


class Supervisor:
    """Children by name. `told` gets lines for the person who watches; `changed` the pids."""

    def __init__(
        self, logs: Path, told: Callable[[str], None], changed: Callable[[dict[str, int]], None]
    ) -> None:
        self._logs = logs
        self._told = told
        self._changed = changed
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._programs: dict[str, Program] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, program: Program) -> None:
        self._programs[program.name] = program
        self._keepers[program.name] = asyncio.create_task(self._keep(program))

    async def stop(self, names: Sequence[str], timeout_s: float) -> None:
        """End these, all at once; what does not end in time is killed."""
        keepers = [self._keepers.pop(name) for name in names if name in self._keepers]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        children = {n: self._children.pop(n) for n in names if n in self._children}
        for name, child in children.items():
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(self._programs[name].stop_signal)
        waiting = [asyncio.create_task(child.wait()) for child in children.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=timeout_s)
        for name, child in children.items():
            if child.returncode is None:
                self._told(f"{name} did not end within {timeout_s:.0f} s and was killed")
                child.kill()
                await child.wait()

    def log_of(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    async def _keep(self, program: Program) -> None:
        pause_s = 0.3
        while True:
            began = time.monotonic()
            try:
                if program.prepare is not None:
                    await asyncio.to_thread(program.prepare)
            except (PrepareError, OSError) as error:
                self._told(
                    f"{program.name} cannot be started, tried again in {pause_s:.1f} s: {error}"
                )
            else:
                how = await self._run(program)
                if time.monotonic() - began > _STEADY_S:
                    pause_s = 0.3
                lines = "".join(f"\n    {line}" for line in self._last_lines(program.name))
                self._told(
                    f"{program.name} ended {how}; it is started again in {pause_s:.1f} s. "
                    f"The end of {self.log_of(program.name)}:{lines}"
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _run(self, program: Program) -> str:
        """Start it and wait for its end; how it ended."""
        child = await self._spawn(program)
        self._children[program.name] = child
        self._changed({name: one.pid for name, one in self._children.items()})
        status = await child.wait()
        return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"

    async def _spawn(self, program: Program) -> asyncio.subprocess.Process:
        path = self.log_of(program.name)
        if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *program.command,
                env=dict(program.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal is the launcher's: it ends its children in order.
                start_new_session=True,
                preexec_fn=_end_with_parent(program.stop_signal),
                **program.identity,
            )

    def _last_lines(self, name: str) -> list[str]:
        with self.log_of(name).open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - 8192))
            text = log.read().decode("utf-8", "replace")
        return [line[:400] for line in text.splitlines()[-_LAST_LINES:]]


def _end_with_parent(number: int) -> Callable[[], object] | None:
    """For the child, before it becomes the program: end when the launcher is killed."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, number)
