"""The quick way from facts to a decision.

For each service a plan is laid out as one flat tuple, its way; a function that takes facts and
a way decides. What such a function does depends on nothing but which inputs are looked at, so
its source is written once for each such choice. Texts that the rules name have a number each,
and a way has a tuple of bitmaps by that number: a city's rules are more than a processor keeps
at hand, and every object left out is one that it need not fetch.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.router.rules.decision import Decision, Outcome
from services.router.rules.inputs import Fact, Input
from services.router.rules.plans import Facts, Index, Plan

# Of bitmaps whose outcome is kept; beyond it they are worked out each time.
_MOST_KEPT = 4096
# An input that names more texts has a dict of its own in each way.
_MOST_NUMBERED = 64
_UNBOUNDED = 10**30

Way = tuple[Any, ...]
Decide = Callable[[Facts, Way], Decision]


class Deciders:
    """Makes ways and the functions that take them, for one rule set."""

    def __init__(
        self,
        ruleset: str,
        version: str,
        plans: Sequence[Plan],
        known: Mapping[str, frozenset[str]],
    ) -> None:
        self._ruleset = ruleset
        self._version = version
        self._known = known
        self._functions: dict[tuple[str, ...], Decide] = {}
        # Equal bitmaps are one object.
        self._bitmaps: dict[int, int] = {}
        texts: dict[str, set[Any]] = {}
        for plan in plans:
            for index in plan.indexes:
                if index.input.type == "text":
                    texts.setdefault(index.input.name, set()).update(index.named)
        self._numbers: dict[str, dict[str | None, int]] = {}
        for name, named in texts.items():
            possible = known.get(name, named)
            if len(possible) < _MOST_NUMBERED:
                numbers = {value: number for number, value in enumerate(sorted(possible))}
                self._numbers[name] = {**numbers, None: len(numbers)}

    def make(self, service: str, plan: Plan) -> tuple[Decide, Way]:
        """How the cases of `service` are decided. The function raises FactError."""
        names = tuple(index.input.name for index in plan.indexes)
        function = self._functions.get(names)
        if function is None:
            inputs = [index.input for index in plan.indexes]
            function = self._functions[names] = self._function(inputs)
        kept: dict[int, Outcome] = {}
        laid_out: list[Any] = [service, plan, kept]
        if not names:
            kept[0] = plan.outcome(plan.everything)
        for index in plan.indexes:
            laid_out.extend(self._laid_out(index))
        return function, tuple(laid_out)

    def _laid_out(self, index: Index) -> list[Any]:
        one, only = index.input, self._bitmaps
        if one.type == "yes_no":
            found = (index.by_value[True], index.by_value[False], index.missing)
            return [only.setdefault(bits, bits) for bits in found]
        if one.type != "text":
            return [index.cuts, tuple([only.setdefault(bits, bits) for bits in index.between])]
        values = self._numbers.get(one.name) or self._known.get(one.name) or index.named
        by_value = {
            value: only.setdefault(bits, bits)
            for value in values
            if value is not None
            for bits in (index.by_value.get(value, index.other),)
        }
        by_value[None] = only.setdefault(index.missing, index.missing)
        return [tuple(by_value.values()) if one.name in self._numbers else by_value]

    def _function(self, inputs: Sequence[Input]) -> Decide:
        # Names are small letters, digits and _ (inputs.py); nothing else of a table is in here.
        parts, steps = ["service", "plan", "kept"], []
        scope: dict[str, Any] = {
            "bisect": bisect_right,
            "wrong": {},
            "new": tuple.__new__,
            "slowly": self._slowly,
            "Decision": Decision,
            "ruleset": self._ruleset,
            "version": self._version,
            "names": ("service", *(one.name for one in inputs)),
        }
        for i, one in enumerate(inputs):
            value = f"v{i} := get({one.name!r})"
            if one.type == "yes_no":
                parts += [f"y{i}", f"x{i}", f"m{i}"]
                steps.append(
                    f"(y{i} if ({value}) is True else x{i} if v{i} is False"
                    f" else m{i} if v{i} is None else wrong[v{i}])"
                )
            elif one.type == "text":
                parts.append(f"t{i}")
                if one.name in self._numbers:
                    scope[f"number{i}"] = self._numbers[one.name]
                    steps.append(f"t{i}[number{i}[{value}]]")
                else:
                    steps.append(f"t{i}[{value}]")
            else:
                parts += [f"c{i}", f"b{i}"]
                low = one.least if one.least is not None else -_UNBOUNDED
                high = one.most if one.most is not None else _UNBOUNDED
                quick = f"type({value}) is int and {low} <= v{i} <= {high}"
                if one.type == "date":
                    quick = f"({value}) is wrong"
                steps.append(f"(b{i}[bisect(c{i}, v{i})] if {quick} else wrong[v{i}])")
        values = "".join(f", v{i}" for i in range(len(inputs)))
        # What the quick way cannot take, a missing number, an unknown value or one of the wrong
        # type, raises; the slow way deals with it, or says what is wrong.
        source = (
            "def decide(facts, way):\n"
            "  get = facts.get\n"
            f"  {', '.join(parts)} = way\n"
            "  try:\n"
            f"   following = kept[{' & '.join(steps) or '0'}]\n"
            "  except (KeyError, TypeError):\n"
            "   return slowly(facts, service, plan, kept, names)\n"
            f"  return new(Decision, (ruleset, version, names, (service{values},), following))\n"
        )
        exec(source, scope)  # noqa: S102 - made of the fixed pieces above
        made: Decide = scope["decide"]
        return made

    def _slowly(
        self,
        facts: Facts,
        service: str,
        plan: Plan,
        kept: dict[int, Outcome],
        names: tuple[str, ...],
    ) -> Decision:
        bits = plan.bits(facts, self._known)
        outcome = kept.get(bits)
        if outcome is None:
            outcome = plan.outcome(bits)
            if len(kept) < _MOST_KEPT:
                kept[bits] = outcome
        values: tuple[Fact, ...] = (service, *(facts.get(name) for name in names[1:]))
        return Decision(self._ruleset, self._version, names, values, outcome)
