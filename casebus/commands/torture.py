"""`casebus torture`: a city in which something is killed all the time, and a count at the end."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import typer
from aiokafka.errors import KafkaError
from rich.console import Console

from casebus import auditing
from casebus.acts import Tormentor, acts
from casebus.commands.audit import said
from casebus.running import end, running
from deploy.local.state import data_folder

_READY_S = 180.0
_TRAFFIC_S = 180.0
_QUIET_S = 240.0
_ARRIVED_S = 60.0


@dataclass(slots=True)
class Verdict:
    """`acts` counts what was done to whom; `unkept` are numbers that were answered and are not in
    intake's table. `quiet_after_s`: how long the rest took when nothing was killed any more;
    `waiting` is what still waited after the longest time that was given to it.
    """

    seed: int
    minutes: float
    brokers: int
    acts: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    unkept: int = 0
    quiet_after_s: float | None = None
    waiting: list[str] = field(default_factory=list)
    audit: auditing.Verdict = field(default_factory=auditing.Verdict)
    problem: str = ""

    @property
    def wrong(self) -> dict[str, int]:
        """What must not be, by name. An application that nobody answered is none: it is told so."""
        found = {
            "answered and not kept": self.unkept,
            "answered otherwise than expected": self.sent.get("unexpected", 0),
            "still waiting": len(self.waiting),
            "that the city could not go on": bool(self.problem),
            "without any application": not self.sent.get("accepted"),
        }
        return {name: int(count) for name, count in found.items() if count} | self.audit.wrong


def torture(
    minutes: Annotated[float, typer.Option(help="How long.", min=0.1, max=600)] = 5.0,
    seed: Annotated[int, typer.Option(help="The same seed does the same.", min=1)] = 1,
    rate: Annotated[float, typer.Option(help="Applications a second.", min=0.1, max=50)] = 8.0,
    brokers: Annotated[int, typer.Option(help="Kafka brokers: 1 or 3.", min=1, max=3)] = 1,
    here: Annotated[
        bool, typer.Option("--here", help="The city that runs here, instead of one of its own.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one line for machines.")
    ] = False,
) -> None:
    """Kill, end and freeze parts of a city under load; then count. Exit 1 when anything was lost,
    doubled or out of order."""
    if brokers == 2:
        end("two brokers cannot do without either; --brokers is 1 or 3")
    verdict = Verdict(seed, minutes, brokers)
    if here:
        running()
        try:
            asyncio.run(_torture(data_folder(), rate, verdict))
        except KeyboardInterrupt:
            end("stopped in the middle: what was ended or frozen goes on; `casebus audit` counts")
        kept = data_folder()
    else:
        kept = Path(tempfile.mkdtemp(prefix="casebus-torture-"))
        (kept / "data").mkdir()
        whole = False
        try:
            asyncio.run(_in_a_city_of_its_own(kept / "data", rate, verdict))
            whole = True
        finally:
            # What went wrong stays for a look.
            if not whole or not verdict.wrong:
                shutil.rmtree(kept, ignore_errors=True)
    if as_json:
        print(json.dumps(asdict(verdict) | {"wrong": verdict.wrong}))
    else:
        Console().print(_said(verdict), highlight=False)
    if verdict.wrong:
        again = f"--minutes {minutes:g} --seed {seed} --rate {rate:g} --brokers {verdict.brokers}"
        print(f"casebus: not as it should be; the city is in {kept}", file=sys.stderr)
        print(f"casebus: the same again: casebus torture {again}", file=sys.stderr)
        raise SystemExit(1)


def _said(verdict: Verdict) -> str:
    done = ", ".join(f"{count} {what}" for what, count in sorted(verdict.acts.items()))
    lines = [
        f"seed {verdict.seed}, {verdict.minutes:g} min, {sum(verdict.acts.values())} acts: {done}",
        f"{verdict.sent.get('accepted', 0)} answered 202, of which {verdict.unkept} not kept; "
        f"{verdict.sent.get('unavailable', 0)} told to come again",
        said(verdict.audit),
    ]
    if verdict.quiet_after_s is not None:
        lines.append(f"all was quiet {verdict.quiet_after_s} s after the last act")
    if verdict.waiting:
        lines.append(f"[red]still waiting after {_QUIET_S:.0f} s: {', '.join(verdict.waiting)}[/]")
    if verdict.problem:
        lines.append(f"[red]{verdict.problem}[/red]")
    wrong = ", ".join(f"{count} {name}" for name, count in verdict.wrong.items())
    lines.append(f"[red]wrong: {wrong}[/red]" if wrong else "[green]nothing lost, nothing twice[/]")
    return "\n".join(lines)


async def _in_a_city_of_its_own(folder: Path, rate: float, verdict: Verdict) -> None:
    log = folder.parent / "up.log"
    with contextlib.ExitStack() as ended:
        out = ended.enter_context(log.open("wb"))
        options = ["--rate", "0", "--brokers", str(verdict.brokers)]
        city = ended.enter_context(_command(folder, 30, "up", *options, out=out, err=out))
        deadline = time.monotonic() + _READY_S
        while b"casebus runs" not in log.read_bytes():
            if city.poll() is not None or time.monotonic() > deadline:
                verdict.problem = f"the city did not start: {log.read_text()[-500:]}"
                return
            await asyncio.sleep(0.2)
        await _torture(folder, rate, verdict)


async def _torture(folder: Path, rate: float, verdict: Verdict) -> None:
    # A SIGTERM ends everything in order, as Ctrl-C does.
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, os.kill, os.getpid(), signal.SIGINT
    )
    tormentor = Tormentor(folder)
    verdict.brokers = len(tormentor.stores) - 1
    cases = max(1, int(verdict.minutes * 60 * rate))
    options = ["--cases", str(cases), "--rate", str(rate), "--seed", str(verdict.seed)]
    with contextlib.ExitStack() as ended:
        ended.callback(tormentor.end)
        out = ended.enter_context((folder / "torture.json").open("w+b"))
        traffic = ended.enter_context(
            _command(folder, 5, "traffic", *options, "--clerks", "--json", out=out)
        )
        numbers: list[str] = []
        try:
            await _act(tormentor, verdict)
            await asyncio.to_thread(traffic.wait, _TRAFFIC_S)
            out.seek(0)
            verdict.sent = json.loads(out.read() or b"{}")
            numbers = verdict.sent.pop("numbers", [])  # type: ignore[assignment] # not a count
            began = time.monotonic()
            verdict.waiting = await _waiting(folder)
            if not verdict.waiting:
                verdict.quiet_after_s = round(time.monotonic() - began, 1)
            await _count(folder, numbers, verdict)
        except (
            *(subprocess.TimeoutExpired, TimeoutError),
            *(KafkaError, OSError, asyncpg.PostgresError),
        ) as error:
            verdict.problem = f"{type(error).__name__}: {error}"
        finally:
            verdict.acts = dict(sorted(tormentor.done.items()))


async def _act(tormentor: Tormentor, verdict: Verdict) -> None:
    """Do what the plan says until the time is over; then undo what is undone yet."""
    console = Console(stderr=True)
    began = time.monotonic()
    for act in acts(verdict.seed, tormentor.stores):
        await asyncio.sleep(act.after_s)
        now = time.monotonic() - began
        if now >= verdict.minutes * 60:
            break
        done = await tormentor.do(act)
        console.print(f"{now:6.1f} s  {act}{'' if done else ' (away)'}", highlight=False)
    await tormentor.rest()


async def _waiting(folder: Path) -> list[str]:
    """What still waits after _QUIET_S: nothing, once all groups and outboxes were at their end."""
    deadline = time.monotonic() + _QUIET_S
    while True:
        found = await asyncio.to_thread(_lag, folder)
        waiting: Counter[str] = Counter({} if found else {"no answer from casebus lag": 1})
        for one in found.get("groups", ()):
            waiting[f"{one['group']} on {one['topic']}:{one['partition']}"] += one["records"]
        for one in found.get("relays", ()):
            waiting[f"outbox of {one['outbox']}"] += one["rows"]
        if not +waiting or time.monotonic() > deadline:
            return [f"{name} ({count})" for name, count in sorted((+waiting).items())]
        await asyncio.sleep(1)


def _lag(folder: Path) -> dict[str, Any]:
    """What `casebus lag` says; nothing when it could not."""
    with _command(folder, 1, "lag", "--json", out=subprocess.PIPE) as process:
        try:
            found: dict[str, Any] = json.loads(process.communicate(timeout=60)[0])
        except (ValueError, subprocess.TimeoutExpired):
            return {}
    return found


async def _count(folder: Path, numbers: list[str], verdict: Verdict) -> None:
    os.environ["CASEBUS_DATA"] = str(folder)
    system = running()
    connection = await asyncpg.connect(system.postgres)
    try:
        kept = await connection.fetchval(
            "SELECT count(*) FROM intake.applications WHERE number = ANY($1)", numbers
        )
    finally:
        await connection.close()
    # A number that was given to two is as bad as one that was not kept.
    verdict.unkept = len(numbers) - kept
    verdict.audit = await auditing.audit(system.settings, system.postgres, _ARRIVED_S)


@contextlib.contextmanager
def _command(
    folder: Path, timeout_s: float, *arguments: str, out: Any, err: Any = subprocess.DEVNULL
) -> Iterator["subprocess.Popen[bytes]"]:
    """`casebus ARGUMENTS` for the city of `folder`; ended at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "casebus", *arguments],
        env=os.environ | {"CASEBUS_DATA": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
