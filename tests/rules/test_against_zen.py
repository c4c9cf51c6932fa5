"""The same decisions as zen-engine's, on the part of the format that both can say.

A table becomes one decision table of zen's (JSON Decision Model): lead with the hit policy
`first` and its rows in the order of priority, joint_review with `collect`. Values, lists, ranges,
comparisons, `not(...)`, `present` and `missing` are written in ZEN's own unary tests. Where
several rows tie, zen takes the first, which is then our first candidate.

Outside of the common part:
- A comparison with null is an error in ZEN that ends the cell without a match, also where a later
  item is `null`; so `missing` is written first here, and `not(...)` begins with `$ != null`.
- Texts are not ordered in ZEN, and a date is a text in JSON: its comparisons go through `d($)`,
  which takes null for a day, hence `$ != null` before it. A unary test has no brackets around
  `and` or `or`, and takes `and`, `or` and commas as they come, from left to right: so of a list
  of dates at most one item is a range or comparison, and `not(...)` holds no range of dates.
- A text where a number is expected (`"5"`) never matches in ZEN, without a word; here it is an
  error before any row is tried. Facts of a wrong type are therefore not compared.
- Integers beyond 64 bits are an error in ZEN; here they are integers.
- A text with both kinds of quotation marks cannot be written in ZEN.
- Closed inputs, min and max, triage by tie, assume and the verifier have no counterpart.
"""

import json
from contextlib import suppress
from random import Random
from typing import Any

import pytest
from zen import ZenEngine

from services.router.rules import from_document
from tests.rules import oracle
from tests.rules.blocks import blocks
from tests.rules.cells import ANY, Condition, Fact
from tests.rules.random_tables import random_document, random_facts

BLOCK = 500
BLOCKS = blocks(4)  # in full 2,000 rule sets
CASES = 8


class NotInZen(Exception):  # noqa: N818
    """A cell that ZEN cannot say."""


def literal(value: Fact) -> str:
    if isinstance(value, str):
        return f"'{value}'" if '"' in value else f'"{value}"'
    return json.dumps(value)


def item_in_zen(item: Condition, kind: str) -> str:
    if item == ("missing",):
        return "null"
    if item[0] == "value":
        return literal(item[1])
    _, low, low_in, high, high_in = item
    if kind == "date":
        lower = f"d($) {'>=' if low_in else '>'} d('{low}')"
        upper = f"d($) {'<=' if high_in else '<'} d('{high}')"
        return " and ".join([lower] * (low is not None) + [upper] * (high is not None))
    if low is not None and high is not None:
        return f"{'[' if low_in else '('}{low}..{high}{']' if high_in else ')'}"
    sign = (">" if high is None else "<") + "=" * (low_in and high_in)
    return f"{sign} {low if high is None else high}"


def negated_in_zen(item: Condition, kind: str) -> str:
    said = item_in_zen(item, kind)
    if item[0] == "value":
        return f"$ != {said}"
    if item[1] is not None and item[3] is not None:
        if kind == "date":
            raise NotInZen
        return f"$ not in {said}"
    opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
    start, sign, bound = ("d($) " if kind == "date" else ""), *said.split(" ")[-2:]
    return f"{start or '$ '}{opposite[sign]} {bound}"


def cell_in_zen(condition: Condition, kind: str) -> str:
    if condition == ANY:
        return ""
    if condition == ("present",):
        return "$ != null"
    if condition[0] == "not":
        return " and ".join(["$ != null", *(negated_in_zen(item, kind) for item in condition[1])])
    spans = [item for item in condition[1] if item[0] == "from"]
    if kind == "date" and spans:
        if len(spans) > 1:
            raise NotInZen
        others = [item_in_zen(item, kind) for item in condition[1] if item not in spans]
        first = f"$ != null and {item_in_zen(spans[0], kind)}"
        return " or ".join([first, *(f"$ == {other}" for other in others)])
    missing_first = sorted(condition[1], key=lambda item: item != ("missing",))
    return ", ".join(item_in_zen(item, kind) for item in missing_first)


def in_zen(rules: oracle.Rules, rows: list[oracle.Row], policy: str) -> str:
    """A graph of one decision table, whose answer is the id of a row, or a list of them."""
    names = [definition["name"] for definition in rules.inputs]
    table = {
        "hitPolicy": policy,
        "inputs": [{"id": name, "name": name, "field": name} for name in names],
        "outputs": [{"id": "rule", "name": "rule", "field": "rule"}],
        "rules": [
            {"_id": row.id, "rule": json.dumps(row.id)}
            | {
                definition["name"]: cell_in_zen(condition, definition["type"])
                for definition, condition in zip(rules.inputs, row.conditions, strict=True)
            }
            for row in rows
        ],
    }
    ends = [
        ("in", "inputNode", {}),
        ("table", "decisionTableNode", table),
        ("out", "outputNode", {}),
    ]
    nodes = [
        {"id": name, "name": name, "type": kind, "position": {"x": 0, "y": 0}, "content": content}
        for name, kind, content in ends
    ]
    edges = [
        {"id": f"{a}-{b}", "type": "edge", "sourceId": a, "targetId": b}
        for a, b in (("in", "table"), ("table", "out"))
    ]
    return json.dumps({"nodes": nodes, "edges": edges})


def sayable(document: dict[str, Any]) -> dict[str, Any] | None:
    """The document without rows that ZEN cannot say; None when lead has no other."""
    plain = oracle.read(document)
    for name, table in list(document["tables"].items()):
        kept = []
        for cells, row in zip(table["rows"], plain.tables[name], strict=True):
            with suppress(NotInZen):
                in_zen(plain, [row], "first")
                kept.append(cells)
        table["rows"] = kept
        if not kept:
            del document["tables"][name]
    return document if "lead" in document["tables"] else None


@pytest.mark.parametrize("block", BLOCKS)
def test_zen_decides_each_case_as_we_do(block: int) -> None:
    compared = 0
    engine = ZenEngine()
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        random = Random(seed)
        document = sayable(random_document(random))
        if document is None:
            continue
        plain, rules = oracle.read(document), from_document(document)
        by_priority = sorted(plain.tables["lead"], key=lambda row: -row.priority)
        first = engine.create_decision(in_zen(plain, by_priority, "first"))
        collect = engine.create_decision(in_zen(plain, plain.tables["joint_review"], "collect"))
        universe = oracle.Universe([plain], None, every=True)
        for _ in range(CASES):
            facts = random_facts(random, universe)
            if any(isinstance(fact, int) and abs(fact) >= 2**63 for fact in facts.values()):
                continue
            where = f"seed {seed}, {facts}"
            decided = rules.decide(facts)
            ours = (decided.lead.rule,) if decided.lead else decided.candidates
            leads = first.evaluate(facts)["result"]
            assert (leads.get("rule") if leads else None) == (ours[0] if ours else None), where
            reviews = collect.evaluate(facts)["result"]
            assert [one["rule"] for one in reviews or []] == [
                one.rule for one in decided.joint_review
            ], where
            compared += 1
    assert compared > BLOCK * CASES * 0.8
