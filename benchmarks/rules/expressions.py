"""The same rows in the languages of the peers, what is cheap to test first."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.rules.tables import DISTRICTS, MOST, SIDES, Row

_FIELDS = ("district", "participants", "newborn", "side")


def text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def texts(values: Sequence[str]) -> str:
    return ", ".join(text(value) for value in values)


@dataclass(frozen=True, slots=True)
class Words:
    """How a language says it."""

    both: str
    yes: str
    no: str
    nothing: str


ZEN = Words("and", "newborn == true", "newborn == false", "null")
CEL = Words("&&", "newborn", "!newborn", "null")
RULE_ENGINE = Words("and", "newborn", "not newborn", "null")


def condition(row: Row, words: Words) -> str:
    parts = []
    if len(row.newborn) == 1:
        parts.append(words.yes if row.newborn[0] else words.no)
    if row.sides != SIDES:
        parts.append(f"side == {text(row.sides[0])}")
    if row.low > 0:
        parts.append(f"participants >= {row.low}")
    if row.high < MOST:
        parts.append(f"participants <= {row.high}")
    if row.districts != DISTRICTS:
        several = len(row.districts) > 1
        parts.append(f"district in [{texts(row.districts)}]" if several else _one(row))
    return f" {words.both} ".join(parts) or "true"


def _one(row: Row) -> str:
    return f"district == {text(row.districts[0])}"


def nested(rows: Sequence[Row], words: Words) -> str:
    """One expression for all rows of a service: whether, and else the next."""
    said = words.nothing
    for row in reversed(rows):
        said = f"({condition(row, words)}) ? {text(row.id)} : ({said})"
    return said


def json_logic(rows: Sequence[Row]) -> dict[str, Any]:
    return {"if": [part for row in rows for part in (_json_logic(row), row.id)]}


def _json_logic(row: Row) -> Any:
    district, participants, newborn, side = ({"var": name} for name in _FIELDS)
    parts: list[Any] = []
    if len(row.newborn) == 1:
        parts.append(newborn if row.newborn[0] else {"!": [newborn]})
    if row.sides != SIDES:
        parts.append({"==": [side, row.sides[0]]})
    if row.low > 0 and row.high < MOST:
        parts.append({"<=": [row.low, participants, row.high]})
    elif row.low > 0:
        parts.append({">=": [participants, row.low]})
    elif row.high < MOST:
        parts.append({"<=": [participants, row.high]})
    if len(row.districts) == 1:
        parts.append({"==": [district, row.districts[0]]})
    elif row.districts != DISTRICTS:
        parts.append({"in": [district, list(row.districts)]})
    if not parts:
        return True
    return parts[0] if len(parts) == 1 else {"and": parts}


def zen_graph(rows: Sequence[Row], *, with_service: bool = False) -> dict[str, Any]:
    """A decision with one table. Without an output node, which costs a sixth of the speed and
    changes no answer."""
    fields = ("service", *_FIELDS) if with_service else _FIELDS
    table = {
        "hitPolicy": "first",
        "inputs": [{"id": name, "name": name, "field": name} for name in fields],
        "outputs": [{"id": "rule", "name": "rule", "field": "rule"}],
        "rules": [_zen_row(row, fields) for row in rows],
    }
    return {
        "contentType": "application/vnd.gorules.decision",
        "nodes": [
            {"id": "facts", "type": "inputNode", "name": "facts"},
            {"id": "lead", "type": "decisionTableNode", "name": "lead", "content": table},
        ],
        "edges": [{"id": "edge", "sourceId": "facts", "targetId": "lead", "type": "edge"}],
    }


def with_output_node(graph: dict[str, Any]) -> dict[str, Any]:
    output = {"id": "answer", "type": "outputNode", "name": "answer"}
    edge = {"id": "edge2", "sourceId": "lead", "targetId": "answer", "type": "edge"}
    return {**graph, "nodes": [*graph["nodes"], output], "edges": [*graph["edges"], edge]}


def _zen_row(row: Row, fields: Sequence[str]) -> dict[str, str]:
    cells = {"service": text(row.service)}
    if row.districts != DISTRICTS:
        cells["district"] = texts(row.districts)
    if row.low > 0:
        unlimited = row.high == MOST
        cells["participants"] = f">= {row.low}" if unlimited else f"[{row.low}..{row.high}]"
    elif row.high < MOST:
        cells["participants"] = f"<= {row.high}"
    if len(row.newborn) == 1:
        cells["newborn"] = text(row.newborn[0])
    if row.sides != SIDES:
        cells["side"] = text(row.sides[0])
    return {"_id": row.id, "rule": text(row.id), **{name: cells.get(name, "") for name in fields}}
