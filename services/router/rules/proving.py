"""What is proved of one service: a question at a time, over the space of all its cases."""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, TypeVar

from services.router.rules.findings import Finding, example_line
from services.router.rules.inputs import Fact
from services.router.rules.names import RowCheck
from services.router.rules.plans import TABLES, Plan, bits_of
from services.router.rules.rows import Deadline, JointReview, Lead, Row, meaning
from services.router.rules.ruleset import RuleSet
from services.router.rules.space import Space, TooIntertwinedError

# Of R102, R301 and R303 so many are told for a service and table: who mends these sees the rest.
_MOST_TOLD = 20
# Steps for the widest box that shows a finding; beyond them one way that shows it will do.
_STEPS_TO_SHOW = 100_000
# Sets of rows of joint_review that say the same: beyond this no row is proved to be needed.
_MOST_ALIKE = 20_000
T = TypeVar("T", bound=Hashable)
Key = tuple[str, str]
"""A row by its table and its id."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """A row that decides nothing in a service: the ids of those that decide instead, whether
    some case that can happen matches it, and whether some that cannot does."""

    row: Row
    winners: frozenset[str]
    seen: bool
    assumed: bool


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of one service.

    `idle` are exceptions that overrule nothing there; `alike` the sets of rows of joint_review
    that some case matches all of, and that say the same; `steps` what the proof took.
    """

    plan: Plan
    findings: tuple[Finding, ...]
    quiet: Mapping[Key, Quiet]
    idle: Mapping[Key, Row]
    alike: frozenset[frozenset[str]]
    steps: int


