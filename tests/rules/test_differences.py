"""The difference of two rule sets is what deciding every case by both shows."""

from copy import deepcopy
from random import Random
from typing import Any

import pytest

from services.router.rules import Names, difference, from_document
from tests.rules import oracle
from tests.rules.blocks import blocks
from tests.rules.cells import Condition, matches, read_cell
from tests.rules.random_tables import Document, edited, random_document, random_names

BLOCK = 500
BLOCKS = blocks(6)  # in full 3,000 pairs
TABLES = ("lead", "joint_review", "deadline")
MOST = 200  # cases a service, above which one value stands for all that no cell tells apart

Json = dict[str, Any]


def known(names: oracle.Names | None) -> Names | None:
    return Names(names.services, names.agencies, names.districts) if names else None


def changes_of(a: Document, b: Document, names: oracle.Names | None) -> list[Json]:
    found = difference(from_document(a), from_document(b), known(names))
    return [change.to_json() for change in found]


def outcome(told: Json | list[Json] | None) -> frozenset[str]:
    """What follows, as the oracle has it; the JSON of a decision names rules beside it."""
    each = [told] if isinstance(told, dict) else told or []
    return frozenset(oracle.said({k: v for k, v in one.items() if k != "rule"}) for one in each)


Box = list[tuple[int, Condition]]  # place of an input, and what holds of it


def read_box(box: dict[str, str], universe: oracle.Universe) -> Box:
    assert "service" not in box and set(box) <= {i["name"] for i in universe.inputs}
    return [
        (at, read_cell(box[i["name"]], i["type"]))
        for at, i in enumerate(universe.inputs)
        if i["name"] in box
    ]


def holds(box: Box, case: oracle.Case) -> bool:
    return all(matches(condition, case[at]) for at, condition in box)


@pytest.mark.parametrize("block", BLOCKS)
def test_each_case_that_changes_lies_in_one_box_and_no_other_in_any(block: int) -> None:
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        random = Random(seed)
        a = random_document(random)
        b = edited(random, a, at_most=4)
        names = random_names(random, a)
        changes = changes_of(a, b, names)
        before, after = oracle.read(a), oracle.read(b)
        universe = oracle.Universe([before, after], names, every=True)
        if universe.size() > MOST:
            universe = oracle.Universe([before, after], names)
        for table in TABLES:
            for service in universe.services:
                told = [c for c in changes if (c["table"], c["service"]) == (table, service)]
                where = f"seed {seed}, {table}, {service}"
                check_service(universe, before, after, table, service, told, where)
        assert all(change["service"] in universe.services for change in changes), f"seed {seed}"


def check_service(
    universe: oracle.Universe,
    before: oracle.Rules,
    after: oracle.Rules,
    table: str,
    service: str,
    told: list[Json],
    where: str,
) -> None:
    ends = [(outcome(change["from"]), outcome(change["to"])) for change in told]
    assert len(set(ends)) == len(ends), where
    boxes = [
        (end, read_box(box, universe))
        for end, change in zip(ends, told, strict=True)
        for box in change["cases"]
    ]
    seen = set()
    for case in universe.cases(service):
        before_after = (
            oracle.follows(universe, before, table, case),
            oracle.follows(universe, after, table, case),
        )
        inside = [end for end, box in boxes if holds(box, case)]
        if before_after[0] == before_after[1]:
            assert inside == [], f"{where}, {case}"
            continue
        seen.add(before_after)
        assert before_after in ends, f"{where}, {case}"
        more = told[ends.index(before_after)]["more_cases"]
        assert inside == [before_after] or (more and inside == []), f"{where}, {case}"
    assert set(ends) == seen, where
    assert all(len(change["cases"]) == 20 for change in told if change["more_cases"]), where


def test_the_counterexample_of_a_change_is_decided_as_the_change_says() -> None:
    for seed in range(1000):
        random = Random(seed)
        a = random_document(random)
        b = edited(random, a, at_most=4)
        rules = {"from": from_document(a), "to": from_document(b)}
        for change in changes_of(a, b, random_names(random, a)):
            facts = change["counterexample"]
            assert facts["service"] == change["service"], f"seed {seed}"
            for end in ("from", "to"):
                decided = rules[end].decide(facts).to_json()[change["table"]]
                assert outcome(decided) == outcome(change[end]), f"seed {seed}, {facts}"
                one = [decided] if isinstance(decided, dict) else decided or []
                ids = {told["rule"] for told in one}
                assert ids <= set(change[f"{end}_rules"]), f"seed {seed}, {facts}"


def test_ids_notes_and_the_order_of_rows_change_nothing() -> None:
    for seed in range(300):
        random = Random(seed)
        a = random_document(random)
        b = deepcopy(a)
        for table in b["tables"].values():
            random.shuffle(table["rows"])
            table["columns"].append("basis")
            at = table["columns"].index("id")
            for number, row in enumerate(table["rows"]):
                row[at] = f"OTHER-{number}"
                row.append("read by people")
        assert changes_of(a, b, random_names(random, a)) == [], f"seed {seed}"


def test_the_way_back_changes_the_same_cases_the_other_way() -> None:
    def keys(changes: list[Json], *ends: str) -> set[tuple[Any, ...]]:
        return {
            (change["table"], change["service"], *(outcome(change[end]) for end in ends))
            for change in changes
        }

    for seed in range(300):
        random = Random(seed)
        a = random_document(random)
        b = edited(random, a, at_most=4)
        names = random_names(random, a)
        there, back = changes_of(a, b, names), changes_of(b, a, names)
        assert keys(there, "from", "to") == keys(back, "to", "from"), f"seed {seed}"
