"""What is wrong with a rule set, proved over all cases, each finding with a case that shows it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.router.rules.errors import FactError
from services.router.rules.findings import Finding, example_line
from services.router.rules.inputs import Fact
from services.router.rules.names import row_findings
from services.router.rules.plans import TABLES, Plan, bits_of
from services.router.rules.rows import Deadline, JointReview, Lead, Row, meaning
from services.router.rules.ruleset import TRIAGE, Names, RuleSet
from services.router.rules.space import (
    Axis,
    Box,
    TooIntertwinedError,
    Way,
    axes,
    box_of,
    boxes,
    cells_of,
    described,
    facts_in,
    leaves,
)

BUDGET = 1_000_000
_MOST_TIES = 20
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of one service.

    `quiet` are rows that never decide there, each with the ids of those that decide instead
    and whether some case that can happen matches it, or only some that cannot; `idle` are
    exceptions that overrule nothing there; `alike` the sets of rows of joint_review that some
    case matches all of, and that say the same.
    """

    plan: Plan
    findings: tuple[Finding, ...]
    quiet: Mapping[Key, tuple[frozenset[str], bool, bool]]
    idle: frozenset[Key]
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
        known |= {one.name: names.of(one.names) for one in rules.inputs if one.names}
    proofs: dict[str, Proof] = {}
    before: Mapping[str, Proof] = {}
    if earlier is not None and earlier.names == names and earlier.rules.inputs == rules.inputs:
        before = earlier.proofs
    services = sorted(rules.services | names.services) if names else sorted(rules.services)
    checked: dict[int, tuple[Finding, ...]] = {}
    for service in services:
        plan = rules.plan(service)
        proof = before.get(service)
        if proof is None or proof.plan is not plan:
            proof = _Prover(rules, service, plan, known, names, budget, checked).proof()
        proofs[service] = proof
    findings = {finding: None for proof in proofs.values() for finding in proof.findings}
    found = [*findings, *_silent_rows(rules, proofs), *_examples(rules)]
    found.sort(key=lambda finding: (finding.code, finding.table))
    return Report(rules, names, tuple(found), len(services), proofs)


