"""Decisions of the library and of the oracle are the same, on 10,000 random rule sets."""

from random import Random
from typing import Any

import pytest

from services.router.rules import FactError, TableError, from_document
from tests.rules import oracle
from tests.rules.blocks import blocks
from tests.rules.cells import Unreadable
from tests.rules.random_tables import (
    AGENCIES,
    random_document,
    random_facts,
    random_names,
    wrong_fact,
)

BLOCK = 1000
BLOCKS = blocks(10)  # in full 10,000 rule sets
CASES = 8  # a rule set


@pytest.mark.parametrize("block", BLOCKS)
def test_each_case_is_decided_as_the_oracle_decides_it(block: int) -> None:
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        random = Random(seed)
        document = random_document(random)
        expected, rules = oracle.read(document), from_document(document)
        universe = oracle.Universe([expected], random_names(random, document), every=True)
        for _ in range(CASES):
            facts = random_facts(random, universe)
            without = random.choice([(), (), random.sample(AGENCIES, random.randint(1, 3))])
            assert rules.decide(facts, without).to_json() == oracle.decide(
                expected, facts, without
            ), f"seed {seed}, {facts}, without {without}"


@pytest.mark.parametrize("block", BLOCKS)
def test_a_wrong_fact_is_an_error_exactly_when_it_is_looked_at(block: int) -> None:
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        random = Random(seed)
        document = random_document(random)
        expected, rules = oracle.read(document), from_document(document)
        universe = oracle.Universe([expected], None, every=True)
        facts: dict[str, Any] = random_facts(random, universe)
        for definition in random.sample(expected.inputs, random.randint(1, 2)):
            facts[definition["name"]] = wrong_fact(random, definition)
        try:
            decided = oracle.decide(expected, facts)
        except oracle.WrongFact as wrong:
            with pytest.raises(FactError) as error:
                rules.decide(facts)
            assert error.value.name in wrong.names, f"seed {seed}, {facts}"
            assert error.value.name in str(error.value), f"seed {seed}, {facts}"
        else:
            assert rules.decide(facts).to_json() == decided, f"seed {seed}, {facts}"


def test_a_decision_taken_again_from_the_facts_it_recorded_is_the_same() -> None:
    for seed in range(BLOCK):
        random = Random(seed)
        document = random_document(random)
        rules = from_document(document)
        universe = oracle.Universe([oracle.read(document)], None, every=True)
        for _ in range(CASES):
            first = rules.decide(random_facts(random, universe), AGENCIES[:1])
            assert rules.decide(first.facts, AGENCIES[:1]) == first, f"seed {seed}, {first.facts}"


MARKS = ["-", "missing", "present", "not(", "(", ")", ")", "[", "]", "..", "..", "<", "<=", ">"]
MARKS += [";", ";", '"', "；", "、", " ", "\u3000", "a"]
VALUES = {
    "text": ["north", "5", "a b"],
    "integer": ["0", "5", "-3", "12", "07"],
    "yes_no": ["yes", "no", "Yes"],
    "date": ["2026-02-27", "2026-02-29", "2026-03-01"],
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_cell_that_one_can_read_the_other_can_read(kind: str) -> None:
    for seed in range(5000):
        random = Random(seed)
        pieces = MARKS + VALUES[kind] * 4
        cell = "".join(random.choices(pieces, k=random.randint(1, 6))).strip()
        if not cell:
            continue
        document = {
            "format": 1,
            "ruleset": "one-cell",
            "inputs": [{"name": "service", "type": "text"}, {"name": "x", "type": kind}],
            "hit_policies": {"lead": "UNIQUE", "joint_review": "COLLECT", "deadline": "PRIORITY"},
            "tables": {
                "lead": {"columns": ["id", "service", "x", "lead"], "rows": [["L", "S", cell, "A"]]}
            },
        }
        try:
            expected = oracle.read(document)
        except Unreadable:
            with pytest.raises(TableError) as error:
                from_document(document)
            assert [problem.code for problem in error.value.problems] == ["T009"], f"seed {seed}"
            continue
        rules = from_document(document)
        for fact in [*oracle.Universe([expected], None, every=True).domains[1]]:
            facts = {"service": "S", "x": fact}
            decided = rules.decide(facts).to_json()
            assert decided == oracle.decide(expected, facts), f"seed {seed}, {cell}, {fact}"
