"""What is proved of one service: a question at a time, over the space of all its cases."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from services.router.rules.findings import Finding, example_line
from services.router.rules.inputs import Fact
from services.router.rules.names import RowCheck
from services.router.rules.plans import TABLES, Plan, bits_of
from services.router.rules.rows import Deadline, JointReview, Lead, Row, meaning
from services.router.rules.ruleset import RuleSet
from services.router.rules.space import Space, TooIntertwinedError, described

_MOST_TIES = 20
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
    that some case matches all of, and that say the same.
    """

    plan: Plan
    findings: tuple[Finding, ...]
    quiet: Mapping[Key, Quiet]
    idle: Mapping[Key, Row]
    alike: frozenset[frozenset[str]]


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
        for table in TABLES:
            for row in plan.tables[table]:
                if not check.fine(row):
                    self.findings.extend(check.findings(row, table))

    def proof(self) -> Proof:
        tables = self.plan.tables
        self._attempt("lead", self._single)
        if self.rules.tables["deadline"].rows:
            self._attempt("deadline", self._single)
        if tables["joint_review"]:
            self._attempt("joint_review", self._collected)
            self._attempt("joint_review", self._reviews_itself)
        if any(isinstance(row.output, Deadline) and row.output.steps for row in tables["deadline"]):
            self._attempt("deadline", self._steps)
        return Proof(self.plan, tuple(self.findings), self.quiet, self.idle, frozenset(self.alike))

    def _attempt(self, table: str, question: Any) -> None:
        try:
            question(table)
        except TooIntertwinedError:
            self._tell(
                "R401",
                table,
                0,
                "not proved: its rows are too many and too intertwined;"
                " divide the service, or use fewer inputs in one row",
            )

    def _space(self, *tables: str) -> Space:
        mask = self.plan.masks["assume"]
        for table in tables:
            mask |= self.plan.masks[table]
        return Space(self.plan.all_indexes, mask, self.known, self.budget)

    def _single(self, table: str) -> None:
        """Tables where one row decides: gaps, overlaps, rows that never do, idle exceptions."""
        space = self._space(table)
        assumed, mine = self.plan.masks["assume"], self.plan.masks[table]
        seen = top = only_assumed = overruling = 0
        ties: set[int] = set()
        for bits in space.leaves:
            if bits & assumed:
                only_assumed |= bits
                continue
            first = self.plan.top(bits, table)
            seen |= bits
            top |= first
            if first & (first - 1):
                ties.add(first)
            if bits != first:
                overruling |= first
        if 0 in space.leaves:
            self._gap(table, space)
        for tied in sorted(ties)[:_MOST_TIES]:
            rows = ", ".join(row.id for row in self.plan.rows_in(tied))
            message = f"{rows} match all at once"
            self._show("R102", table, tied, message, space, self._tops(table, tied))
        for bit in bits_of(mine & ~top):
            row = self.plan.rows[bit]
            winners = {
                other.id
                for bits in space.leaves
                if bits >> bit & 1 and not bits & assumed
                for other in self.plan.rows_in(self.plan.top(bits, table))
            }
            self.quiet[table, row.id] = Quiet(
                row, frozenset(winners), bool(seen >> bit & 1), bool(only_assumed >> bit & 1)
            )
        if self.rules.tables[table].policy == "UNIQUE":
            for bit in bits_of(mine & ~overruling):
                if (row := self.plan.rows[bit]).priority:
                    self.idle[table, row.id] = row

    def _tops(self, table: str, rows: int) -> Callable[[int], bool]:
        """Leaves of cases that can happen, where `rows` have the highest priority of all."""
        assumed = self.plan.masks["assume"]
        return lambda leaf: self.plan.top(leaf, table) == rows and not leaf & assumed

    def _gap(self, table: str, space: Space) -> None:
        regions = space.boxes(lambda bits: None if bits else True)[True]
        cells = [cell for box in regions for cell in space.cells(box)]
        more = f" (and {len(cells) - 1} more such)" if len(cells) > 1 else ""
        message = f"no row decides: {described(cells[0])}{more}"
        self._tell("R101", table, 0, message, space.facts(regions[0]))

    def _collected(self, table: str) -> None:
        space = self._space(table)
        assumed, mine = self.plan.masks["assume"], self.plan.masks[table]
        seen = only_assumed = 0
        for bits in space.leaves:
            if bits & assumed:
                only_assumed |= bits
                continue
            seen |= bits
            alike: dict[Any, list[str]] = {}
            for row in self.plan.rows_in(bits):
                alike.setdefault(meaning(row.output), []).append(row.id)
            self.alike.update(map(frozenset, alike.values()))
        for bit in bits_of(mine & ~seen):
            row = self.plan.rows[bit]
            assumed_away = bool(only_assumed >> bit & 1)
            self.quiet[table, row.id] = Quiet(row, frozenset(), False, assumed_away)

    def _reviews_itself(self, table: str) -> None:
        lead = {_agency(row) for row in self.plan.tables["lead"]}
        asked = 0
        for bit in bits_of(self.plan.masks[table]):
            if _agency(self.plan.rows[bit]) in lead:
                asked |= 1 << bit
        if not asked:
            return
        space = self._space("lead", table)
        for first, others in self._beside(space, lambda bits: bits & asked):
            leads = self.plan.rows_in(first)[0]
            for bit in bits_of(others):
                row = self.plan.rows[bit]
                if _agency(leads) == _agency(row):
                    message = f"{row.id} asks the agency that leads by {leads.id}"
                    self._show("R301", table, 1 << bit, message, space, self._tops("lead", first))

    def _steps(self, table: str) -> None:
        space = self._space("lead", table)
        for first, limit in self._beside(space, lambda bits: self.plan.top(bits, table)):
            lead, limits = self.plan.rows_in(first)[0].output, self.plan.rows_in(limit)
            if len(limits) != 1 or not isinstance(lead, Lead):
                continue
            deadline = limits[0].output
            agencies = 1 + len(lead.chain)
            if isinstance(deadline, Deadline) and len(deadline.steps) not in (0, agencies):
                message = (
                    f"{deadline.rule} has {len(deadline.steps)} steps,"
                    f" {lead.rule} {agencies} agencies"
                )
                limited = partial(self._both, first, table, limit)
                self._show("R303", table, limit, message, space, limited)

    def _both(self, first: int, table: str, rows: int, leaf: int) -> bool:
        """Whether in a leaf `first` decides in lead and `rows` in the table."""
        return self._tops("lead", first)(leaf) and self._tops(table, rows)(leaf)

    def _beside(self, space: Space, other: Callable[[int], int]) -> list[tuple[int, int]]:
        """Where one row of lead decides a case that can happen: it, and `other` of the rows."""
        found = set()
        for bits in space.leaves:
            first = self.plan.top(bits, "lead")
            if first and not first & (first - 1) and not bits & self.plan.masks["assume"]:
                found.add((first, other(bits)))
        return sorted(found)

    def _show(
        self,
        code: str,
        table: str,
        bits: int,
        message: str,
        space: Space,
        where: Callable[[int], object],
    ) -> None:
        """Tell a finding with the first box of the leaves where these rows match and `where`."""

        def shows(leaf: int) -> bool | None:
            return True if leaf & bits and where(leaf) else None

        box = space.boxes(shows)[True][0]
        message = f"{message}: {described(space.cells(box)[0])}"
        self._tell(code, table, bits, message, space.facts(box))

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
