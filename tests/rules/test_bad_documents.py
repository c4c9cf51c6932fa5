"""Documents, as they come from Kafka, that are no rule set: refused and told, and never a crash."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.rules import FactError, RuleSet, TableError, from_document
from tests.rules.folders import refused, sound_document

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def read_or_refuse(document: Any) -> RuleSet | None:
    """The rule set, used once in every way, or None when it was refused as it should be."""
    try:
        rules = from_document(document)
    except TableError as error:
        assert 0 < len(error.problems) <= min(100, error.count)
        for told in error.problems:
            assert len(str(told)) < 20_000
            json.dumps(told.to_json(), ensure_ascii=False).encode()
        str(error).encode()
        return None
    assert len(rules.version) == 12
    try:
        decision = rules.decide({"service": "S-1", "people": 5})
    except FactError:
        return rules
    json.dumps(decision.to_json(), ensure_ascii=False).encode()
    return rules


def test_the_sound_document_is_read() -> None:
    assert read_or_refuse(sound_document()) is not None


@given(document=json_values)
@settings(max_examples=300)
def test_any_json_is_a_rule_set_or_is_refused(document: Any) -> None:
    assert read_or_refuse(document) is None


def places(said: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all that a document holds."""
    yield path
    if isinstance(said, dict):
        for key in said:
            yield from places(said[key], (*path, key))
    if isinstance(said, list):
        for at, one in enumerate(said):
            yield from places(one, (*path, at))


PLACES = list(places(sound_document()))


def changed(path: tuple[Any, ...], value: Any) -> Any:
    """The sound document with another value at that place."""
    document = copy.deepcopy(sound_document())
    if not path:
        return value
    at: Any = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return document


cells = st.sampled_from(
    [
        "",
        "-",
        "missing",
        "present",
        "not()",
        '"',
        "1..",
        "；",
        "\ud800",
        "\u200b",
        "x" * 3000,
        "S-1",
    ]
)


@given(path=st.sampled_from(PLACES), value=json_values | cells)
@settings(max_examples=1500)
def test_a_document_with_one_value_changed_is_read_or_refused(
    path: tuple[Any, ...], value: Any
) -> None:
    read_or_refuse(changed(path, value))


