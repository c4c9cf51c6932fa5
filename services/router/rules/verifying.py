"""What is wrong with a rule set, proved over all cases, each finding with a case that shows it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from services.router.rules.errors import FactError
from services.router.rules.findings import Finding, example_line
from services.router.rules.inputs import Fact
from services.router.rules.names import RowCheck
from services.router.rules.plans import TABLES, Plan, bits_of
from services.router.rules.rows import Deadline, JointReview, Lead, Row, meaning
from services.router.rules.ruleset import TRIAGE, Names, RuleSet
from services.router.rules.space import Space, TooIntertwinedError, described

BUDGET = 1_000_000
_MOST_TIES = 20
Key = tuple[str, str]


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


@dataclass(frozen=True, slots=True)
class Report:
    """The findings, in the order of their codes; `proofs` serve the next verification."""

    rules: RuleSet
    names: Names | None
    findings: tuple[Finding, ...]
    services: int
    proofs: Mapping[str, Proof] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        rows = {name: len(table.rows) for name, table in self.rules.tables.items()}
        return {
            "ruleset": self.rules.id,
            "version": self.rules.version,
            "rows": {**rows, "examples": len(self.rules.examples)},
            "services": self.services,
            "errors": [],
            "findings": [finding.to_json() for finding in self.findings],
        }


def verify(
    rules: RuleSet,
    names: Names | None = None,
    earlier: Report | None = None,
    budget: int = BUDGET,
) -> Report:
    """Everything that docs/rules-format.md says the verifier proves.

    `names` are those of the rule set when left out. What `earlier` proved is taken over for
    services whose rows are the same (RuleSet.edited keeps their plans). `budget` bounds the
    steps for one service and one question; beyond it the finding is R401.
    """
    names = names or rules.names
    known = dict(rules.known)
    if names is not None:
        known |= {
            one.name: named for one in rules.inputs if one.names and (named := names.of(one.names))
        }
    proofs: dict[str, Proof] = {}
    before: Mapping[str, Proof] = {}
    if earlier is not None and earlier.names == names and earlier.rules.inputs == rules.inputs:
        before = earlier.proofs
    check = RowCheck(rules, known, names)
    for service in rules.services | names.services if names else rules.services:
        plan = rules.plan(service)
        proof = before.get(service)
        if proof is None or proof.plan is not plan:
            proof = _Prover(rules, service, plan, known, budget, check).proof()
        proofs[service] = proof
    # A row of several services is told once.
    findings = {finding: None for proof in proofs.values() for finding in proof.findings}
    findings |= dict.fromkeys(_of_no_service(rules, proofs, check))
    found = [*findings, *_silent_rows(rules, proofs), *_examples(rules)]
    found.sort(key=lambda finding: (finding.code, finding.table, finding.rows, finding.message))
    return Report(rules, names, tuple(found), len(proofs), proofs)


class _Prover:
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


def _of_no_service(
    rules: RuleSet, proofs: Mapping[str, Proof], check: RowCheck
) -> Iterator[Finding]:
    """Rows that leave out every service that there is."""
    for table, row in rules.for_any_service:
        if next(_of(row, proofs), None) is None:
            found = list(check.findings(row, table))
            yield from found
            if table != "assume" and all(one.code == "R303" for one in found):
                message = f"{row.id}: decides no case: no case matches it"
                yield Finding("R103", table, (row.id,), (row.number,), message)


def _agency(row: Row) -> str:
    return row.output.agency if isinstance(row.output, Lead | JointReview) else ""


def _silent_rows(rules: RuleSet, proofs: Mapping[str, Proof]) -> Iterator[Finding]:
    """Rows that decide nothing in any service; exceptions that overrule nothing in any."""
    unknown = {
        (finding.table, finding.rules[0])
        for proof in proofs.values()
        for finding in proof.findings
        if finding.code in ("R201", "R202", "R203", "R204")
    }
    silent = set()
    quiet = {key: one.row for proof in proofs.values() for key, one in proof.quiet.items()}
    for key, row in quiet.items():
        if all(key in proof.quiet for proof in _of(row, proofs)):
            states = [proof.quiet[key] for proof in _of(row, proofs)]
            # That no case matches a row is no news where a name in it is unknown.
            if key not in unknown or any(state.seen or state.assumed for state in states):
                yield _silent(key, row, states)
            silent.add(key)
    idle = {key: row for proof in proofs.values() for key, row in proof.idle.items()}
    for key, row in idle.items():
        if key not in silent and all(key in proof.idle for proof in _of(row, proofs)):
            message = f"{row.id}: an exception with priority {row.priority} overrules no row"
            yield Finding("R104", key[0], (row.id,), (row.number,), message)
    yield from _redundant(rules, proofs)


def _of(row: Row, proofs: Mapping[str, Proof]) -> Iterator[Proof]:
    """Those of the services that the row may apply to."""
    return (proof for service, proof in proofs.items() if row.service.holds_value(service))


def _silent(key: Key, row: Row, states: list[Quiet]) -> Finding:
    table = key[0]
    if not any(state.seen for state in states) and any(state.assumed for state in states):
        message = f"{row.id}: matches only cases that assume says cannot happen"
        return Finding("R105", table, (row.id,), (row.number,), message)
    winners = sorted(frozenset().union(*(state.winners for state in states)))
    how = f"covered by {', '.join(winners[:10])}" if winners else "no case matches it"
    message = f"{row.id}: decides no case: {how}"
    return Finding("R103", table, (row.id, *winners), (row.number,), message)


def _redundant(rules: RuleSet, proofs: Mapping[str, Proof]) -> Iterator[Finding]:
    """Rows of joint_review that add nothing: taken away one by one, from the end of the file."""
    numbers = {row.id: row.number for row in rules.tables["joint_review"].rows}
    sets = {one for proof in proofs.values() for one in proof.alike}
    needed = {next(iter(one)) for one in sets if len(one) == 1}
    candidates = {row for one in sets for row in one} - needed
    left = [set(one) for one in sets if len(one) > 1]
    for row_id in sorted(candidates, key=lambda one: -numbers[one]):
        mine = [one for one in left if row_id in one]
        if all(len(one) > 1 for one in mine):
            others = sorted({other for one in mine for other in one} - {row_id})
            for one in mine:
                one.discard(row_id)
            yield Finding(
                "R103",
                "joint_review",
                (row_id, *others),
                (numbers[row_id],),
                f"{row_id}: adds nothing to {', '.join(others[:10])}",
            )


def _examples(rules: RuleSet) -> Iterator[Finding]:
    """Examples whose answer differs."""
    for example in rules.examples:
        number = example.number
        facts = {name: fact for name, fact in example.facts.items() if fact is not None}
        try:
            decision = rules.decide(example.facts)
        except FactError as error:
            detail = f"{example.id}: {error}"
            yield Finding("R501", "examples", (example.id,), (number,), detail, facts)
            continue
        lead = decision.lead.agency if decision.lead else TRIAGE
        rule = decision.lead.rule if decision.lead else ""
        if lead != example.lead or (example.rule and rule != example.rule):
            wanted = example.lead + (f" by {example.rule}" if example.rule else "")
            found = lead + (f" by {rule}" if rule else "")
            detail = f"{example.id}: expected {wanted}, decided {found}"
            yield Finding("R501", "examples", (example.id,), (number,), detail, facts)
