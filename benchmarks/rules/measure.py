"""The measuring process: all contenders in one, in the peers' environment; prints JSON.

`python -m benchmarks.rules.measure [--quick]`; progress goes to standard error.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.rules import contenders, memory, tables, verification
from benchmarks.rules.contenders import Contender, agree
from benchmarks.rules.results import EXPLAIN, EXPLAIN_JSON, Results
from benchmarks.rules.rounds import Runner, rates
from benchmarks.rules.tables import Facts, Row
from services.router.rules import explain

Cases = Sequence[tuple[Facts, str]]
_LIBRARIES = ("zen-engine", "common-expression-language", "panzi-json-logic", "rule-engine")


@dataclass(frozen=True, slots=True)
class Scale:
    """`turns` of `seconds` for each contender and size; `once` are the turns of what takes
    long by itself. `cases` are few enough to stay in the cache, as facts do that were just decoded,
    and enough for nearly every service."""

    turns: int = 11
    seconds: float = 0.12
    once: int = 7
    cases: int = 2_000
    sizes: tuple[int, ...] = (100, 1_000, 10_000)


QUICK = Scale(turns=1, seconds=0.02, once=1, cases=500)


def told(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measure(scale: Scale) -> Results:
    """Agreement first, then the clock. Raises DisagreementError and WrongResultError."""
    results = Results(
        scale.sizes,
        scale.turns,
        scale.seconds,
        scale.cases,
        zen_tables=(contenders.ZEN.name, contenders.ZEN_ONE.name),
        zen_others=(contenders.ZEN_EXPRESSION.name,),
    )
    results.versions = {name: version(name) for name in _LIBRARIES}
    by_size = {size: tables.table(size) for size in scale.sizes}
    results.services = {size: len(tables.by_service(rows)) for size, rows in by_size.items()}
    with tempfile.TemporaryDirectory() as folder:
        told("load, prove, compare")
        # First, as long as the heap is small.
        largest = max(by_size)
        results.seconds_of = verification.measure(by_size[largest], Path(folder), scale.once)
        told("contenders: start, and agree on all cases")
        cases = {size: tables.cases(rows, scale.cases) for size, rows in by_size.items()}
        runners = {
            (size, one.name): _runner(one, rows, Path(folder) / str(size), cases[size])
            # One contender's sizes stand next to each other, and so do the turns they run in.
            for one in contenders.DECIDING
            for size, rows in by_size.items()
        }
        rows, own = by_size[largest], cases[largest]
        ways = {
            one.name: _runner(one, rows, Path(folder) / "ways", own)
            for one in (contenders.ZEN, contenders.ZEN_ONE, *contenders.ZEN_WAYS)
        }
        explaining = {
            one.name: _runner(one, rows, Path(folder) / "traced", own)
            for one in (contenders.TRACED, contenders.ONE_TRACED)
        }
        explaining |= _explainers(rows, Path(folder) / "explained", own)
    # What is there stays: the collector does not walk through all contenders in one's turn.
    gc.collect()
    gc.freeze()
    told("decisions")
    for (size, name), found in rates(runners, scale.turns, scale.seconds, told).items():
        results.rates.setdefault(size, {})[name] = found
    told("explanations")
    results.explained = rates(explaining, scale.turns, scale.seconds, told)
    told("the ways to call zen")
    results.ways = rates(ways, scale.turns, scale.seconds, told)
    told("memory")
    results.bytes_of = {one.name: _memory(one, largest, scale.cases) for one in memory.MEASURED}
    return results


def _runner(one: Contender, rows: Sequence[Row], folder: Path, cases: Cases) -> Runner:
    decide = one.start(rows, folder)
    agree(one.name, decide, one.rule_of, cases)
    return Runner(decide, [facts for facts, _ in cases])


def _explainers(rows: Sequence[Row], folder: Path, cases: Cases) -> dict[str, Runner]:
    rules = contenders.loaded(rows, folder)
    ways: dict[str, Callable[[Facts], Any]] = {
        EXPLAIN: lambda facts: explain(rules, facts).lead,
        EXPLAIN_JSON: lambda facts: explain(rules, facts).to_json()["lead"],
    }
    for name, way in ways.items():
        agree(name, way, _decides, cases)
    return {name: Runner(way, [facts for facts, _ in cases]) for name, way in ways.items()}


def _decides(looked: Any) -> str | None:
    """The rule of the row that decides, first of those that were looked at."""
    first = looked[0]
    if isinstance(first, dict):
        return first["rule"] if first["state"] == "decides" else None
    return first.row.id if first.state == "decides" else None


def _memory(one: Contender, rules: int, cases: int) -> int:
    command = [sys.executable, "-m", "benchmarks.rules.memory", one.name]
    command += [str(rules), str(cases)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return int(done.stdout)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    json.dump(asdict(measure(QUICK if parser.parse_args().quick else Scale())), sys.stdout)