@given(seed=st.integers(0, 2**32))
@settings(max_examples=300)
def test_a_document_with_parts_gone_or_doubled_is_read_or_refused(seed: int) -> None:
    dice = random.Random(seed)
    document = sound_document()
    for _ in range(dice.randint(1, 4)):
        path = dice.choice([p for p in places(document) if p])
        at: Any = document
        for key in path[:-1]:
            at = at[key]
        key = path[-1]
        what = dice.random()
        if what < 0.4:
            del at[key]
        elif isinstance(at, list):
            at.insert(dice.randint(0, len(at)), copy.deepcopy(at[key]))
        elif what < 0.7:
            at[f"{key}2"] = at[key]
        else:
            other = dice.choice(list(at))
            at[key], at[other] = at[other], at[key]

    read_or_refuse(document)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((), None, "the rule set is None, expected an object with format, ruleset, inputs"),
        ((), [], "the rule set is [], expected an object"),
        ((), {}, "format is None, expected 1"),
        (("format",), 2, "format is 2, expected 1"),
        (("format",), True, "format is True, expected 1"),
        (("format",), 1.0, "format is 1.0, expected 1"),
        (("formats",), 1, "the rule set: unknown 'formats': did you mean 'format'?; known are"),
        (("ruleset",), 1, "ruleset is 1: expected a name"),
        (("ruleset",), "x" * 41, "ruleset is 'xxx"),
        (("inputs",), {}, "inputs: expected a list of descriptions with a name"),
        (("inputs", 0), "service", "inputs: expected a list of descriptions with a name"),
        (("inputs", 0, "name"), None, "inputs: expected a list of descriptions with a name"),
        (("inputs", 1, "name"), "people", "inputs: a name is there twice"),
        (("inputs", 1, "values"), ["north", 1], "input side: values: 1 is no text"),
        (
            ("inputs", 1, "values"),
            ["north", "\ud800"],
            "input side: values: '\\ud800' holds U+D800",
        ),
        (
            ("inputs", 0, "meaning"),
            "\ud800",
            "input service: meaning is '\\ud800', expected a text",
        ),
        (("inputs", 0, "meaning"), None, "input service: meaning is None, expected a text"),
        (("inputs", 2, "min"), "0", "input people: min is '0': a number stands without quotes"),
        (("inputs", 2, "min"), 0.5, "input people: min is 0.5, expected a whole number"),
        (("inputs", 2, "min"), True, "input people: min is True, expected a whole number"),
        (("inputs", 2, "min"), float("nan"), "input people: min is nan, expected a whole number"),
        (("inputs", 2, "min"), 10**15, "input people: min: more than 15 digits"),
        (("inputs", 4, "min"), 19000101, "input born_on: min is 19000101, expected a date YYYY-"),
        (("hit_policies",), [], "hit_policies is [], expected an object with lead, joint_review"),
        (("hit_policies", "lead"), None, "hit policy of lead is None, expected UNIQUE or PRIORITY"),
        (("hit_policies", "assume"), "UNIQUE", "hit_policies: unknown 'assume'; known are lead"),
        (("tables",), None, "tables is None, expected an object with lead, joint_review"),
        (("tables", "examples"), {}, "tables: unknown 'examples'; known are lead"),
        (("tables", "lead"), [], "expected columns and rows"),
        (("tables", "lead", "numbers"), [], "expected columns and rows"),
        (("tables", "lead", "columns"), "id", "columns: expected a list of names"),
        (("tables", "lead", "columns", 0), 1, "columns: expected a list of names"),
        (("tables", "lead", "columns", 0), "service", "the column is there twice"),
        (("tables", "lead", "rows"), {}, "rows: expected a list of rows"),
        (("tables", "lead", "rows"), [], "the table has no row"),
        (("tables", "lead", "rows", 0), "L-1", "expected 7 texts, one for each column"),
        (("tables", "lead", "rows", 0), ["L-1"], "expected 7 texts, one for each column"),
        (("tables", "lead", "rows", 0, 3), 5, "is 5, expected a text"),
        (("tables", "lead", "rows", 0, 3), None, "is None, expected a text"),
        (("tables", "lead", "rows", 0, 3), ["<", [5]], "is ['<', [5]], expected a text"),
        pytest.param(
            ("tables", "lead", "rows", 0, 3), "5" * 2001, "longer than 2000 characters", id="long"
        ),
        (
            ("tables", "deadline", "rows", 0, 6),
            "\ud800",
            "half of a surrogate pair is no character",
        ),
        (("tables", "joint_review", "rows", 0, 5), "a\x00b", "holds U+0000, which nobody sees"),
    ],
)
def test_what_is_wrong_with_a_document_is_told(
    path: tuple[Any, ...], value: Any, message: str
) -> None:
    found = refused(changed(path, value))

    assert found[0].message.startswith(message)
    assert len(str(found[0])) < 400


def test_a_number_that_python_itself_would_not_print_is_told() -> None:
    (found,) = refused(changed(("inputs", 2, "max"), 10**5000))
    assert found.message == "input people: max: more than 15 digits"

    (found,) = refused(changed(("format",), [10**5000]))
    assert found.message == "format is a number of thousands of digits, expected 1"


def test_a_row_of_a_document_is_told_with_the_number_that_it_would_have_in_a_file() -> None:
    (found,) = refused(changed(("tables", "lead", "rows", 1, 3), "many"))

    assert (found.code, found.file, found.row, found.column, found.cell) == (
        "T009",
        "lead.csv",
        3,
        "people",
        "many",
    )
