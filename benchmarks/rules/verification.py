"""How long a table takes to load, to prove and to compare, in seconds of processor time."""

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import Any, TypeVar

from benchmarks.rules import contenders, tables
from benchmarks.rules.tables import DISTRICTS, MOST, SIDES, Row, by_service
from services.router.rules import Change, Names, Report, RuleSet, difference, load, verify

Made = TypeVar("Made")
Result = TypeVar("Result")


class WrongResultError(Exception):
    """What was found is not what was put in: how fast it was found says nothing."""


def times(
    turns: int,
    make: Callable[[], Made],
    run: Callable[[Made], Result],
    check: Callable[[Result], bool],
) -> list[float]:
    """Seconds of `run`, each on something made anew, so that nothing is left from the turn
    before. Raises WrongResultError."""
    found = []
    for _ in range(turns):
        made = make()
        gc.collect()
        begin = process_time()
        result = run(made)
        found.append(process_time() - begin)
        if not check(result):
            raise WrongResultError(f"{run.__name__}: {result!r:.400}")
    return found


def measure(rows: Sequence[Row], folder: Path, turns: int) -> dict[str, list[float]]:
    """By what is done: the seconds of each turn. Raises WrongResultError."""
    names = contenders.names(rows)
    sound = tables.write(rows, folder / "sound")
    with_gap = tables.with_a_gap(rows)
    gap = tables.write(with_gap, folder / "gap")

    def fresh(path: Path = sound) -> RuleSet:
        return load(path, names)

    def proof(rules: RuleSet) -> Report:
        return verify(rules, names)

    def is_the_gap(report: Report) -> bool:
        if [one.code for one in report.findings] != ["R101"]:
            return False
        case = report.findings[0].counterexample or {}
        before, after = (tables.by_service(one)[str(case["service"])] for one in (rows, with_gap))
        return _lead(before, case) is not None and _lead(after, case) is None

    found = {
        "load": times(turns, lambda: sound, fresh, lambda rules: True),
        "load, zen": times(turns, lambda: _zen_file(rows, folder), _load_zen, lambda engine: True),
        "verify": times(turns, fresh, proof, lambda report: not report.findings),
        "verify, a gap": times(turns, lambda: fresh(gap), proof, is_the_gap),
        "edit": _edits(fresh(), fresh(gap), names, turns, is_the_gap),
    }
    for name, changed in (
        ("difference, few", tables.with_other_leads(rows, 100)),
        ("difference, all", tables.with_one_other_lead_a_service(rows)),
        ("difference, anew", tables.table(len(rows), tables.SEED + 1)),
    ):
        other = tables.write(changed, folder / name)

        def pair(path: Path = other) -> tuple[RuleSet, RuleSet]:
            return fresh(), fresh(path)

        def compare(both: tuple[RuleSet, RuleSet]) -> tuple[Change, ...]:
            return difference(*both, names)

        def right(changes: tuple[Change, ...], changed: Sequence[Row] = changed) -> bool:
            return _right(changes, rows, changed)

        # Two tables without a row in common take seconds.
        found[name] = times(turns if name != "difference, anew" else 1, pair, compare, right)
    return found


def _edits(
    sound: RuleSet,
    gap: RuleSet,
    names: Names,
    turns: int,
    is_the_gap: Callable[[Report], bool],
) -> list[float]:
    """An editor at work: one row is changed, proved, changed back, proved, each time on what
    was proved before. The first edit counts too. Nothing is collected in between: it would empty
    the processor's cache each time."""
    good, bad = next(
        pair
        for pair in zip(sound.tables["lead"].rows, gap.tables["lead"].rows, strict=True)
        if pair[0].conditions != pair[1].conditions
    )
    rules, report = sound, verify(sound, names)
    found = []
    for turn in range(20 * turns):
        broken = turn % 2 == 0
        begin = process_time()
        rules = rules.edited("lead", bad if broken else good)
        report = verify(rules, names, report)
        found.append(process_time() - begin)
        if broken != bool(report.findings) or (broken and not is_the_gap(report)):
            raise WrongResultError(f"edit {turn}: {report.findings!r:.400}")
    return found


def _right(changes: Sequence[Change], before: Sequence[Row], after: Sequence[Row]) -> bool:
    """Exactly the services that changed are told, each counterexample is decided otherwise."""
    old, new = by_service(before), by_service(after)
    services = {name for name in old if _leads(old[name]) != _leads(new[name])}
    return {one.service for one in changes} == services and all(
        _lead(old[one.service], one.counterexample) != _lead(new[one.service], one.counterexample)
        for one in changes
    )


def _leads(rows: Sequence[Row]) -> set[tuple[Any, ...]]:
    return {(r.districts, r.low, r.high, r.newborn, r.sides, r.lead) for r in rows}


def _lead(rows: Sequence[Row], facts: Mapping[str, Any]) -> str | None:
    found = [row.lead for row in rows if _matches(row, facts)]
    return found[0] if len(found) == 1 else None


def _matches(row: Row, facts: Mapping[str, Any]) -> bool:
    """As Row.matches, but a counterexample may leave facts out: only a row that takes anything
    there matches then."""
    number = facts.get("participants")
    return (
        _holds(row.districts, DISTRICTS, facts.get("district"))
        and _holds(row.newborn, (False, True), facts.get("newborn"))
        and _holds(row.sides, SIDES, facts.get("side"))
        and (
            (row.low, row.high) == (0, MOST)
            or (number is not None and row.low <= number <= row.high)
        )
    )


def _holds(values: Sequence[Any], whole: Sequence[Any], fact: Any) -> bool:
    return values == whole or fact in values


def _zen_file(rows: Sequence[Row], folder: Path) -> Path:
    path = folder / "zen.json"
    path.write_text(json.dumps(contenders.graphs(rows)), encoding="utf-8")
    return path


def _load_zen(path: Path) -> Any:
    return contenders.zen_engine(json.loads(path.read_text(encoding="utf-8")))
