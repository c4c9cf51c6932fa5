"""Who decides, each in the quickest of the ways that its documentation or its source shows.

What was tried of each, and what was slower, stands beside it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cel
import rule_engine
import zen
from json_logic import jsonLogic

from benchmarks.rules import expressions, results
from benchmarks.rules.tables import AGENCIES, DISTRICTS, Facts, Row, by_service, write
from services.router.rules import Names, RuleSet, load

Decide = Callable[[Facts], Any]


@dataclass(frozen=True, slots=True)
class Contender:
    """`start` makes `decide` of a table (and may use the folder); `rule_of` finds the rule's id
    in what it answers, and is not timed."""

    name: str
    start: Callable[[Sequence[Row], Path], Decide]
    rule_of: Callable[[Any], str | None]


def names(rows: Sequence[Row]) -> Names:
    services = frozenset(row.service for row in rows)
    return Names(services, frozenset(AGENCIES), frozenset(DISTRICTS))


def loaded(rows: Sequence[Row], folder: Path) -> RuleSet:
    return load(write(rows, folder), names(rows))


def _decide(rows: Sequence[Row], folder: Path) -> Decide:
    return loaded(rows, folder).decide


def _scan(rows: Sequence[Row], folder: Path) -> Decide:
    own = by_service(rows)

    def decide(facts: Facts) -> str | None:
        for row in own[facts["service"]]:
            if row.matches(facts):
                return row.id
        return None

    return decide


def graphs(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    return {service: expressions.zen_graph(own) for service, own in by_service(rows).items()}


def zen_engine(graphs: Mapping[str, Any]) -> Any:
    """One decision for each key, compiled when the engine is made."""
    options: Any = {"loader": {"type": "static", "content": graphs}}
    return zen.ZenEngine(options)


def _zen_tables(rows: Sequence[Row], folder: Path) -> Decide:
    evaluate = zen_engine(graphs(rows)).evaluate
    return lambda facts: evaluate(facts["service"], facts)


def _zen_traced(rows: Sequence[Row], folder: Path) -> Decide:
    evaluate = zen_engine(graphs(rows)).evaluate
    options = {"trace": True}
    return lambda facts: evaluate(facts["service"], facts, options)


def _zen_output_node(rows: Sequence[Row], folder: Path) -> Decide:
    longer = {key: expressions.with_output_node(graph) for key, graph in graphs(rows).items()}
    evaluate = zen_engine(longer).evaluate
    return lambda facts: evaluate(facts["service"], facts)


def _zen_called_loader(rows: Sequence[Row], folder: Path) -> Decide:
    content = {
        key: zen.ZenDecisionContent(json.dumps(graph)) for key, graph in graphs(rows).items()
    }
    evaluate = zen.ZenEngine({"loader": content.__getitem__}).evaluate
    return lambda facts: evaluate(facts["service"], facts)


def _zen_json(rows: Sequence[Row], folder: Path) -> Decide:
    evaluate = zen_engine(graphs(rows)).evaluate
    return lambda facts: evaluate(facts["service"], json.dumps(facts))


def _zen_decisions(rows: Sequence[Row], folder: Path) -> Decide:
    engine = zen.ZenEngine()
    decisions = {
        key: engine.create_decision(zen.ZenDecisionContent(json.dumps(graph)))
        for key, graph in graphs(rows).items()
    }
    return lambda facts: decisions[facts["service"]].evaluate(facts)


def _zen_one_table(rows: Sequence[Row], folder: Path) -> Decide:
    evaluate = zen_engine({"all": expressions.zen_graph(rows, with_service=True)}).evaluate
    return lambda facts: evaluate("all", facts)


def _zen_one_table_traced(rows: Sequence[Row], folder: Path) -> Decide:
    evaluate = zen_engine({"all": expressions.zen_graph(rows, with_service=True)}).evaluate
    options = {"trace": True}
    return lambda facts: evaluate("all", facts, options)


def _zen_expression(rows: Sequence[Row], folder: Path) -> Decide:
    compiled = {
        service: zen.compile_expression(expressions.nested(own, expressions.ZEN))
        for service, own in by_service(rows).items()
    }
    return lambda facts: compiled[facts["service"]].evaluate(facts)


def _cel(rows: Sequence[Row], folder: Path) -> Decide:
    """Slower were: one program for each row (0.2), the same with one Context (0.9)."""
    compiled = {
        service: cel.compile(expressions.nested(own, expressions.CEL))
        for service, own in by_service(rows).items()
    }
    return lambda facts: compiled[facts["service"]].execute(facts)


def _rule_engine(rows: Sequence[Row], folder: Path) -> Decide:
    """Slower were: one Rule for each row (0.8), types declared in the context (0.7)."""
    compiled = {
        service: rule_engine.Rule(expressions.nested(own, expressions.RULE_ENGINE))
        for service, own in by_service(rows).items()
    }
    return lambda facts: compiled[facts["service"]].evaluate(facts)


def _json_logic(rows: Sequence[Row], folder: Path) -> Decide:
    """panzi-json-logic, the quickest that runs on Python 3.11. Slower were json-logic-qubit
    (0.7), json-logic-modernized (0.6) and jsonlogic-rs (0.3); maykin-json-logic-py, the one that
    is maintained, needs Python 3.12; json-logic is of 2015 and for Python 2."""
    trees = {service: expressions.json_logic(own) for service, own in by_service(rows).items()}
    return lambda facts: jsonLogic(trees[facts["service"]], facts)


def _itself(answer: Any) -> str | None:
    found: str | None = answer
    return found


def _of_zen(answer: Any) -> str | None:
    found: str | None = answer["result"]["rule"]
    return found


def _of_ours(answer: Any) -> str | None:
    return answer.lead.rule if answer.lead else None


OURS = Contender(results.OURS, _decide, _of_ours)
ZEN = Contender("zen-engine, a table for each service", _zen_tables, _of_zen)
ZEN_ONE = Contender("zen-engine, one table of all rules", _zen_one_table, _of_zen)
ZEN_EXPRESSION = Contender(
    "zen-engine, no table: an expression for each service", _zen_expression, _itself
)
DECIDING = (
    OURS,
    ZEN,
    ZEN_ONE,
    ZEN_EXPRESSION,
    Contender("CEL, an expression for each service", _cel, _itself),
    Contender("json-logic, a tree for each service", _json_logic, _itself),
    Contender("rule-engine, an expression for each service", _rule_engine, _itself),
    Contender("a loop in Python over the rows of the service", _scan, _itself),
)
# Tried to find zen's quickest; the two that are quickest with tables stand among DECIDING.
ZEN_WAYS = (
    Contender("a loader that is called for each", _zen_called_loader, _of_zen),
    Contender("an output node in each decision", _zen_output_node, _of_zen),
    Contender("facts sent as JSON text", _zen_json, _of_zen),
    Contender("`create_decision` behind a dict", _zen_decisions, _of_zen),
)
TRACED = Contender("zen-engine's trace, a table for each service", _zen_traced, _of_zen)
ONE_TRACED = Contender("zen-engine's trace, one table of all rules", _zen_one_table_traced, _of_zen)


class DisagreementError(Exception):
    """A contender decides otherwise than the table says: its speed says nothing."""


def agree(
    name: str,
    decide: Decide,
    rule_of: Callable[[Any], str | None],
    cases: Sequence[tuple[Facts, str]],
) -> None:
    """Every case is decided as the table says. Raises DisagreementError."""
    for facts, rule in cases:
        if (found := rule_of(decide(facts))) != rule:
            raise DisagreementError(f"{name}: {found}, not {rule}, for {facts}")