class _Prover:
    """One service, table by table."""

    def __init__(
        self,
        rules: RuleSet,
        service: str,
        plan: Plan,
        known: Mapping[str, frozenset[str]],
        names: Names | None,
        budget: int,
        checked: dict[int, tuple[Finding, ...]],
    ) -> None:
        self.rules = rules
        self.service = service
        self.plan = plan
        self.known = known
        self.budget = budget
        self.findings: list[Finding] = []
        self.quiet: dict[Key, tuple[frozenset[str], bool, bool]] = {}
        self.idle: set[Key] = set()
        self.alike: set[frozenset[str]] = set()
        for table in TABLES:
            for row in plan.tables[table]:
                told = checked.get(id(row))
                if told is None:
                    told = checked[id(row)] = tuple(row_findings(row, table, rules, known, names))
                self.findings.extend(told)

    def proof(self) -> Proof:
        for table in ("lead", "deadline"):
            if table == "lead" or self.rules.tables[table].rows:
                self._attempt(table, self._single)
        if self.plan.tables["joint_review"]:
            self._attempt("joint_review", self._collected)
            self._attempt("joint_review", self._reviews_itself)
        if any(isinstance(r.output, Deadline) and r.output.steps for r in self.plan.rows):
            self._attempt("deadline", self._steps)
        return Proof(
            self.plan,
            tuple(self.findings),
            self.quiet,
            frozenset(self.idle),
            frozenset(self.alike),
        )

    def _attempt(self, table: str, question: Any) -> None:
        try:
            question(table)
        except TooIntertwinedError:
            self._tell(
                "R401",
                table,
                0,
                f"{self.service}: not proved: its rows are too many and too intertwined;"
                " divide the service, or use fewer inputs in one row",
            )

    def _space(self, *tables: str) -> tuple[list[Axis], int]:
        mask = self.plan.masks["assume"]
        for table in tables:
            mask |= self.plan.masks[table]
        return axes(self.plan.all_indexes, mask, self.known), mask

    def _single(self, table: str) -> None:
        """Tables where one row decides: gaps, overlaps, rows that never do, idle exceptions."""
        space, mask = self._space(table)
        assumed, mine = self.plan.masks["assume"], self.plan.masks[table]
        found = leaves(space, mask, self.budget)
        seen = top = only_assumed = overruling = 0
        ties: dict[int, None] = {}
        for bits in found:
            if bits & assumed:
                only_assumed |= bits
                continue
            seen |= bits
            first = self.plan.top(bits, table)
            top |= first
            if first & (first - 1):
                ties[first] = None
            if bits & mine & ~first:
                overruling |= first
        if any(not bits for bits in found):
            self._gap(table, space, mask)
        for tied in list(ties)[:_MOST_TIES]:
            self._overlap(table, space, mask, tied)
        for bit in bits_of(mine & ~top):
            row = self.plan.rows[bit]
            winners = {
                other.id
                for bits in found
                if bits >> bit & 1 and not bits & assumed
                for other in self.plan.rows_in(self.plan.top(bits, table))
            }
            self.quiet[table, row.id] = (
                frozenset(winners),
                bool(seen >> bit & 1),
                bool(only_assumed >> bit & 1),
            )
        if self.rules.tables[table].policy == "UNIQUE":
            self.idle |= {
                (table, self.plan.rows[bit].id)
                for bit in bits_of(mine & ~overruling)
                if self.plan.rows[bit].priority
            }

    def _gap(self, table: str, space: list[Axis], mask: int) -> None:
        regions = boxes(space, mask, lambda bits: None if bits else "gap", self.budget)["gap"]
        cells = [cell for box in regions for cell in cells_of(space, box)]
        more = f" (and {len(cells) - 1} more such)" if len(cells) > 1 else ""
        self._tell(
            "R101",
            table,
            0,
            f"{self.service}: no row decides: {described(cells[0])}{more}",
            facts_in(space, regions[0]),
        )

    def _overlap(self, table: str, space: list[Axis], mask: int, tied: int) -> None:
        assumed = self.plan.masks["assume"]

        def is_tied(bits: int) -> str | None:
            return "tied" if self.plan.top(bits, table) == tied and not bits & assumed else None

        box = boxes(space, mask, is_tied, self.budget)["tied"][0]
        rows = ", ".join(row.id for row in self.plan.rows_in(tied))
        self._tell(
            "R102",
            table,
            tied,
            f"{self.service}: {rows} match all at once: {self._words(space, box)}",
            facts_in(space, box),
        )

    def _collected(self, table: str) -> None:
        space, mask = self._space(table)
        assumed, mine = self.plan.masks["assume"], self.plan.masks[table]
        found = leaves(space, mask, self.budget)
        seen = only_assumed = 0
        for bits in found:
            if bits & assumed:
                only_assumed |= bits
                continue
            seen |= bits
            alike: dict[Any, list[str]] = {}
            for row in self.plan.rows_in(bits & mine):
                alike.setdefault(meaning(row.output), []).append(row.id)
            self.alike.update(map(frozenset, alike.values()))
        for bit in bits_of(mine & ~seen):
            key = (table, self.plan.rows[bit].id)
            self.quiet[key] = (frozenset(), False, bool(only_assumed >> bit & 1))

    def _reviews_itself(self, table: str) -> None:
        lead = {r.output.agency for r in self.plan.tables["lead"] if isinstance(r.output, Lead)}
        joint = [
            bit
            for bit in bits_of(self.plan.masks[table])
            if isinstance(one := self.plan.rows[bit].output, JointReview) and one.agency in lead
        ]
        if not joint:
            return
        told: set[tuple[int, int]] = set()
        for bits, first, way, space in self._decided("lead", table):
            for bit in joint:
                row, leads = self.plan.rows[bit], self.plan.rows_in(first)[0]
                same = meaning(leads.output)[0] == meaning(row.output)[0]  # type: ignore[index]
                if bits >> bit & 1 and same and (first, bit) not in told:
                    told.add((first, bit))
                    box = box_of(space, way)
                    self._tell(
                        "R301",
                        table,
                        1 << bit,
                        f"{self.service}: {row.id} asks the agency that leads by {leads.id}:"
                        f" {self._words(space, box)}",
                        facts_in(space, box),
                    )

    def _steps(self, table: str) -> None:
        told: set[tuple[int, int]] = set()
        for bits, first, way, space in self._decided("lead", table):
            limit = self.plan.top(bits, table)
            rows = self.plan.rows_in(limit)
            lead = self.plan.rows_in(first)[0].output
            if len(rows) != 1 or (first, limit) in told:
                continue
            deadline = rows[0].output
            if not isinstance(deadline, Deadline) or not isinstance(lead, Lead):
                continue
            agencies = 1 + len(lead.chain)
            if deadline.steps and len(deadline.steps) != agencies:
                told.add((first, limit))
                box = box_of(space, way)
                self._tell(
                    "R303",
                    table,
                    limit,
                    f"{self.service}: {rows[0].id} has {len(deadline.steps)} steps, {lead.rule}"
                    f" {agencies} agencies: {self._words(space, box)}",
                    facts_in(space, box),
                )

    def _decided(self, *tables: str) -> Iterator[tuple[int, int, Way, list[Axis]]]:
        """Each set of rows of cases that can happen and where one row of lead decides."""
        space, mask = self._space(*tables)
        for bits, way in leaves(space, mask, self.budget).items():
            first = self.plan.top(bits, "lead")
            if first and not first & (first - 1) and not bits & self.plan.masks["assume"]:
                yield bits, first, way, space

    def _words(self, space: list[Axis], box: Box) -> str:
        return described(cells_of(space, box)[0])

    def _tell(
        self,
        code: str,
        table: str,
        bits: int,
        message: str,
        facts: Mapping[str, Fact] | None = None,
    ) -> None:
        rows = self.plan.rows_in(bits)
        case = None
        if facts is not None:
            order = [one.name for one in self.rules.inputs if one.name in facts]
            case = {"service": self.service, **{name: facts[name] for name in order}}
        self.findings.append(
            Finding(
                code,
                table,
                tuple(row.id for row in rows),
                tuple(row.number for row in rows),
                message,
                case,
                example_line(self.rules, code, case) if case is not None else None,
            )
        )


