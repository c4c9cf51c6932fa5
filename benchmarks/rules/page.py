"""The page: what was measured, as tables, and whether the goals were reached."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.report import Section, Table, median_ratio, ratio, spread
from benchmarks.rules.results import EXPLAIN, EXPLAIN_JSON, OURS, Rates, Results


@dataclass(frozen=True, slots=True)
class _Timed:
    """A row of the table of times, and the goal where there is one."""

    key: str
    what: str
    goal: str = ""
    limit_s: float = 0.0


_TIMES = (
    _Timed("load", "load the folder: read, check and compile"),
    _Timed("load, zen", "zen-engine: read the same rows as its JSON, and compile"),
    _Timed("verify", "prove: no gap, overlap, dead row or unknown name", "A table is proved", 0.1),
    _Timed("verify, a gap", "the same, with one gap to be found and shown"),
    _Timed(
        "edit", "edit one row and prove all again", "After an edit of one row, edit included", 0.001
    ),
    _Timed(
        "difference, few",
        "difference of two releases: 1% of the rows lead elsewhere",
        "Difference, 1% of the rows changed",
        0.1,
    ),
    _Timed(
        "difference, all",
        "difference: a row in every service leads elsewhere",
        "Difference, every service changed",
        0.1,
    ),
    _Timed("difference, anew", "difference: every service cut anew, no row in common"),
)


def sections(results: Results) -> list[Section]:
    return [_decisions(results), _explanations(results), _proofs(results), _memory(results)]


def _decisions(results: Results) -> Section:
    least, largest = results.sizes[0], results.sizes[-1]
    own = results.rates[largest][OURS]
    rows = [
        (
            f"**{name}**" if name == OURS else name,
            *(spread(results.rates[size][name]) for size in results.sizes),
            ratio(own, rates),
            ratio(results.rates[least][name], rates),
        )
        for name, rates in _ordered(results.rates[largest])
    ]
    head = ("who decides", *(f"{size:,} rules" for size in results.sizes))
    to_us = (f"casebus to it at {largest:,}", f"times slower from {least:,} to {largest:,}")
    quickest = _ordered({name: results.rates[largest][name] for name in results.zen_tables})[0][0]
    ways = [
        (name, spread(rates), ratio(results.ways[quickest], rates))
        for name, rates in _ordered(results.ways)
    ]
    slower = median_ratio(results.rates[least][OURS], own)
    goals = [
        _goal(f"At least 25 times {name} at {largest:,} rules", times >= 25, f"{times:.1f} times")
        for name in (quickest, *results.zen_others)
        for times in (median_ratio(own, results.rates[largest][name]),)
    ]
    goals.append(
        _goal(
            f"With {largest:,} rules at most 1.3 times slower than with {least:,}",
            slower <= 1.3,
            f"{slower:.2f} times",
        )
    )
    return Section(
        "Decisions",
        "How many cases a second does one thread decide?",
        f"Tables of {_listed(results.sizes)} rules ({_listed(results.services.values())} services)"
        " from a seed: each case meets exactly one rule. A rule restricts district (lists), "
        f"participants (ranges), newborn and side as the seed wants it. {results.cases:,} cases, "
        "half of their numbers at the border of a rule, are dicts as a JSON decoder makes them. "
        "Before the clock ran, every contender had to name the rule that decides in all of them. "
        "casebus checks the facts and answers with the whole decision: agency, chain, facts "
        "looked at, version; the others answer with the rule's id. All in one process, "
        f"{results.turns} turns of {results.seconds} s each, begun by another one each turn, all "
        "sizes in one round. In each cell: median (least - most) in decisions a second. Seconds on "
        "this page are of the processor's time, so what else the machine does hardly counts.",
        (
            Table((*head, *to_us), tuple(rows)),
            Table(
                (f"zen-engine with tables, {largest:,} rules", "decisions/s", "the quickest to it"),
                tuple(ways),
            ),
        ),
        tuple(goals),
        (
            "zen-engine converts facts and answers between Python and Rust at each call; in a "
            "Rust program it has neither cost.",
            "Its expressions and those of CEL and rule-engine were made from the rows, what is "
            "cheap to test first; nobody would keep a city's rules so, and none tells why.",
            "The loop in Python checks nothing: a wrong type or an unknown district is a silent "
            "miss there. It is quick because a service has few rows; it slows with their number.",
            "The largest tables do not fit the core's own cache. What else runs contends for the "
            "shared one, and slows some more than others: ratios at "
            f"{largest:,} rules are to be read from a run on a quiet machine, whose load average "
            "above is near 0.",
            "json-logic is panzi-json-logic, the quickest of four tried that run on Python "
            "3.11; maykin-json-logic-py, which is maintained, needs Python 3.12.",
        ),
    )


def _explanations(results: Results) -> Section:
    own = results.explained[EXPLAIN]
    rows = [
        (f"**{name}**" if name == EXPLAIN else name, spread(rates), ratio(own, rates))
        for name, rates in _ordered(results.explained)
    ]
    traces = [name for name in results.explained if name not in (EXPLAIN, EXPLAIN_JSON)]
    return Section(
        "Explanations",
        f"How many decisions among {results.sizes[-1]:,} rules are explained a second?",
        "casebus tells the rule that decides, the rules that match and are overruled, and the "
        "five that come nearest, with each cell that the case misses. zen-engine's trace tells "
        "the row that decides and what was compared in it. The same cases and turns as above.",
        (Table(("who explains", "explanations/s", "casebus to it"), tuple(rows)),),
        tuple(
            _goal(f"At least 50 times {name}", times >= 50, f"{times:.1f} times")
            for name in traces
            for times in (median_ratio(own, results.explained[name]),)
        ),
        ("The two do not tell the same; a trace has nothing on rules that were nearly met.",),
    )


def _proofs(results: Results) -> Section:
    rows, goals = [], []
    for one in _TIMES:
        found = results.seconds_of[one.key]
        rows.append((one.what, _milliseconds(found)))
        if one.limit_s:
            middle = statistics.median(found)
            text = f"{one.goal}, within {one.limit_s * 1000:g} ms"
            goals.append(_goal(text, middle <= one.limit_s, f"{middle * 1000:.2f} ms"))
    return Section(
        "Proofs",
        f"How long does a table of {results.sizes[-1]:,} rules take to load, to prove and to "
        "compare?",
        "Each turn on rule sets loaded anew, so that nothing is kept from the turn before; loading"
        " is not counted but in its own rows. Edits are a chain as in an editor: a row gets a gap,"
        " is proved, is mended, is proved, each on the proof before; the first counts too. Each "
        "result is checked: the gap with its case, exactly the services that changed, and for "
        "each change a case that the two decide otherwise. No peer here proves or compares.",
        (Table(("what", "ms: median (least - most)"), tuple(rows)),),
        tuple(goals),
    )


def _memory(results: Results) -> Section:
    largest = results.sizes[-1]
    rows = [
        (f"**{name}**" if name == OURS else name, f"{found / largest:,.0f}")
        for name, found in sorted(results.bytes_of.items(), key=lambda item: item[1])
    ]
    return Section(
        "Memory",
        f"How much memory does a rule take, of {largest:,}?",
        "The growth of the resident memory (VmRSS) of a process of its own, from before the table "
        f"is loaded until it has decided {results.cases:,} cases. casebus keeps the rows for "
        "explanations and the document that travels with a release; zen-engine its decisions.",
        (Table(("who", "bytes a rule"), tuple(rows)),),
    )


def _goal(text: str, reached: bool, found: str) -> str:
    return f"{text}: {'reached' if reached else 'missed'}, {found}."


def _ordered(rates: Rates) -> list[tuple[str, list[float]]]:
    """The quickest first."""
    return sorted(rates.items(), key=lambda item: -statistics.median(item[1]))


def _listed(numbers: Iterable[int]) -> str:
    *some, last = (f"{number:,}" for number in numbers)
    return f"{', '.join(some)} and {last}"


def _milliseconds(seconds: Sequence[float]) -> str:
    middle, *ends = (one * 1000 for one in (statistics.median(seconds), min(seconds), max(seconds)))
    if len(seconds) == 1:
        return f"{middle:,.2f}"
    return f"{middle:,.2f} ({ends[0]:,.2f} - {ends[1]:,.2f})"
