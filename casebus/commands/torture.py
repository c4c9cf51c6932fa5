"""`casebus torture`: a city in which something is killed all the time, and a count at the end."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from io import BufferedWriter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from casebus.running import end
from deploy.local.state import Running, read_running

# Never two stores at once: the next one waits until the last one answers again.
_SERVICES = ("router", "intake", "backoffice", "notifier", "console")
_READY_S = 180.0
_QUIET_S = 180.0
_LONGEST_FREEZE_S = 15.0


@dataclass(frozen=True, slots=True)
class Act:
    """What is done to whom, `after_s` after the act before."""

    after_s: float
    victim: str
    how: str
    frozen_s: float = 0.0


@dataclass(slots=True)
class Verdict:
    """`audit` is that of `casebus audit`; `quiet_after_s`: how long the rest took at the end."""

    seed: int
    minutes: float
    brokers: int
    acts: dict[str, int] = field(default_factory=dict)
    sent: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    quiet_after_s: float | None = None
    good: bool = False


def plan(seed: int, brokers: int) -> Iterator[Act]:
    """The acts of `seed`, without end; the same seed, the same acts."""
    chance = random.Random(seed)
    stores = [
        "postgres",
        *(["kafka"] if brokers == 1 else [f"kafka-{n + 1}" for n in range(brokers)]),
    ]
    while True:
        victim = chance.choice([*_SERVICES, "router", *stores])
        how = chance.choice(["kill", "kill", "term", "freeze"])
        if how == "term" and victim in stores:
            how = "kill"
        frozen_s = round(chance.uniform(3, _LONGEST_FREEZE_S), 1) if how == "freeze" else 0.0
        yield Act(round(chance.uniform(1, 8), 1), victim, how, frozen_s)


def torture(
    minutes: Annotated[float, typer.Option(help="How long.", min=0.1, max=600)] = 5.0,
    seed: Annotated[int, typer.Option(help="The same seed does the same.", min=1)] = 1,
    rate: Annotated[float, typer.Option(help="Applications a second.", min=0.1, max=50)] = 8.0,
    brokers: Annotated[int, typer.Option(help="Kafka brokers: 1 or 3.", min=1, max=3)] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one line for machines.")
    ] = False,
) -> None:
    """Kill, end and freeze parts of a city of its own, under load; then count. Exit 1 when
    anything was lost, doubled or out of order."""
    if brokers == 2:
        end("two brokers cannot do without either; --brokers is 1 or 3")
    console = Console(stderr=True)
    verdict = Verdict(seed, minutes, brokers)
    with tempfile.TemporaryDirectory(prefix="casebus-torture-") as folder:
        try:
            asyncio.run(_torture(Path(folder) / "data", rate, verdict, console))
        except TimeoutError as error:
            end(f"{error}; the same again: --seed {seed}")
    audit = verdict.audit
    if as_json:
        print(json.dumps(asdict(verdict)))
    else:
        colour = "green" if verdict.good else "red"
        done = ", ".join(f"{count} {what}" for what, count in sorted(verdict.acts.items()))
        Console().print(
            f"[{colour}]{audit.get('applications', 0)} applications, {audit.get('assigned', 0)} "
            f"assigned, {audit.get('in_back_offices', 0)} in back offices; "
            f"{audit.get('lost')} lost, {audit.get('duplicated')} duplicated, "
            f"{audit.get('out_of_order')} out of order[/{colour}]; {done}; "
            f"quiet {verdict.quiet_after_s} s after the end; seed {seed}"
        )
    raise SystemExit(0 if verdict.good else 1)


async def _torture(folder: Path, rate: float, verdict: Verdict, console: Console) -> None:
    environment = os.environ | {"CASEBUS_DATA": str(folder)}
    with contextlib.ExitStack() as ended:
        brokers = str(verdict.brokers)
        city = _up(folder, brokers, environment)
        ended.callback(_end, city, 30)
        await _until_runs(folder, city)
        cases = max(1, int(verdict.minutes * 60 * rate))
        arguments = ["traffic", "--cases", str(cases), "--rate", str(rate), "--json", "--clerks"]
        traffic = _start([*arguments, "--seed", str(verdict.seed)], environment, subprocess.PIPE)
        ended.callback(_end, traffic, 5)
        await _act(folder, verdict, console)
        out, _ = await asyncio.to_thread(traffic.communicate)
        verdict.sent = json.loads(out or b"{}")
        verdict.sent.pop("numbers", None)
        began = time.monotonic()
        await _until_quiet(environment)
        verdict.quiet_after_s = round(time.monotonic() - began, 1)
        verdict.audit = await _json(environment, "audit", "--wait-s", "60")
    verdict.good = (
        not any(
            verdict.audit[name] for name in ("lost", "duplicated", "out_of_order", "unreadable")
        )
        and verdict.audit["applications"] == verdict.audit["in_back_offices"]
        and verdict.audit["applications"] >= verdict.sent["accepted"] > 0
        and not verdict.sent["unavailable"]
    )


async def _act(folder: Path, verdict: Verdict, console: Console) -> None:
    """Do what the plan says until the time is over; the last thing done is undone again."""
    done: Counter[str] = Counter()
    over = time.monotonic() + verdict.minutes * 60
    for act in plan(verdict.seed, verdict.brokers):
        await asyncio.sleep(act.after_s)
        if time.monotonic() >= over:
            break
        pid = _running(folder).pids.get(act.victim)
        if pid is None:
            continue
        console.print(f"{act.how} {act.victim} {act.frozen_s or ''}", highlight=False)
        done[f"{act.how} {act.victim}"] += 1
        number = {"kill": signal.SIGKILL, "term": signal.SIGTERM}.get(act.how, signal.SIGSTOP)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            if number == signal.SIGSTOP:
                try:
                    await asyncio.sleep(act.frozen_s)
                finally:
                    os.kill(pid, signal.SIGCONT)
        if act.victim not in _SERVICES and number == signal.SIGKILL:
            await _until_started_again(folder, act.victim, pid)
    verdict.acts = dict(done)


async def _until_started_again(folder: Path, victim: str, pid: int) -> None:
    deadline = time.monotonic() + 30
    while _running(folder).pids.get(victim) in (pid, None):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{victim} was not started again")
        await asyncio.sleep(0.2)
    # And time to answer: of three brokers never two are away.
    await asyncio.sleep(12)


def _running(folder: Path) -> Running:
    found = read_running(folder)
    if found is None:
        raise TimeoutError("the launcher has ended")
    return found


def _start(
    arguments: list[str], environment: dict[str, str], out: Any
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "casebus", *arguments],
        env=environment,
        stdout=out,
        stderr=out if isinstance(out, BufferedWriter) else subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _up(folder: Path, brokers: str, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    folder.mkdir()
    with (folder.parent / "up.log").open("wb") as log:
        return _start(["up", "--rate", "0", "--brokers", brokers], environment, log)


def _end(process: "subprocess.Popen[bytes]", timeout_s: float) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _until_runs(folder: Path, city: "subprocess.Popen[bytes]") -> None:
    log = folder.parent / "up.log"
    deadline = time.monotonic() + _READY_S
    while b"casebus runs" not in log.read_bytes():
        if city.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"the city did not start: {log.read_text()[-500:]}")
        await asyncio.sleep(0.2)


async def _until_quiet(environment: dict[str, str]) -> None:
    """Until no group and no outbox waits for anything."""
    deadline = time.monotonic() + _QUIET_S
    while True:
        found = await _json(environment, "lag")
        waiting = [one["group"] for one in found.get("groups", ()) if one["records"]]
        waiting += [one["outbox"] for one in found.get("relays", ()) if one["rows"]]
        if found and not waiting:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"still waiting after {_QUIET_S:.0f} s: {', '.join(set(waiting))}")
        await asyncio.sleep(1)


async def _json(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """What a command says with --json; nothing when it could not."""
    process = _start([*arguments, "--json"], environment, subprocess.PIPE)
    out, _ = await asyncio.to_thread(process.communicate)
    try:
        found: dict[str, Any] = json.loads(out)
    except ValueError:
        return {}
    return found
