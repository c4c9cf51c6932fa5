"""What the verifier finds is what trying every case finds, on 10,000 random rule sets, and each
counterexample shows what it is there to show."""

from copy import deepcopy
from random import Random

import pytest

from services.router.rules import Finding, Names, Report, RuleSet, from_document, verify
from tests.rules import oracle
from tests.rules.blocks import blocks
from tests.rules.cells import Fact, matches
from tests.rules.random_tables import (
    Document,
    edited,
    number,
    random_document,
    random_names,
)

BLOCK = 1000
BLOCKS = blocks(10)  # in full 10,000 rule sets
CHAINS = 500
CASES = 3  # sampled of a rule set, beside what the oracle tries

Row = tuple[str, str]  # table and id, or table and service


def known(names: oracle.Names | None) -> Names | None:
    return Names(names.services, names.agencies, names.districts) if names else None


def of(report: Report, *codes: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code in codes]


def rows(report: Report, *codes: str) -> set[Row]:
    """The rows that are told; under R103 those that cover follow the one that is dead."""
    return {(finding.table, finding.rules[0]) for finding in of(report, *codes)}


def services(report: Report, code: str) -> set[Row]:
    return {
        (finding.table, finding.counterexample["service"])
        for finding in of(report, code)
        if finding.counterexample
    }


def by_service(report: Report, code: str) -> set[tuple[str, str]]:
    """Service and row, of findings that have a case."""
    return {
        (finding.counterexample["service"], rule)
        for finding in of(report, code)
        if finding.counterexample
        for rule in finding.rules
    }


@pytest.mark.parametrize("block", BLOCKS)
def test_the_verifier_finds_what_trying_every_case_finds(block: int) -> None:
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        random = Random(seed)
        document = random_document(random)
        names = random_names(random, document)
        rules, plain = from_document(document), oracle.read(document)
        report, expected = verify(rules, known(names)), oracle.findings(plain, names)

        assert not of(report, "R401"), f"seed {seed}"
        assert services(report, "R101") == expected.gaps, f"seed {seed}"
        ties: dict[Row, set[frozenset[str]]] = {}
        for finding in of(report, "R102"):
            assert finding.counterexample, f"seed {seed}"
            at = (finding.table, finding.counterexample["service"])
            ties.setdefault(at, set()).add(frozenset(finding.rules))
        assert ties == expected.ties, f"seed {seed}"
        assert rows(report, "R103") == expected.dead, f"seed {seed}"
        assert rows(report, "R104") == expected.never_overrule, f"seed {seed}"
        assert rows(report, "R105") == expected.only_assumed, f"seed {seed}"
        assert rows(report, "R201", "R202", "R203", "R204") == expected.foreign, f"seed {seed}"

        assert by_service(report, "R301") == expected.reviews_itself, f"seed {seed}"
        assert by_service(report, "R303") == expected.misfits, f"seed {seed}"

        confirm(report, rules, plain, f"seed {seed}")
        sample(report, rules, plain, oracle.Universe([plain], names), random, f"seed {seed}")


def confirm(report: Report, rules: RuleSet, plain: oracle.Rules, where: str) -> None:
    """Decides each counterexample, and looks for what the finding says of it."""
    for finding in report.findings:
        if finding.counterexample is None:
            assert finding.code not in ("R101", "R102", "R301"), where
            continue
        told = f"{where}: {finding.message}"
        decided = rules.decide(finding.counterexample)
        assert not cannot_happen(plain, finding.counterexample), told
        assert finding.example_row, told
        if finding.code in ("R101", "R102"):
            is_lead = finding.table == "lead"
            candidates = decided.candidates if is_lead else decided.deadline_candidates
            assert (decided.lead if is_lead else decided.deadline) is None, told
            assert list(candidates) == list(finding.rules), told
        if finding.code == "R301":
            assert decided.lead, told
            asked = {one.rule for one in decided.joint_review if one.agency == decided.lead.agency}
            assert asked & set(finding.rules), told
        if finding.code == "R303":
            assert decided.lead and decided.deadline, told
            assert len(decided.deadline.steps) != 1 + len(decided.lead.chain), told


def cannot_happen(plain: oracle.Rules, facts: dict[str, Fact]) -> bool:
    case = [facts.get(definition["name"]) for definition in plain.inputs]
    return any(all(map(matches, row.conditions, case)) for row in plain.tables["assume"])


def sample(
    report: Report,
    rules: RuleSet,
    plain: oracle.Rules,
    universe: oracle.Universe,
    random: Random,
    where: str,
) -> None:
    """In cases that can happen no dead row decides, and what is undecided was told."""
    idle = rows(report, "R103", "R105")
    for _ in range(CASES):
        service = random.choice(universe.services)
        case = (service, *(random.choice(domain) for domain in universe.domains[1:]))
        facts = universe.facts(case)
        if cannot_happen(plain, facts):
            continue
        decided = rules.decide(facts)
        if decided.lead:
            assert ("lead", decided.lead.rule) not in idle, f"{where}, {facts}"
        else:
            code = "R102" if decided.candidates else "R101"
            assert ("lead", service) in services(report, code), f"{where}, {facts}"
        if decided.deadline:
            assert ("deadline", decided.deadline.rule) not in idle, f"{where}, {facts}"


def test_an_edit_verified_from_the_earlier_report_is_verified_as_from_scratch() -> None:
    for seed in range(CHAINS):
        random = Random(seed)
        document = random_document(random)
        names = random_names(random, document)
        report = verify(from_document(document), known(names))
        for step in range(5):
            document = edited(random, document)
            if random.random() < 0.1:
                names = random_names(random, document)
            if random.random() < 0.1:
                document = with_other_inputs(random, document)
            rules = from_document(document)
            report = verify(rules, known(names), earlier=report)
            scratch = verify(rules, known(names))
            assert report.to_json() == scratch.to_json(), f"seed {seed}, step {step}"
            assert report.findings == scratch.findings, f"seed {seed}, step {step}"


def with_other_inputs(random: Random, document: Document) -> Document:
    """The same rows, but an input has other bounds or values."""
    found = deepcopy(document)
    definition = random.choice(found["inputs"])
    if definition["type"] in ("integer", "date"):
        definition["max"] = number(definition["type"], random.randint(4, 9))
    elif "one more" not in definition.get("values", ["one more"]):
        definition["values"].append("one more")
    return found


def test_verifying_an_unchanged_rule_set_again_finds_the_same() -> None:
    for seed in range(200):
        random = Random(seed)
        document = random_document(random)
        names = known(random_names(random, document))
        report = verify(from_document(document), names)
        again = verify(from_document(deepcopy(document)), names, earlier=report)
        assert again.to_json() == report.to_json(), f"seed {seed}"