def _silent_rows(rules: RuleSet, proofs: Mapping[str, Proof]) -> Iterator[Finding]:
    """Rows that decide nothing in any service; exceptions that overrule nothing in any."""
    rows = {(name, row.id): row for name in TABLES for row in rules.tables[name].rows}
    quiet = {key: None for proof in proofs.values() for key in proof.quiet}
    idle = {key: None for proof in proofs.values() for key in proof.idle}
    silent = set()
    told_already = {
        (finding.table, finding.rules[0])
        for proof in proofs.values()
        for finding in proof.findings
        if finding.code in ("R202", "R203", "R204")
    }
    for key in quiet:
        mine = [proof for service, proof in proofs.items() if _applies(rows[key], service)]
        states = [proof.quiet.get(key) for proof in mine]
        if all(state is not None for state in states):
            told = [state for state in states if state is not None]
            silent.add(key)
            yield from _silent(key, rows[key], told, told_already)
    for key in idle:
        mine = [proof for service, proof in proofs.items() if _applies(rows[key], service)]
        if key not in silent and all(key in proof.idle for proof in mine):
            row = rows[key]
            yield Finding(
                "R104",
                key[0],
                (row.id,),
                (row.number,),
                f"{row.id}: an exception with priority {row.priority} that overrules no row",
            )
    yield from _redundant(rows, proofs)


def _applies(row: Row, service: str) -> bool:
    return row.service.holds_value(service)


def _silent(
    key: Key,
    row: Row,
    states: list[tuple[frozenset[str], bool, bool]],
    told_already: Collection[Key],
) -> Iterator[Finding]:
    table = key[0]
    seen = any(state[1] for state in states)
    if not seen and any(state[2] for state in states):
        detail = f"{row.id}: matches only cases that assume says cannot happen"
        yield Finding("R105", table, (row.id,), (row.number,), detail)
        return
    if key in told_already:
        return
    winners = sorted(frozenset().union(*(state[0] for state in states)))
    how = f"covered by {', '.join(winners[:10])}" if winners else "no case matches it"
    yield Finding(
        "R103", table, (row.id, *winners), (row.number,), f"{row.id}: decides no case: {how}"
    )


def _redundant(rows: Mapping[Key, Row], proofs: Mapping[str, Proof]) -> Iterator[Finding]:
    """Rows of joint_review that add nothing: taken away one by one, from the end of the file."""
    sets = {one for proof in proofs.values() for one in proof.alike}
    needed = {next(iter(one)) for one in sets if len(one) == 1}
    candidates = {row for one in sets for row in one} - needed
    left = [set(one) for one in sets if len(one) > 1]
    for row_id in sorted(candidates, key=lambda one: -rows["joint_review", one].number):
        mine = [one for one in left if row_id in one]
        if all(len(one) > 1 for one in mine):
            others = sorted({other for one in mine for other in one} - {row_id})
            for one in mine:
                one.discard(row_id)
            row = rows["joint_review", row_id]
            yield Finding(
                "R103",
                "joint_review",
                (row_id, *others),
                (row.number,),
                f"{row_id}: adds nothing to {', '.join(others[:10])}",
            )


def _examples(rules: RuleSet) -> Iterator[Finding]:
    """Examples whose answer differs."""
    for example in rules.examples:
        number = example.number
        try:
            decision = rules.decide(example.facts)
        except FactError as error:
            detail = f"{example.id}: {error}"
            yield Finding("R501", "examples", (example.id,), (number,), detail, example.facts)
            continue
        lead = decision.lead.agency if decision.lead else TRIAGE
        rule = decision.lead.rule if decision.lead else ""
        if lead != example.lead or (example.rule and rule != example.rule):
            wanted = example.lead + (f" by {example.rule}" if example.rule else "")
            found = lead + (f" by {rule}" if rule else "")
            detail = f"{example.id}: expected {wanted}, decided {found}"
            yield Finding("R501", "examples", (example.id,), (number,), detail, example.facts)
