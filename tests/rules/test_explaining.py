"""An explanation says why, why not, and what was nearly so: held against the oracle."""

from collections.abc import Collection
from pathlib import Path
from random import Random

import pytest

from catalogue import load_catalogue
from services.router.rules import FactError, Names, RuleSet, explain, from_document, load
from services.router.rules.explaining import NEAREST, Looked
from tests.rules import oracle
from tests.rules.random_tables import (
    AGENCIES,
    random_document,
    random_facts,
    random_names,
)

CITY = load_catalogue()
NAMES = Names(frozenset(CITY.services), frozenset(CITY.agencies), frozenset(CITY.districts))
SOUTH = {"service": "SVC-056", "district": "中正區", "side_of_aiguo": "south"}


@pytest.fixture(scope="module")
def city() -> RuleSet:
    return load(Path(__file__).parents[2] / "catalogue" / "rules", NAMES)


def test_the_row_that_decides_comes_first_then_the_nearest_misses(city: RuleSet) -> None:
    found = explain(city, SOUTH)
    first, *others = found.lead
    assert (first.row.id, first.state) == ("SVC-056.ZZ.S", "decides")
    assert len(others) == NEAREST
    assert {one.state for one in others} == {"misses"}


def test_a_miss_names_the_cell_and_the_fact(city: RuleSet) -> None:
    found = explain(city, SOUTH, why_not="LO-JC").why_not
    assert found is not None
    assert found.reason == "misses"
    north = next(one for one in found.rows if one.row.id == "SVC-056.ZZ.N")
    assert [(miss.input, miss.cell, miss.fact) for miss in north.misses] == [
        ("side_of_aiguo", "north", "south")
    ]


@pytest.mark.parametrize(
    ("agency", "reason"),
    [("LO-GT", "leads"), ("LO-DA", "misses"), ("DOSW", "no_row"), ("NOBODY", "unknown_agency")],
)
def test_why_not_an_agency_has_a_reason(city: RuleSet, agency: str, reason: str) -> None:
    found = explain(city, SOUTH, why_not=agency).why_not
    assert found is not None
    assert found.reason == reason


def test_an_exception_that_overrules_is_told(city: RuleSet) -> None:
    facts = {"service": "SVC-019", "district": "大安區", "newborn": False}
    found = explain(city, facts, why_not="HRO-DA")
    assert found.decision.lead is not None
    assert found.decision.lead.agency == "DO-DA"
    assert found.why_not is not None
    assert found.why_not.reason == "overruled"


def test_an_agency_that_gave_the_case_back_is_told(city: RuleSet) -> None:
    found = explain(city, SOUTH, why_not="LO-GT", without=["LO-GT"])
    assert found.decision.outcome == "triage"
    assert found.why_not is not None
    assert found.why_not.reason == "tried"


def test_a_wrong_fact_is_an_error(city: RuleSet) -> None:
    with pytest.raises(FactError, match="district is '中正', but one of"):
        explain(city, SOUTH | {"district": "中正"})


def test_explanations_hold_on_random_rule_sets() -> None:
    """Each row of the service is in the right place: who decides, ties, is overruled or was
    tried, and of those that miss the nearest, each with exactly the cells that do not fit."""
    for seed in range(1000):
        random = Random(seed)
        document = random_document(random)
        expected, rules = oracle.read(document), from_document(document)
        universe = oracle.Universe([expected], random_names(random, document), every=True)
        for _ in range(5):
            facts = random_facts(random, universe)
            without = random.choice([(), random.sample(AGENCIES, 2)])
            found = explain(rules, facts, without=without)
            told = f"seed {seed}, {facts}, without {without}"
            assert found.decision == rules.decide(facts, without), told
            _check(found.lead, expected, facts, without, told)


def _check(
    found: tuple[Looked, ...],
    rules: oracle.Rules,
    facts: dict[str, oracle.Fact],
    without: Collection[str],
    told: str,
) -> None:
    missing = {}
    names = [one["name"] for one in rules.inputs]
    for row in rules.tables["lead"]:
        misses = [
            name
            for name, condition in zip(names, row.conditions, strict=True)
            if not oracle.matches(condition, facts.get(name))
        ]
        if "service" not in misses:
            missing[row.id] = misses
    matching = [one for one, misses in missing.items() if not misses]
    expected = dict.fromkeys(matching, "overruled")
    agencies = {
        row.id: {row.output["agency"], *row.output["chain"]} for row in rules.tables["lead"]
    }
    priorities = {row.id: row.priority for row in rules.tables["lead"]}
    left = [one for one in matching if not agencies[one] & set(without)]
    for one in matching:
        if one not in left:
            expected[one] = "tried"
    top = [one for one in left if priorities[one] == max(priorities[two] for two in left)]
    for one in top:
        expected[one] = "decides" if len(top) == 1 else "candidate"
    shown = [one for one in found if one.state != "misses"]
    assert {one.row.id: one.state for one in shown} == expected, told
    assert [one.row.id for one in shown[: len(top)]] == top, told
    near = sorted((one for one in missing if missing[one]), key=lambda one: len(missing[one]))
    assert [one.row.id for one in found if one.state == "misses"] == near[:NEAREST], told
    for one in found:
        if one.state == "misses":
            assert [miss.input for miss in one.misses] == missing[one.row.id], told
