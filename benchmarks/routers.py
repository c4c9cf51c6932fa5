"""What do more router processes bring over the same input?"""

import asyncio
import contextlib
import json
import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from benchmarks import children, evidence
from benchmarks.report import Section, Table, ratio, spread
from benchmarks.scale import Scale
from benchmarks.stand import Stand
from catalogue import load_catalogue
from shared.contract import topics
from shared.runtime import kafka

PROCESSES = (1, 2, 4)
_PARTITIONS = 12
_TOPIC = "bench.spread"
_WITHIN_S = 120


class StuckError(Exception):
    """The processes did not share the partitions, or did not come to the end of the input."""


async def measure(stand: Stand, scale: Scale, console: Console) -> Section:
    await evidence.fill(stand.kafka(), _TOPIC, scale.records, _PARTITIONS)
    outputs = (*(topics.agency_cases(code) for code in load_catalogue().agencies), topics.CASES)
    rates: dict[int, list[float]] = {count: [] for count in PROCESSES}
    with console.status("warming up Kafka ..."):
        await _run(stand, 1, scale.records, outputs)
    for turn in range(scale.turns):
        start = turn % len(PROCESSES)
        for count in (*PROCESSES[start:], *PROCESSES[:start]):
            rate = await _run(stand, count, scale.records, outputs)
            rates[count].append(rate)
            console.print(f"  turn {turn + 1}  {count} processes {rate:>9,.0f}/s", highlight=False)
    return _section(rates, scale)


async def _run(stand: Stand, count: int, records: int, outputs: Sequence[str]) -> float:
    """Records a second. Raises StuckError, WrongCountError."""
    before = await evidence.ends(stand.kafka(), outputs)
    group = f"bench-{os.urandom(6).hex()}"
    job = children.job(
        stand,
        topic=_TOPIC,
        group=group,
        records=records,
        mode="exactly-once",
        outputs=outputs,
    )
    told = job.model_dump_json().encode() + b"\n"
    async with contextlib.AsyncExitStack() as stack:
        each = [await stack.enter_async_context(children.child("among")) for _ in range(count)]
        try:
            async with asyncio.timeout(_WITHIN_S):
                for one in each:
                    _say(one, told)
                await _shared(each)
                for one in each:
                    _say(one, b"go\n")
                await _committed(stand, group, records)
                found = await asyncio.gather(*(_end(one) for one in each))
        except TimeoutError:
            raise StuckError(f"{count} processes, within {_WITHIN_S} s") from None
    await evidence.each_routed_once(stand.kafka(), f"{count} routers", before, records)
    # Who had no record has no times.
    began = min(one["began"] for one in found if one["records"])
    return float(records / (max(one["ended"] for one in found) - began))


def _say(process: asyncio.subprocess.Process, line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line)


async def _shared(each: Sequence[asyncio.subprocess.Process]) -> None:
    """Until every process stands ready with its even part of the partitions."""
    share = _PARTITIONS // len(each)
    has = dict.fromkeys(range(len(each)), 0)
    complete = asyncio.Event()

    async def watch(at: int) -> None:
        stream = each[at].stdout
        assert stream is not None
        while not complete.is_set():
            line = await stream.readline()
            if not line:
                raise StuckError("a router ended")
            has[at] = json.loads(line)["partitions"]
            if set(has.values()) == {share}:
                complete.set()

    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(watch(at)) for at in has]
        await complete.wait()
        for one in watching:
            one.cancel()


async def _committed(stand: Stand, group: str, records: int) -> None:
    """Until the group has committed behind all records; asked seldom, for it costs a little."""
    admin = kafka.admin(stand.kafka())
    await admin.start()
    try:
        ends = await evidence.ends(stand.kafka(), [_TOPIC])
        assert sum(ends.values()) == records
        while True:
            found = await admin.list_consumer_group_offsets(group, partitions=list(ends))
            if sum(max(0, one.offset) for one in found.values()) >= records:
                return
            await asyncio.sleep(0.3)
    finally:
        await admin.close()


async def _end(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    while line := await process.stdout.readline():
        found: dict[str, Any] = json.loads(line)
        if "records" in found:
            await process.wait()
            return found
    raise StuckError("a router gave no answer")


def _section(rates: dict[int, list[float]], scale: Scale) -> Section:
    cores = len(os.sched_getaffinity(0))
    rows = tuple(
        (str(count), spread(found), ratio(found, rates[1])) for count, found in rates.items()
    )
    return Section(
        title="Routing: more processes over the same input",
        question="How much faster do two and four router processes route than one?",
        how=(
            f"Input: {scale.records:,} applications in {_PARTITIONS} partitions; the same work as "
            "above, exactly once. All processes are of one group and stand ready with an equal "
            "share of the partitions before any of them begins. The clock runs from the first "
            "record that one of them takes to the last commit of all, in "
            f"{'one turn' if scale.turns == 1 else f'{scale.turns} turns'}; all output was read "
            "back as above."
        ),
        tables=(
            Table(("processes", "applications/s: median (least - most)", "to one process"), rows),
        ),
        limits=(
            f"This machine has {cores} cores, and the broker needs one of them most of the time. "
            "One process already takes the other: what more of them bring here is only what the "
            "first one leaves idle, and with more processes than cores they take turns. How it "
            "grows where every process has a core of its own this machine cannot say.",
            "What can be shared out are partitions: more processes than partitions stand idle.",
        ),
    )
