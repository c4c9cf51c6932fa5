"""Why a case goes where it goes, why not to another agency, and which rows it just missed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from services.router.rules.decision import Decision
from services.router.rules.inputs import Fact
from services.router.rules.plans import Facts, Plan, bits_of
from services.router.rules.rows import Lead, Row
from services.router.rules.ruleset import RuleSet

NEAREST = 5
# The quickest way to make a named tuple, of which an explanation has a dozen.
_new = tuple.__new__
State = Literal["decides", "overruled", "candidate", "tried", "misses"]
Reason = Literal["leads", "overruled", "tied", "tried", "misses", "no_row", "unknown_agency"]
_REASONS: Mapping[State, Reason] = {
    "decides": "leads",
    "candidate": "tied",
    "overruled": "overruled",
    "tried": "tried",
    "misses": "misses",
}


class Miss(NamedTuple):
    """A cell that the case does not fit."""

    input: str
    cell: str
    fact: Fact


class Looked(NamedTuple):
    """A row of lead as the case met it."""

    row: Row
    state: State
    misses: tuple[Miss, ...] = ()

    @property
    def agency(self) -> str:
        return self.row.output.agency if isinstance(self.row.output, Lead) else ""

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.row.id,
            "row": self.row.number,
            "agency": self.agency,
            "state": self.state,
            "misses": [
                {"input": miss.input, "cell": miss.cell, "fact": miss.fact} for miss in self.misses
            ],
        }


@dataclass(frozen=True, slots=True)
class WhyNot:
    agency: str
    reason: Reason
    rows: tuple[Looked, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "agency": self.agency,
            "reason": self.reason,
            "rows": [row.to_json() for row in self.rows],
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision, and the rows of lead that decide, match, or come nearest, in that order."""

    decision: Decision
    lead: tuple[Looked, ...]
    why_not: WhyNot | None = None

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "decision": self.decision.to_json(),
            "lead": [row.to_json() for row in self.lead],
        }
        if self.why_not is not None:
            found["why_not"] = self.why_not.to_json()
        return found


def explain(
    rules: RuleSet,
    facts: Facts,
    why_not: str | None = None,
    without: Collection[str] = (),
    agencies: Collection[str] | None = None,
) -> Explanation:
    """The decision for a case with its reasons.

    `why_not` is the code of an agency that one would have expected; `agencies` are all that
    there are (those of the rule set's names when left out). Raises FactError.
    """
    decision = rules.decide(facts, without)
    plan = rules.plan(facts["service"])
    look = _Look(rules, plan, facts, without)
    if why_not is None:
        return Explanation(decision, look.nearest())
    if agencies is None and rules.names is not None:
        agencies = rules.names.agencies
    return Explanation(decision, look.nearest(), look.why_not(why_not, agencies))


class _Look:
    """The rows of lead of one service, and which cells of each the case fits."""

    def __init__(self, rules: RuleSet, plan: Plan, facts: Facts, without: Collection[str]) -> None:
        self.plan = plan
        # Of each input that is looked at: name, place, the fact, and the rows that it leaves.
        self.columns = [
            (
                name := index.input.name,
                index.place,
                fact := facts.get(name),
                index.of(fact, rules.known.get(name)),
            )
            for index in plan.indexes
        ]
        self.tried = plan.tried(without) if without else 0
        matching = plan.masks["lead"]
        for _, _, _, bits in self.columns:
            matching &= bits
        self.matching = matching
        self.top = plan.top(matching & ~self.tried, "lead")

    def nearest(self) -> tuple[Looked, ...]:
        found = [self._looked(bit) for bit in self._ordered(self.top)]
        found += [self._looked(bit) for bit in self._ordered(self.matching & ~self.top)]
        wanted = NEAREST
        # Which rows miss by no cell, by one, by two...: each column moves those that it leaves
        # out one place on.
        by_misses = [self.plan.masks["lead"]]
        for _, _, _, bits in self.columns:
            following, moved = [], 0
            for rows in by_misses:
                following.append((rows & bits) | moved)
                moved = rows & ~bits
            by_misses = [*following, moved]
        for missing in by_misses[1:]:
            if missing:
                near = self._ordered(missing)[:wanted]
                found += [self._looked(bit) for bit in near]
                wanted -= len(near)
                if not wanted:
                    break
        return tuple(found)

    def why_not(self, agency: str, agencies: Collection[str] | None) -> WhyNot:
        bits = [
            bit
            for bit in self._ordered(self.plan.masks["lead"])
            if isinstance(one := self.plan.rows[bit].output, Lead) and one.agency == agency
        ]
        rows = sorted((self._looked(bit) for bit in bits), key=_rank)
        if rows:
            return WhyNot(agency, _REASONS[rows[0].state], tuple(rows))
        unknown = agencies is not None and agency not in agencies
        return WhyNot(agency, "unknown_agency" if unknown else "no_row", ())

    def _ordered(self, bits: int) -> Sequence[int]:
        """The bits in the order of the file."""
        rows = self.plan.rows
        found = bits_of(bits)
        if self.plan.in_order or len(found) < 2:
            return found
        return sorted(found, key=lambda bit: rows[bit].number)

    def _looked(self, bit: int) -> Looked:
        row, one = self.plan.rows[bit], 1 << bit
        if one & self.top:
            return Looked(row, "decides" if self.top == one else "candidate")
        if one & self.matching:
            return Looked(row, "tried" if one & self.tried else "overruled")
        conditions = row.conditions
        misses = [
            _new(Miss, (name, conditions[place].text, fact))
            for name, place, fact, bits in self.columns
            if not bits & one
        ]
        return _new(Looked, (row, "misses", tuple(misses)))


_STATES: tuple[State, ...] = ("decides", "candidate", "overruled", "tried", "misses")


def _rank(looked: Looked) -> tuple[int, int, int]:
    return (_STATES.index(looked.state), len(looked.misses), looked.row.number)
