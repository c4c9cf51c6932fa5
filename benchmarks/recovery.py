"""How long until cases arrive again, after kill -9?"""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from benchmarks.arrivals import LATE_S, Arrivals, Recovered
from benchmarks.report import Section, Table
from benchmarks.scale import Scale
from benchmarks.stand import SECOND_ROUTER, Stand, StandError, stand
from deploy.local.cluster import kafka_answers
from shared.runtime import kafka

_RATE = 20
_BROKERS = 3
# As long as `casebus up` waits before it starts again what ended.
_PAUSE_S = 0.3
_READY_WITHIN_S = 60


@dataclass(frozen=True, slots=True)
class _Fault:
    """`names` are killed in turn, and started again soon; else only when all has arrived."""

    what: str
    names: tuple[str, ...]
    soon: bool = True


@dataclass(frozen=True, slots=True)
class _Seen:
    """`ready_s`: from the kill until the program was ready again; None: it stayed away."""

    recovered: Recovered
    ready_s: float | None


_ROUTER = _Fault("the only router", ("router",))
_INTAKE = _Fault("intake, and its relay with it", ("intake",))
_BROKER = _Fault("the only broker", ("kafka",))
_ONE_OF_TWO = _Fault("one of two routers, and it stays away", ("router", SECOND_ROUTER), False)


async def measure(given: Stand, scale: Scale, console: Console) -> Section:
    seen: dict[str, list[_Seen]] = {}
    await given.start("intake", "router")
    async with Arrivals(given, _RATE) as arrivals:
        for fault in (_ROUTER, _INTAKE, _BROKER, _ONE_OF_TWO):
            if fault is _ONE_OF_TWO:
                await given.start(SECOND_ROUTER)
            seen[fault.what] = await _killed(given, arrivals, fault, scale.kills, console)
    given.check()
    await given.stop("intake", "router", SECOND_ROUTER)
    # Three brokers need the cores that this one would have.
    await given.stop_stores()
    async with stand(console, _BROKERS) as cluster:
        fault = _Fault("one of three brokers", tuple(cluster.brokers))
        await cluster.start("intake", "router")
        async with Arrivals(cluster, _RATE) as arrivals:
            seen[fault.what] = await _killed(cluster, arrivals, fault, scale.kills, console)
        cluster.check()
        await cluster.stop("intake", "router")
    return _section(seen, scale)


async def _killed(
    stand: Stand, arrivals: Arrivals, fault: _Fault, kills: int, console: Console
) -> list[_Seen]:
    found = []
    await arrivals.calm()
    for n in range(kills):
        name = fault.names[n % len(fault.names)]
        killed = time.monotonic()
        answering: list[asyncio.Task[float]] = []

        async def kill(name: str = name, tasks: list[asyncio.Task[float]] = answering) -> None:
            await stand.kill(name)
            if fault.soon:
                await asyncio.sleep(_PAUSE_S)
                stand.again(name)
                tasks.append(asyncio.create_task(_answers(stand, name)))

        recovered = await arrivals.recovered(kill)
        one = _Seen(recovered, await answering[0] - killed if answering else None)
        found.append(one)
        console.print(
            f"  kill {n + 1}  {fault.what:<44} first {recovered.first_s:5.1f} s"
            f"  all {recovered.last_s:5.1f} s  ready {one.ready_s or 0:5.1f} s"
            f"  late {recovered.late}",
            highlight=False,
            soft_wrap=True,
        )
        if not fault.soon:
            stand.again(name)
            await _answers(stand, name)
            await arrivals.calm()
        if len(stand.brokers) > 1:
            await _all_copies(stand)
    return found


async def _answers(stand: Stand, name: str) -> float:
    """Until what was started again is ready; the time then, by time.monotonic."""
    if name in stand.brokers:
        # Asked itself: the others count it among them until they notice.
        itself = stand.kafka().model_copy(update={"kafka": stand.brokers[name].address})
        await kafka_answers(itself, _READY_WITHIN_S)
    else:
        await stand.ready(name)
    return time.monotonic()


async def _all_copies(stand: Stand) -> None:
    """Until every partition has all its copies in step. Raises StandError."""
    admin = kafka.admin(stand.kafka())
    await admin.start()
    try:
        deadline = time.monotonic() + _READY_WITHIN_S
        while any(
            len(partition["isr"]) < len(partition["replicas"])
            for topic in await admin.describe_topics()
            for partition in topic["partitions"]
        ):
            if time.monotonic() > deadline:
                raise StandError("a broker that came back is still behind the others")
            await asyncio.sleep(0.5)
    finally:
        await admin.close()


def _section(seen: dict[str, list[_Seen]], scale: Scale) -> Section:
    rows = tuple(
        (
            what,
            *_middle_and_most([one.recovered.first_s for one in found]),
            *_middle_and_most([one.recovered.last_s for one in found]),
            _middle_and_most([one.ready_s for one in found if one.ready_s is not None])[0],
            f"{statistics.median([one.recovered.late for one in found]):.0f}",
        )
        for what, found in seen.items()
    )
    return Section(
        title="Recovery: after kill -9",
        question="How long does a case wait when a process is killed in the middle of the work?",
        how=(
            f"{_RATE} applications a second come in over HTTP all the time; who finds no intake "
            "asks again with the same Idempotency-Key. Intake and router run, nothing else of the "
            "city. A process is killed with SIGKILL, "
            f"{scale.kills} time(s) each, and started again {_PAUSE_S} s later, as `casebus up` "
            "does, except where another process has to take over. One read_committed consumer of "
            "all agencies' topics sees when a case arrives. First: from the kill to the first "
            "arrival of a case that was submitted after it. All: from the kill to the arrival of "
            f"the last case that came later than {LATE_S:.0f} s after its application. The next "
            "kill comes when no case was late for 2 s and what was killed is ready again. In the "
            "end every accepted case was there, once: else the benchmark would have ended."
        ),
        tables=(
            Table(
                (
                    "killed",
                    "first new case, p50 s",
                    "most s",
                    "all there, p50 s",
                    "most s",
                    "it is ready itself, p50 s",
                    "cases late, p50",
                ),
                rows,
            ),
        ),
        limits=_LIMITS,
    )


def _middle_and_most(values: Sequence[float]) -> tuple[str, str]:
    if not values:
        return "-", "-"
    return f"{statistics.median(values):.1f}", f"{max(values):.1f}"


_LIMITS = (
    "A router's partitions rest until the group knows that it is gone: the session time-out of "
    "10 s from its last heartbeat, which was up to 3 s before the kill. A restart does not "
    "shorten that, for the group waits for the old member before it shares the partitions anew. "
    "What the other of two routers owns goes on meanwhile, so its first new case comes at once "
    "and the last one after the time-out.",
    "Intake's relay belongs to no group. Its time is the start of a Python process; the new "
    "relay ends the open transaction of the old one at once, instead of the transaction time-out "
    "of 12 s (and up to 10 s more until the broker looks).",
    "The time of an only broker is a JVM's start, the reading of its logs, and the clients' way "
    "back to it. One of three brokers: the others notice after their session time-out of 9 s and "
    "elect new leaders; partitions that it did not lead go on, if no transaction needs it.",
    "Both time-outs can be shortened, at the price of rebalances when a process is only slow.",
    "Everything shares the cores of this machine; processes start faster where they have their "
    "own.",
)
