"""What is wrong with a rule set, proved over all cases, each finding with a case that shows it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.router.rules.errors import FactError
from services.router.rules.findings import Finding
from services.router.rules.names import RowCheck
from services.router.rules.proving import Key, Proof, Prover, Quiet
from services.router.rules.rows import Row
from services.router.rules.ruleset import TRIAGE, Names, RuleSet, known_values

BUDGET = 1_000_000
# So many times the budget of one question for all services together.
_TIMES = 50


@dataclass(frozen=True, slots=True)
class Report:
    """The findings, in the order of their codes; `proofs` serve the next verification.

    `whole` unless services were left out, for want of steps or because enough was found: then
    nothing is told of rows that decide nothing, which takes all services.
    """

    rules: RuleSet
    names: Names | None
    findings: tuple[Finding, ...]
    services: int
    proofs: Mapping[str, Proof] = field(repr=False)
    whole: bool = True

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
    most: int | None = None,
) -> Report:
    """Everything that docs/rules-format.md says the verifier proves.

    `names` are those of the rule set when left out. What `earlier` proved is taken over for
    services whose rows are the same (RuleSet.edited keeps their plans). `budget` bounds the
    steps for one service and one question, and 50 times that all services together; beyond it
    the finding is R401. No further service is proved once `most` findings are there.
    """
    names = names or rules.names
    known = known_values(rules.inputs, names)
    proofs: dict[str, Proof] = {}
    before: Mapping[str, Proof] = {}
    if earlier is not None and earlier.names == names and earlier.rules.inputs == rules.inputs:
        before = earlier.proofs
    check = RowCheck(rules, known, names)
    services = rules.services | names.services if names else rules.services
    examples = list(_examples(rules))
    limit, steps, many = _TIMES * budget, 0, len(examples)
    # In an order of their own, so that the same ones are left out each time.
    order = list(before) if before.keys() == services else sorted(services)
    for service in order:
        if steps > limit or (most is not None and many >= most):
            break
        plan = rules.plan(service)
        proof = before.get(service)
        if proof is None or proof.plan is not plan:
            proof = Prover(rules, service, plan, known, budget, check).proof()
        proofs[service] = proof
        steps += proof.steps
        many += len(proof.findings)
    whole = len(proofs) == len(order)
    # A row of several services is told once.
    findings = {finding: None for proof in proofs.values() for finding in proof.findings}
    if whole:
        findings |= dict.fromkeys(_of_no_service(rules, proofs, check))
    found = [*findings, *examples]
    if whole:
        found += _silent_rows(rules, proofs)
    elif steps > limit:
        found.append(_left_out(order[len(proofs) :]))
    found.sort(key=lambda finding: (finding.code, finding.table, finding.rows, finding.message))
    return Report(rules, names, tuple(found), len(proofs), proofs, whole)


def _left_out(services: list[str]) -> Finding:
    """The services that the steps for all together did not reach."""
    listed = ", ".join(services[:10]) + (", ..." if len(services) > 10 else "")
    message = (
        f"{len(services)} services are not proved ({listed}): the rows of those before them"
        " took all steps; mend what is told, or use fewer inputs in one row"
    )
    return Finding("R401", "lead", (), (), message)


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
