"""How soon can the agency read a case that was accepted?"""

import statistics
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from benchmarks import load
from benchmarks.report import Section, Table, milliseconds, percentile
from benchmarks.scale import Scale
from benchmarks.stand import CITY, Stand, StandError
from catalogue import load_catalogue
from shared.contract import topics

_RATES = (50, 200)
_WARM_UP = 200
_CONNECTIONS = 64
_PERCENTS = (50, 95, 99)
_GOAL_RATE, _GOAL_P50_MS, _GOAL_P99_MS = 200, 25.0, 100.0
WHOLE = "the whole city"
CHAIN = "intake and router alone"
_SERVICES = {CHAIN: ("intake", "router"), WHOLE: CITY}


@dataclass(slots=True)
class _Seen:
    """What came out of the turns at one rate: milliseconds by percentile, one a turn."""

    agency_ms: dict[int, list[float]] = field(
        default_factory=lambda: {percent: [] for percent in _PERCENTS}
    )
    answer_ms: dict[int, list[float]] = field(
        default_factory=lambda: {percent: [] for percent in _PERCENTS}
    )
    sent: int = 0
    accepted: int = 0
    arrived: int = 0
    late_ms: float = 0.0

    def add(self, found: dict[str, Any]) -> None:
        for percent in _PERCENTS:
            self.agency_ms[percent].append(percentile(found["agency_ms"], percent))
            self.answer_ms[percent].append(percentile(found["answer_ms"], percent))
        self.sent += found["sent"]
        self.accepted += found["accepted"]
        self.arrived += found["arrived"]
        self.late_ms = max(self.late_ms, found["generator_late_ms"])


async def measure(stand: Stand, scale: Scale, console: Console) -> Section:
    agencies = tuple(topics.agency_cases(code) for code in load_catalogue().agencies)
    seen = {(where, rate): _Seen() for where in _SERVICES for rate in _RATES}
    for turn in range(scale.latency_turns):
        for where, services in _SERVICES.items():
            with console.status(f"starting {where} ..."):
                await stand.start(*services)
            await _hold(stand, agencies, max(_RATES) / 2, seconds=1, latest_s=90)
            for rate in _RATES:
                found = await _hold(stand, agencies, rate, scale.latency_s)
                seen[where, rate].add(found)
                p50, p99 = (percentile(found["agency_ms"], percent) for percent in (50, 99))
                label = f"{where}, {rate} a second"
                console.print(
                    f"  turn {turn + 1}  {label:<44} p50 {p50:7.1f} ms  p99 {p99:7.1f} ms",
                    highlight=False,
                    soft_wrap=True,
                )
            await stand.stop(*services)
    return _section(seen, scale)


async def _hold(
    stand: Stand,
    agencies: tuple[str, ...],
    rate: float,
    seconds: float,
    latest_s: float = 20,
) -> dict[str, Any]:
    """What came of one rate. Raises StandError when a program ended or nothing arrived."""
    found = await load.run(
        load.Load(
            port=stand.ports["intake"],
            connections=_CONNECTIONS,
            rate=rate,
            seconds=seconds,
            warm_up=_WARM_UP,
            latest_s=latest_s,
            kafka=stand.address,
            password=stand.secrets.kafka["admin"],
            agencies=agencies,
        )
    )
    stand.check()
    if not found["agency_ms"]:
        raise StandError(f"of {found['accepted']} accepted cases none came to an agency")
    return found


def _section(seen: dict[tuple[str, int], _Seen], scale: Scale) -> Section:
    late_ms = max(found.late_ms for found in seen.values())
    return Section(
        title="Latency: from 202 to the agency's topic",
        question="How soon can an agency read a case, once its citizen has the answer 202?",
        how=(
            "One process sends applications over HTTP, each at its time whatever became of those "
            f"before it (open loop, {_CONNECTIONS} keep-alive connections), and reads all "
            "agencies' topics, read_committed: one clock. Between the two moments lie the outbox, "
            "the relay's Kafka transaction and the router's. Each rate is held for "
            f"{scale.latency_s:.0f} s after {_WARM_UP} applications that are left out (and others "
            "before, to warm up the broker and the services), in "
            f"{scale.latency_turns} turn(s). The whole city is what `casebus up --rate 0` runs: "
            f"Kafka, PostgreSQL and {len(CITY)} processes more."
        ),
        tables=(
            Table(
                (
                    "what runs",
                    "cases/s",
                    *(f"p{percent} ms" for percent in _PERCENTS),
                    "accepted",
                    "of these, arrived",
                ),
                tuple(
                    (
                        where,
                        str(rate),
                        *(milliseconds(found.agency_ms[percent]) for percent in _PERCENTS),
                        _share(found.accepted, found.sent),
                        _share(found.arrived, found.accepted),
                    )
                    for (where, rate), found in seen.items()
                ),
            ),
            Table(
                (
                    "from an application's time to its 202",
                    "cases/s",
                    *(f"p{percent} ms" for percent in _PERCENTS),
                ),
                tuple(
                    (
                        where,
                        str(rate),
                        *(milliseconds(found.answer_ms[percent]) for percent in _PERCENTS),
                    )
                    for (where, rate), found in seen.items()
                ),
            ),
        ),
        goals=tuple(_goal(where, seen[where, _GOAL_RATE]) for where in _SERVICES),
        limits=(
            "Kafka, PostgreSQL, all services and the load generator share the cores of one "
            "machine; the more of them run, the more each waits for a core. On many machines the "
            "network comes instead.",
            f"The load generator was late by up to {late_ms:.1f} ms in sending; an application's "
            "time to its 202 counts that, the way from 202 to the agency does not.",
            "Where there are more turns than one: the median of the turns' percentiles, and from "
            "the least to the most.",
        ),
    )


def _goal(where: str, found: _Seen) -> str:
    p50, p99 = (statistics.median(found.agency_ms[percent]) for percent in (50, 99))
    reached = p50 <= _GOAL_P50_MS and p99 <= _GOAL_P99_MS
    return (
        f"At {_GOAL_RATE} cases/s p50 of at most {_GOAL_P50_MS:.0f} ms and p99 of at most "
        f"{_GOAL_P99_MS:.0f} ms, {where}: {'reached' if reached else 'missed'}, "
        f"{p50:.1f} and {p99:.1f} ms."
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "-"
