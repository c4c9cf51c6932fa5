"""How fast are records routed exactly once, beside what others reach with the same work?"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks import children, evidence
from benchmarks.report import Section, Table, median_ratio, ratio, spread
from benchmarks.scale import Scale
from benchmarks.stand import ROOT, Stand
from catalogue import load_catalogue
from shared.contract import topics

PEERS = ROOT / ".bench-venv"
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class Contender:
    """`peer`: it runs in the peers' environment. `slow`: it gets fewer records."""

    name: str
    module: str
    mode: str
    guarantee: str
    peer: bool = False
    slow: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.guarantee})"

    @property
    def python(self) -> str:
        return str(PEERS / "bin" / "python") if self.peer else sys.executable


ROUTER = Contender("casebus router", "router", "exactly-once", "exactly once")
PLAIN = Contender("casebus router, transactions off", "router", "at-least-once", "at least once")
RAW = Contender("aiokafka, the same work", "raw", "same-work", "at least once")
BYTES = Contender("aiokafka, no work: bytes sent on twice", "raw", "bytes", "at least once")
QUIX = Contender("Quix Streams", "quix", "exactly-once", "exactly once", peer=True)
FAUST = Contender(
    "Faust agent",
    "faust_agent",
    "",
    "at least once, but what a handler fails on is lost",
    peer=True,
    slow=True,
)
FASTSTREAM = Contender(
    "FastStream, one by one", "faststream_app", "single", "at least once", peer=True, slow=True
)
CONTENDERS = (
    ROUTER,
    PLAIN,
    RAW,
    BYTES,
    QUIX,
    Contender("Quix Streams", "quix", "at-least-once", "at least once", peer=True),
    FAUST,
    Contender("FastStream, batches", "faststream_app", "batch", "at least once", peer=True),
    FASTSTREAM,
)
# The router, exactly once, to each of these when all only pass on: at least so many times its pace.
GOALS = ((RAW, 0.7), (QUIX, 1.1), (FAUST, 6.0), (FASTSTREAM, 20.0))
PASSING = (ROUTER, PLAIN, RAW, QUIX, FAUST, FASTSTREAM)
Rates = dict[Contender, list[float]]


async def measure(stand: Stand, scale: Scale, console: Console) -> Section:
    install_peers(console)
    agencies = [topics.agency_cases(code) for code in load_catalogue().agencies]
    outputs = {"route": (*agencies, topics.CASES), "pass on": tuple(agencies)}
    inputs = {False: ("bench.many", scale.records), True: ("bench.few", scale.slow_records)}
    size_bytes = 0
    for topic, records in inputs.values():
        size_bytes = await evidence.fill(stand.kafka(), topic, records, _PARTITIONS)
    with console.status("warming up Kafka ..."):
        for contender in (BYTES, ROUTER):
            await _run(stand, contender, *inputs[False], outputs["route"], "route")
    found: dict[str, Rates] = {}
    for work, contenders in (("route", CONTENDERS), ("pass on", PASSING)):
        rates = found[work] = {contender: [] for contender in contenders}
        for turn in range(scale.turns):
            # Each turn begins with another one, so that no contender always comes first or last.
            start = turn * 3 % len(contenders)
            for contender in (*contenders[start:], *contenders[:start]):
                rate = await _run(stand, contender, *inputs[contender.slow], outputs[work], work)
                rates[contender].append(rate)
                line = f"  {work}, turn {turn + 1}  {contender!s:<72} {rate:>9,.0f}/s"
                console.print(line, highlight=False, soft_wrap=True)
    return _section(found["route"], found["pass on"], scale, size_bytes)


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


async def _run(
    stand: Stand,
    contender: Contender,
    topic: str,
    records: int,
    outputs: tuple[str, ...],
    work: str,
) -> float:
    """Records a second. Raises WrongCountError unless each record was routed exactly once."""
    before = await evidence.ends(stand.kafka(), outputs)
    job = children.job(
        stand,
        topic=topic,
        group=f"bench-{os.urandom(6).hex()}",
        records=records,
        mode=contender.mode,
        outputs=outputs,
        work=work,
    )
    told = job.model_dump_json()
    answer = await children.answer(contender.module, told, python=contender.python)
    await evidence.each_routed_once(stand.kafka(), str(contender), before, records)
    return float(records / answer["seconds"])


def _section(rates: Rates, passing: Rates, scale: Scale, size_bytes: int) -> Section:
    return Section(
        title="Forwarding: what exactly once costs",
        question=(
            "How many applications a second does one router process route, exactly once, and "
            "what do others reach with the same work?"
        ),
        how=(
            f"Input: {scale.records:,} applications in {_PARTITIONS} partitions "
            f"({scale.slow_records:,} for the Faust agent and for FastStream one by one), "
            f"{size_bytes:,} bytes each on average, headers not counted. The work of the first "
            "table is the router's: decode, decide by the city's rules, encode an assignment for "
            "the agency and an event for everybody, so two records out for each record in. In the "
            "second table all only decode and send each record on to an agency's topic: what is "
            "left are the engines. Every contender calls the same functions, each in a process of "
            f"its own against the same broker, in {_turns(scale)}. The clock runs from the first "
            "record taken to the last commit acknowledged. After each run all output was read "
            "back, read_committed: a contender that lost or doubled a record would have ended the "
            "benchmark. All send with acks from all replicas, in batches of up to 256 KiB where "
            "they batch, and commit after some 1,000 records, but for FastStream one by one, "
            "which commits each."
        ),
        tables=(
            _table("the router's work", rates, {"to aiokafka without any": BYTES}),
            _table("passing on", passing, {}),
        ),
        goals=(
            *(_goal(passing, rates, peer, least) for peer, least in GOALS),
            *_costs(rates, passing),
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


def _table(work: str, rates: Rates, more: dict[str, Contender]) -> Table:
    columns = {"to aiokafka with the same work": RAW} | more
    return Table(
        (work, "guarantee", "applications/s: median (least - most)", *columns),
        tuple(
            (
                f"**{one.name}**" if one is ROUTER else one.name,
                one.guarantee,
                spread(found),
                *(ratio(found, rates[other]) for other in columns.values()),
            )
            for one, found in sorted(rates.items(), key=lambda item: -sum(item[1]))
        ),
    )


def _goal(passing: Rates, rates: Rates, peer: Contender, least: float) -> str:
    found = median_ratio(passing[ROUTER], passing[peer])
    working = median_ratio(rates[ROUTER], rates[peer])
    return (
        f"Forwarding exactly once, at least {least:g} times {peer}: "
        f"{'reached' if found >= least else 'missed'}, {found:.2f}. With the router's work, which "
        f"takes all of them the same time, {working:.2f}."
    )


def _costs(rates: Rates, passing: Rates) -> tuple[str, str]:
    kept = median_ratio(rates[ROUTER], rates[PLAIN])
    alone = median_ratio(passing[ROUTER], passing[PLAIN])
    to_bytes = median_ratio(rates[ROUTER], rates[BYTES])
    return (
        f"What exactly once itself costs, the same engine with transactions on to off: {kept:.2f} "
        f"with the router's work, so {1 - kept:.0%} of its pace; {alone:.2f} when it only passes "
        "on.",
        f"Against raw aiokafka that looks into nothing it is {to_bytes:.2f}; the rest of that gap "
        "is the work itself.",
    )


def _turns(scale: Scale) -> str:
    return "one turn" if scale.turns == 1 else f"{scale.turns} turns, begun by another each time"
