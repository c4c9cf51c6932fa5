"""How fast are records routed exactly once, beside what others reach with the same work?"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from rich.console import Console

from benchmarks.contenders.job import Job
from benchmarks.report import Section, Table, median_ratio, ratio, spread
from benchmarks.samples import submitted
from benchmarks.scale import Scale
from benchmarks.stand import ROOT, Stand
from catalogue import load_catalogue
from shared.contract import topics
from shared.runtime import kafka

PEERS = ROOT / ".bench-venv"
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_PARTITIONS = 4
_TIMEOUT_S = 120
_GOAL = 0.7


class WrongCountError(Exception):
    """A contender lost records, or sent some twice: its speed says nothing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """`peer`: it runs in the peers' environment. `slow`: it gets fewer records."""

    name: str
    module: str
    mode: str
    guarantee: str
    peer: bool = False
    slow: bool = False

    @property
    def python(self) -> str:
        return str(PEERS / "bin" / "python") if self.peer else sys.executable


ROUTER = Contender("casebus router", "router", "exactly-once", "exactly once")
RAW = Contender("aiokafka, the same work", "raw", "same-work", "at least once")
BYTES = Contender("aiokafka, no work: bytes sent on twice", "raw", "bytes", "at least once")
CONTENDERS = (
    ROUTER,
    Contender("casebus router, transactions off", "router", "at-least-once", "at least once"),
    RAW,
    BYTES,
    Contender("Quix Streams", "quix", "exactly-once", "exactly once", peer=True),
    Contender("Quix Streams", "quix", "at-least-once", "at least once", peer=True),
    Contender(
        "Faust agent",
        "faust_agent",
        "",
        "at least once, but what a handler fails on is lost",
        peer=True,
        slow=True,
    ),
    Contender("FastStream, batches", "faststream_app", "batch", "at least once", peer=True),
    Contender(
        "FastStream, one by one", "faststream_app", "single", "at least once", peer=True, slow=True
    ),
)


async def measure(stand: Stand, scale: Scale, console: Console) -> Section:
    install_peers(console)
    agencies = [topics.agency_cases(code) for code in load_catalogue().agencies]
    outputs = (*agencies, topics.CASES)
    inputs = {False: ("bench.many", scale.records), True: ("bench.few", scale.slow_records)}
    size_bytes = 0
    for topic, records in inputs.values():
        size_bytes = await _fill(stand, topic, records)
    with console.status("warming up Kafka ..."):
        for contender in (BYTES, ROUTER):
            await _run(stand, contender, *inputs[False], outputs)
    rates: dict[Contender, list[float]] = {contender: [] for contender in CONTENDERS}
    for turn in range(scale.turns):
        # Each turn begins with another one, so that no contender always comes first or last.
        start = turn * 3 % len(CONTENDERS)
        for contender in (*CONTENDERS[start:], *CONTENDERS[:start]):
            rate = await _run(stand, contender, *inputs[contender.slow], outputs)
            rates[contender].append(rate)
            label = f"{contender.name} ({contender.guarantee})"
            line = f"  turn {turn + 1}  {label:<72} {rate:>9,.0f}/s"
            console.print(line, highlight=False, soft_wrap=True)
    return _section(rates, scale, size_bytes)


def install_peers(console: Console) -> None:
    """The peers' environment, made on first use and brought up to date when the pins change."""
    stamp = PEERS / ".ready"
    pins = _REQUIREMENTS.read_text()
    if stamp.exists() and stamp.read_text() == pins:
        return
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(PEERS / "bin" / "python")
    with console.status("making .bench-venv, the environment of the peers (once) ..."):
        if not Path(python).exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, PEERS], check=True)
        sync = ["pip", "sync", "--quiet", "--python", python, "--require-hashes"]
        subprocess.run([uv, *sync, str(_REQUIREMENTS)], check=True)
    stamp.write_text(pins)


async def _fill(stand: Stand, topic: str, records: int) -> int:
    """Make an input topic with so many applications; the mean size of a value in bytes."""
    admin = kafka.admin(stand.kafka())
    producer = kafka.producer(stand.kafka())
    await admin.start()
    await admin.create_topics([NewTopic(topic, _PARTITIONS, 1)])
    await producer.start()
    try:
        sent, size_bytes = [], 0
        for out in islice(submitted(topic), records):
            size_bytes += len(out.value or b"")
            sent.append(
                await producer.send(topic, out.value, key=out.key, headers=list(out.headers))
            )
        await asyncio.gather(*sent)
        return size_bytes // records
    finally:
        await asyncio.gather(admin.close(), producer.stop())


async def _run(
    stand: Stand, contender: Contender, topic: str, records: int, outputs: tuple[str, ...]
) -> float:
    """Records a second. Raises WrongCountError unless each record was routed exactly once."""
    before = await _ends(stand, outputs)
    job = Job(
        kafka=stand.broker.address,
        username="admin",
        password=stand.secrets.kafka["admin"],
        topic=topic,
        group=f"bench-{os.urandom(6).hex()}",
        records=records,
        mode=contender.mode,
        outputs=outputs,
    )
    answer = await _in_its_own_process(contender, job)
    await _verify(stand, contender, before, records)
    return float(records / answer["seconds"])


