"""The quick way from facts to a decision: a function for each service, made from its plan.

What such a function does depends on nothing but the types of the inputs that the plan looks
at, so its source is written once for each sequence of types, and filled with the indexes.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from services.router.rules.decision import Decision, Outcome
from services.router.rules.inputs import Fact
from services.router.rules.plans import Facts, Index, Plan

# Of bitmaps whose outcome is kept; beyond it they are worked out each time.
_MOST_KEPT = 4096
Decider = Callable[[Facts], Decision]


def decider(
    ruleset: str, version: str, service: str, plan: Plan, known: Mapping[str, frozenset[str]]
) -> Decider:
    """Decides the cases of `service`; the function raises FactError."""
    kept: dict[int, Outcome] = {}
    names = ("service", *(index.input.name for index in plan.indexes))

    def slow(facts: Facts) -> Decision:
        bits = plan.bits(facts, known)
        outcome = kept.get(bits)
        if outcome is None:
            outcome = plan.outcome(bits)
            if len(kept) < _MOST_KEPT:
                kept[bits] = outcome
        values: tuple[Fact, ...] = (service, *(facts.get(name) for name in names[1:]))
        return Decision(ruleset, version, names, values, outcome)

    if not plan.indexes:
        only = Decision(ruleset, version, names, (service,), plan.outcome(plan.everything))
        return lambda facts: only
    arguments: list[Any] = [kept, slow, ruleset, version, names, service]
    for index in plan.indexes:
        arguments.append(index.input.name)
        arguments.extend(_arguments(index, known.get(index.input.name)))
    made: Decider = _source(tuple(index.input.type for index in plan.indexes))(*arguments)
    return made


def _arguments(index: Index, known: frozenset[str] | None) -> list[Any]:
    one = index.input
    if one.type == "yes_no":
        return [index.by_value[True], index.by_value[False], index.missing]
    if one.type == "text":
        by_value = dict(index.by_value)
        if known is not None:
            # Of a closed input every value that it can have, and no other.
            by_value = {value: index.by_value.get(value, index.other) for value in known}
            by_value[None] = index.missing
        return [by_value]
    low = one.least if one.least is not None else -(10**30)
    high = one.most if one.most is not None else 10**30
    return [low, high, list(index.cuts), list(index.between)]


# How the fact v becomes a bitmap, by the type of its input. What the quick way cannot take, a
# missing number, an unknown value or one of the wrong type, raises, and the slow way deals
# with it, or says what is wrong.
_STEPS = {
    "text": ("t{0}", "t{0}[v{0} := get(n{0})]"),
    "yes_no": (
        "y{0}, x{0}, m{0}",
        "(y{0} if (v{0} := get(n{0})) is True else x{0} if v{0} is False"
        " else m{0} if v{0} is None else wrong[v{0}])",
    ),
    "integer": (
        "l{0}, h{0}, c{0}, b{0}",
        "(b{0}[bisect(c{0}, v{0})]"
        " if type(v{0} := get(n{0})) is int and l{0} <= v{0} <= h{0} else wrong[v{0}])",
    ),
    "date": ("l{0}, h{0}, c{0}, b{0}", "wrong[v{0} := get(n{0})]"),
}


@lru_cache(maxsize=4096)
def _source(types: tuple[str, ...]) -> Callable[..., Decider]:
    places = list(enumerate(types))
    names = ", ".join(f"n{i}, " + _STEPS[kind][0].format(i) for i, kind in places)
    bits = " & ".join(_STEPS[kind][1].format(i) for i, kind in places)
    values = ", ".join(f"v{i}" for i, _ in places)
    source = (
        f"def make(kept, slow, ruleset, version, names, service, {names}):\n"
        " def decide(facts):\n"
        "  get = facts.get\n"
        "  try:\n"
        f"   following = kept[{bits}]\n"
        "  except (KeyError, TypeError):\n"
        "   return slow(facts)\n"
        f"  return new(Decision, (ruleset, version, names, (service, {values}), following))\n"
        " return decide\n"
    )
    scope: dict[str, Any] = {
        "bisect": bisect_right,
        "wrong": {},
        "new": tuple.__new__,
        "Decision": Decision,
    }
    exec(source, scope)  # noqa: S102 - made of the fixed pieces above and numbers, nothing else
    made: Callable[..., Decider] = scope["make"]
    return made
