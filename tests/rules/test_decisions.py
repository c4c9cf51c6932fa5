"""Decisions of the library and of the oracle are the same, on 10,000 random rule sets."""

from random import Random
from typing import Any

import pytest

from services.router.rules import FactError, from_document
from tests.rules import oracle
from tests.rules.random_tables import (
    AGENCIES,
    random_document,
    random_facts,
    random_names,
    wrong_fact,
)

BLOCK = 1000
BLOCKS = range(10)  # 10,000 rule sets
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