async def _in_its_own_process(contender: Contender, job: Job) -> dict[str, float]:
    child = await asyncio.create_subprocess_exec(
        contender.python,
        "-m",
        f"benchmarks.contenders.{contender.module}",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            out, errors = await child.communicate(job.model_dump_json().encode())
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    for line in out.decode().splitlines():
        if line.startswith("{"):
            found: dict[str, float] = json.loads(line)
            return found
    raise WrongCountError(f"{contender.name} gave no answer: {errors.decode()[-3000:]}")


async def _ends(stand: Stand, names: Sequence[str]) -> dict[TopicPartition, int]:
    consumer = kafka.consumer(stand.kafka())
    await consumer.start()
    try:
        partitions = await kafka.partitions_of(consumer, names)
        found: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
        return found
    finally:
        await consumer.stop()


async def _verify(
    stand: Stand, contender: Contender, before: dict[TopicPartition, int], records: int
) -> None:
    """Read what was committed since `before`: one assignment and one event for each case."""
    cases: dict[bool, Counter[bytes]] = {True: Counter(), False: Counter()}
    ends = await _ends(stand, sorted({partition.topic for partition in before}))
    consumer = kafka.consumer(stand.kafka())
    consumer.assign(list(before))
    await consumer.start()
    try:
        for partition, offset in before.items():
            consumer.seek(partition, offset)
        waiting = set(before)
        async with asyncio.timeout(60):
            while waiting:
                for messages in (await consumer.getmany(timeout_ms=50)).values():
                    for message in messages:
                        cases[message.topic == topics.CASES][message.key] += 1
                waiting = {p for p in waiting if await consumer.position(p) < ends[p]}
    finally:
        await consumer.stop()
    for to_all, found in cases.items():
        if len(found) != records or found.total() != records:
            where = topics.CASES if to_all else "the agencies' topics"
            raise WrongCountError(
                f"{contender.name} ({contender.guarantee}): {found.total()} records of "
                f"{len(found)} cases on {where}, {records} expected"
            )


def _section(rates: dict[Contender, list[float]], scale: Scale, size_bytes: int) -> Section:
    rows = tuple(
        (
            f"**{one.name}**" if one is ROUTER else one.name,
            one.guarantee,
            spread(found),
            ratio(found, rates[RAW]),
            ratio(found, rates[BYTES]),
        )
        for one, found in sorted(rates.items(), key=lambda item: -sum(item[1]))
    )
    reached = median_ratio(rates[ROUTER], rates[RAW])
    to_bytes = median_ratio(rates[ROUTER], rates[BYTES])
    verdict = "reached" if reached >= _GOAL else "missed"
    return Section(
        title="Forwarding: what exactly once costs",
        question=(
            "How many applications a second does one router process route, exactly once, and "
            "what do others reach with the same work?"
        ),
        how=(
            f"Input: {scale.records:,} applications in {_PARTITIONS} partitions "
            f"({scale.slow_records:,} for the Faust agent and for FastStream one by one), "
            f"{size_bytes:,} bytes each on average, headers not counted. The work is the "
            "router's: decode, decide by the city's rules, encode an assignment for the agency "
            "and an event for everybody, so two records out for each record in. Every contender "
            "calls the same functions, each in a process of its own against the same broker, in "
            f"{_turns(scale)}. The clock runs from the first record taken to the last commit "
            "acknowledged. After each run all output was read back, read_committed: a contender "
            "that lost or doubled a record would have ended the benchmark. All send with acks "
            "from all replicas, in batches of up to 256 KiB where they batch, and commit after "
            "some 1,000 records, but for FastStream one by one, which commits each."
        ),
        tables=(
            Table(
                (
                    "contender",
                    "guarantee",
                    "applications/s: median (least - most)",
                    "to aiokafka with the same work",
                    "to aiokafka without any",
                ),
                rows,
            ),
        ),
        goals=(
            f"Exactly once at {_GOAL} of raw aiokafka that does the same work: {verdict}, "
            f"{reached:.2f}. Against raw aiokafka that looks into nothing it is {to_bytes:.2f}; "
            "the rest of that gap is the work itself.",
        ),
        limits=(
            "One broker without replicas on the same machine: a commit in a cluster takes longer, "
            "and so do all others' commits.",
            "The contender without any work is a ceiling of the client library, not a router.",
            "The router runs one task for each partition, so it computes for one while another "
            "waits for the broker; raw aiokafka here is the plain loop that its documentation "
            "shows.",
            "No contender failed here. What each does when it is killed is tested, not measured.",
            "The peers have an environment of their own; Quix Streams asks for an older minor "
            "version of pydantic than the router's, so the peers decode with that one.",
        ),
    )


def _turns(scale: Scale) -> str:
    return "one turn" if scale.turns == 1 else f"{scale.turns} turns, begun by another each time"