class Prover:
    """One service, table by table."""

    def __init__(
        self,
        rules: RuleSet,
        service: str,
        plan: Plan,
        known: Mapping[str, frozenset[str]],
        budget: int,
        check: RowCheck,
    ) -> None:
        self.rules = rules
        self.service = service
        self.plan = plan
        self.known = known
        self.budget = budget
        self.findings: list[Finding] = []
        self.quiet: dict[Key, Quiet] = {}
        self.idle: dict[Key, Row] = {}
        self.alike: set[frozenset[str]] = set()
        self.steps = 0
        for table in TABLES:
            for row in plan.tables[table]:
                if not check.fine(row):
                    self.findings.extend(check.findings(row, table))

    def proof(self) -> Proof:
        tables = self.plan.tables
        self._attempt(self._single, "lead")
        if self.rules.tables["deadline"].rows:
            self._attempt(self._single, "deadline")
        if tables["joint_review"]:
            # Until it is proved that another row says the same, each is needed.
            self.alike = {frozenset([row.id]) for row in tables["joint_review"]}
            self._attempt(self._collected, "joint_review")
            if not self._agencies("lead").isdisjoint(self._agencies("joint_review")):
                self._attempt(self._reviews_itself, "lead", "joint_review")
        if any(isinstance(row.output, Deadline) and row.output.steps for row in tables["deadline"]):
            self._attempt(self._misfits, "lead", "deadline")
        alike = frozenset(self.alike)
        return Proof(self.plan, tuple(self.findings), self.quiet, self.idle, alike, self.steps)

    def _attempt(self, question: Callable[[str, Space], None], *tables: str) -> None:
        """A question about the last of the tables, over the cases that these tell apart."""
        mask = self.plan.masks["assume"]
        for table in tables:
            mask |= self.plan.masks[table]
        try:
            space = Space(self.plan.all_indexes, mask, self.known, self.budget)
        except TooIntertwinedError:
            self.steps += self.budget
            self._give_up(table)
        else:
            question(table, space)
            self.steps += space.steps

    def _give_up(self, table: str) -> None:
        self._tell(
            "R401",
            table,
            0,
            "not proved: its rows are too many and too intertwined;"
            " divide the service, or use fewer inputs in one row",
        )

    def _single(self, table: str, space: Space) -> None:
        """Tables where one row decides: gaps, overlaps, rows that never do, idle exceptions."""
        mine = self.plan.masks[table]
        top = overruling = 0
        by_top: dict[int, list[int]] = {}
        for bits in self._possible(space):
            first = self.plan.top(bits, table)
            if first not in by_top:
                by_top[first] = []
                top |= first
            by_top[first].append(bits)
            if bits != first:
                overruling |= first
        if 0 in space.leaves:
            self._gap(table, space)
        for tied in sorted(first for first in by_top if first & (first - 1))[:_MOST_TOLD]:
            rows = ", ".join(row.id for row in self.plan.rows_in(tied))
            self._show("R102", table, tied, f"{rows} match all at once", space, by_top[tied])
        if silent := mine & ~top:
            only_assumed = self._only_assumed(space)
            matched = {first: reduce(or_, leaves) for first, leaves in by_top.items()}
        for bit in bits_of(silent):
            row = self.plan.rows[bit]
            over = [first for first, together in matched.items() if together >> bit & 1]
            self.quiet[table, row.id] = Quiet(
                row,
                frozenset(other.id for other in self.plan.rows_in(reduce(or_, over, 0))),
                bool(over),
                bool(only_assumed >> bit & 1),
            )
        if self.rules.tables[table].policy == "UNIQUE":
            for bit in bits_of(mine & ~overruling):
                if (row := self.plan.rows[bit]).priority:
                    self.idle[table, row.id] = row

    def _by(self, space: Space, key: Callable[[int], T]) -> dict[T, list[int]]:
        """The leaves of cases that can happen, by their key."""
        found: dict[T, list[int]] = {}
        for bits in self._possible(space):
            found.setdefault(key(bits), []).append(bits)
        return found

    def _possible(self, space: Space) -> Collection[int]:
        """The leaves of cases that can happen."""
        assumed = self.plan.masks["assume"]
        return [bits for bits in space.leaves if not bits & assumed] if assumed else space.leaves

    def _only_assumed(self, space: Space) -> int:
        """The rows that match cases that cannot happen."""
        assumed = self.plan.masks["assume"]
        return reduce(or_, (bits for bits in space.leaves if bits & assumed), 0) if assumed else 0

    def _gap(self, table: str, space: Space) -> None:
        try:
            regions = space.boxes_of({0}, _STEPS_TO_SHOW)
        except TooIntertwinedError:
            box, more = space.way(0), " (and more such)"
        else:
            box, others = regions[0], sum(map(space.cells_in, regions)) - 1
            more = f" (and {others} more such)" if others else ""
        message = f"no row decides: {space.described(box)}{more}"
        self._tell("R101", table, 0, message, space.facts(box))

    def _collected(self, table: str, space: Space) -> None:
        """Rows that all count: those that no case matches, and those that say the same."""
        possible = self._possible(space)
        seen = reduce(or_, possible, 0)
        only_assumed = self._only_assumed(space)
        saying: dict[Any, int] = {}
        for bit in bits_of(self.plan.masks[table]):
            row = self.plan.rows[bit]
            saying[meaning(row.output)] = saying.get(meaning(row.output), 0) | 1 << bit
            if not seen >> bit & 1:
                assumed_away = bool(only_assumed >> bit & 1)
                self.quiet[table, row.id] = Quiet(row, frozenset(), False, assumed_away)
        alike: set[int] = set()
        for same in saying.values():
            if same & (same - 1):
                self.steps += len(possible)
                alike.update(bits & same for bits in possible)
            else:
                alike.add(seen & same)
            if len(alike) > _MOST_ALIKE:
                self._give_up(table)
                return
        alike.discard(0)
        self.alike = {frozenset(row.id for row in self.plan.rows_in(bits)) for bits in alike}

    def _agencies(self, table: str) -> set[str]:
        return {_agency(row) for row in self.plan.tables[table]}

    def _reviews_itself(self, table: str, space: Space) -> None:
        asking: dict[str, int] = {}
        for bit in bits_of(self.plan.masks[table]):
            agency = _agency(self.plan.rows[bit])
            asking[agency] = asking.get(agency, 0) | 1 << bit
        by_lead = self._by(space, lambda bits: self.plan.top(bits, "lead"))
        left = _MOST_TOLD
        for first in sorted(filter(_is_one, by_lead)):
            (lead,) = self.plan.rows_in(first)
            if asked := asking.get(_agency(lead), 0):
                asked &= reduce(or_, by_lead[first])
                for bit in bits_of(asked)[:left]:
                    left -= 1
                    message = f"{self.plan.rows[bit].id} asks the agency that leads by {lead.id}"
                    leaves = [bits for bits in by_lead[first] if bits >> bit & 1]
                    self._show("R301", table, 1 << bit, message, space, leaves)

    def _misfits(self, table: str, space: Space) -> None:
        """Steps of a deadline that are not one for each agency of the lead and its chain."""
        top = self.plan.top
        by_rows = self._by(space, lambda bits: (top(bits, "lead"), top(bits, table)))
        left = _MOST_TOLD
        for first, limit in sorted(pair for pair in by_rows if all(map(_is_one, pair))):
            lead, deadline = (self.plan.rows_in(bits)[0].output for bits in (first, limit))
            if not isinstance(lead, Lead) or not isinstance(deadline, Deadline):
                continue
            agencies = 1 + len(lead.chain)
            if left and len(deadline.steps) not in (0, agencies):
                left -= 1
                message = (
                    f"{deadline.rule} has {len(deadline.steps)} steps,"
                    f" {lead.rule} {agencies} agencies"
                )
                self._show("R303", table, limit, message, space, by_rows[first, limit])

    def _show(
        self, code: str, table: str, bits: int, message: str, space: Space, leaves: Sequence[int]
    ) -> None:
        """Tell a finding about these rows with a box of cases of the leaves."""
        try:
            box = space.boxes_of(set(leaves), _STEPS_TO_SHOW)[0]
        except TooIntertwinedError:
            box = space.way(min(leaves))
        self._tell(code, table, bits, f"{message}: {space.described(box)}", space.facts(box))

    def _tell(
        self,
        code: str,
        table: str,
        bits: int,
        message: str,
        facts: Mapping[str, Fact] | None = None,
    ) -> None:
        rows = self.plan.rows_in(bits)
        case = {"service": self.service, **facts} if facts is not None else None
        self.findings.append(
            Finding(
                code,
                table,
                tuple(row.id for row in rows),
                tuple(row.number for row in rows),
                f"{self.service}: {message}",
                case,
                example_line(self.rules, code, case) if case is not None else None,
            )
        )


def _agency(row: Row) -> str:
    return row.output.agency if isinstance(row.output, Lead | JointReview) else ""


def _is_one(bits: int) -> bool:
    return bits > 0 and not bits & (bits - 1)
