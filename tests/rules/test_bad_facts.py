"""Facts that no input can have: refused when they are looked at, told, and never a crash."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.rules import FactError, Names, RuleSet, explain, from_document, verify
from services.router.rules.examples import Example

INPUTS = [
    {"name": "service", "type": "text", "names": "services"},
    {"name": "district", "type": "text", "names": "districts"},
    {"name": "side", "type": "text", "values": ["north", "south"]},
    {"name": "street", "type": "text"},
    {"name": "people", "type": "integer", "min": 0, "max": 1000},
    {"name": "floors", "type": "integer"},
    {"name": "newborn", "type": "yes_no"},
    {"name": "born_on", "type": "date", "min": "1900-01-01"},
    {"name": "idle", "type": "integer"},
]
NAMES = Names(frozenset({"S-1", "S-2"}), frozenset({"POLICE"}), frozenset({"中正區", "大安區"}))


def rules(names: Names | None = NAMES) -> RuleSet:
    """Of S-1 a row that looks at every input but `idle`; of S-2 one that looks at nothing."""
    cells = ["中正區", "north", "甲; 乙", "< 100", "< 100", "yes", "< 2026-01-01", "-"]
    columns = ["id", *(str(one["name"]) for one in INPUTS), "lead"]
    document = {
        "format": 1,
        "ruleset": "facts",
        "inputs": INPUTS,
        "tables": {
            "lead": {
                "columns": columns,
                "rows": [
                    ["R-1", "S-1", *cells, "POLICE"],
                    ["R-2", "S-2", *["-"] * 8, "POLICE"],
                ],
            }
        },
    }
    return from_document(document, names)


RULES = rules()
SOUND: dict[str, Any] = {
    "service": "S-1",
    "district": "中正區",
    "side": "north",
    "street": "甲",
    "people": 5,
    "floors": 5,
    "newborn": True,
    "born_on": "2000-01-01",
}


def told(facts: Any, of: RuleSet = RULES) -> FactError:
    with pytest.raises(FactError) as error:
        of.decide(facts)
    return error.value


def test_the_sound_facts_are_decided() -> None:
    assert RULES.decide(SOUND).outcome == "rule"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("service", None, "the code of a service"),
        ("service", "", "the code of a service"),
        ("service", 1, "the code of a service"),
        ("service", True, "the code of a service"),
        ("service", ["S-1"], "the code of a service"),
        ("service", {"S-1": 1}, "the code of a service"),
        ("service", "S-9", "the code of a service of the catalogue"),
        ("service", " S-1", "the code of a service of the catalogue"),
        ("district", "", "a text"),
        ("district", 5, "a text"),
        ("district", "Zhongzheng", "one of 中正區, 大安區"),
        ("district", "中正區 ", "one of 中正區, 大安區"),
        ("district", "\ud800", "a text without halves of surrogate pairs"),
        ("side", "North", "one of north, south"),
        ("side", ["north"], "a text"),
        ("side", {}, "a text"),
        ("side", True, "a text"),
        ("street", "", "a text"),
        ("street", 0, "a text"),
        ("street", 0.5, "a text"),
        ("street", "\ud800", "a text without halves of surrogate pairs"),
        ("people", "5", "a whole number (JSON, without quotes)"),
        ("people", "", "a whole number (JSON, without quotes)"),
        ("people", 5.0, "a whole number (JSON, without quotes)"),
        ("people", float("nan"), "a whole number (JSON, without quotes)"),
        ("people", float("inf"), "a whole number (JSON, without quotes)"),
        ("people", True, "a whole number (JSON, without quotes)"),
        ("people", False, "a whole number (JSON, without quotes)"),
        ("people", [5], "a whole number (JSON, without quotes)"),
        ("people", -1, "at least 0"),
        ("people", 1001, "at most 1000"),
        ("newborn", 1, "true or false"),
        ("newborn", 0, "true or false"),
        ("newborn", "yes", "true or false"),
        ("newborn", "", "true or false"),
        ("newborn", [], "true or false"),
        ("born_on", "2026-02-30", "a date YYYY-MM-DD"),
        ("born_on", "2026-1-5", "a date YYYY-MM-DD"),
        ("born_on", "2000-01-01 ", "a date YYYY-MM-DD"),
        ("born_on", "2000-W01-1", "a date YYYY-MM-DD"),
        ("born_on", "0000-01-01", "a date YYYY-MM-DD"),
        ("born_on", "２０００-01-01", "a date YYYY-MM-DD"),
        ("born_on", "missing", "a date YYYY-MM-DD"),
        ("born_on", "-", "a date YYYY-MM-DD"),
        ("born_on", "", "a date YYYY-MM-DD"),
        ("born_on", 20000101, "a date YYYY-MM-DD"),
        ("born_on", ["2000-01-01"], "a date YYYY-MM-DD"),
        ("born_on", "1899-12-31", "at least 1900-01-01"),
    ],
)
def test_a_fact_that_its_input_cannot_have_is_told_with_what_it_is_and_what_is_expected(
    name: str, value: Any, expected: str
) -> None:
    error = told(SOUND | {name: value})

    assert error.name == name
    assert str(error).startswith(f"{name} is ")
    assert str(error).endswith(f", but {expected} is expected")
    str(error).encode()


@pytest.mark.parametrize("name", [name for name in SOUND if name != "service"])
def test_a_fact_that_is_null_or_not_given_is_missing_and_no_error(name: str) -> None:
    facts = SOUND | {name: None}
    without = {other: value for other, value in SOUND.items() if other != name}

    assert RULES.decide(facts) == RULES.decide(without)
    assert RULES.decide(facts).facts[name] is None


def test_a_missing_service_is_an_error() -> None:
    assert told({}).name == "service"
    assert str(told({})) == "service is None, but the code of a service is expected"


@pytest.mark.parametrize("value", ["5", 0.5, [], {}, True, "\ud800", 10**4000])
@pytest.mark.parametrize("name", ["idle", "no input", "\ud800"])
def test_what_is_not_looked_at_plays_no_part(name: str, value: Any) -> None:
    decision = RULES.decide(SOUND | {name: value})

    assert decision == RULES.decide(SOUND)
    assert name not in decision.facts


def test_a_fact_that_only_other_services_look_at_plays_no_part() -> None:
    decision = RULES.decide({"service": "S-2", "people": "many", "side": []})

    assert dict(decision.facts) == {"service": "S-2"}


def test_a_wrong_fact_is_an_error_however_often_right_ones_went_before() -> None:
    for _ in range(3):
        assert RULES.decide(SOUND).outcome == "rule"
        assert told(SOUND | {"people": True}).name == "people"
        assert told(SOUND | {"side": "North"}).name == "side"


def test_true_is_not_one_and_zero_is_not_false() -> None:
    for people in (0, 1):
        assert RULES.decide(SOUND | {"people": people}).outcome == "rule"
    for people in (False, True):
        assert told(SOUND | {"people": people}).value is people
    assert RULES.decide(SOUND | {"newborn": False}).outcome == "triage"
    assert told(SOUND | {"newborn": 0}).value == 0


def test_a_number_of_any_length_is_a_number_and_is_told_in_short() -> None:
    assert RULES.decide(SOUND | {"floors": 10**4000}).outcome == "triage"
    assert RULES.decide(SOUND | {"floors": -(10**4000)}).outcome == "rule"
    assert len(str(told(SOUND | {"people": 10**4000}))) < 200
    assert str(told(SOUND | {"people": 10**5000})) == (
        "people is a number of thousands of digits, but at most 1000 is expected"
    )


def test_a_huge_fact_is_told_in_short() -> None:
    for value in ("x" * 10**6, ["x" * 100] * 10**5, {f"k{at}": at for at in range(10**5)}):
        for name in ("side", "people", "newborn", "born_on"):
            assert len(str(told(SOUND | {name: value}))) < 200


def test_of_a_long_list_of_names_a_part_is_told() -> None:
    names = Names(frozenset(), frozenset(), frozenset(f"區{at:04}" for at in range(5000)))

    error = told(SOUND | {"district": "nowhere"}, rules(names))

    assert str(error).endswith("區0010, 區0011, ... is expected")


def test_without_names_a_service_that_no_row_names_goes_to_triage() -> None:
    decision = rules(None).decide({"service": "never heard of"})

    assert (decision.outcome, dict(decision.facts)) == ("triage", {"service": "never heard of"})


def test_without_names_a_service_must_be_a_text_all_the_same() -> None:
    for service in ("", None, 5, ["S-1"], "\ud800"):
        assert told({"service": service}, rules(None)).name == "service"


def test_the_agencies_that_gave_a_case_back_may_be_anything() -> None:
    for without in (["POLICE"], ["nobody"], ["", "\ud800"], ["POLICE"] * 1000, {"POLICE"}):
        expected = "triage" if "POLICE" in without else "rule"
        assert RULES.decide(SOUND, without).outcome == expected


def test_an_explanation_is_refused_for_the_same_facts_as_a_decision() -> None:
    for name, value in (("people", "5"), ("side", []), ("service", None), ("born_on", 1)):
        with pytest.raises(FactError) as error:
            explain(RULES, SOUND | {name: value}, "POLICE")
        assert error.value.name == name


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
values = anything | st.sampled_from(
    ["S-1", "S-2", "north", "中正區", "甲", 5, 1001, True, "2000-01-01", "1899-01-01", "\ud800"]
)


@given(facts=st.dictionaries(st.sampled_from([*SOUND, "idle"]) | st.text(), values))
@settings(max_examples=1000)
def test_any_facts_are_decided_and_explained_or_refused(facts: dict[str, Any]) -> None:
    facts = {"service": "S-1"} | facts
    try:
        decision = RULES.decide(facts)
    except FactError as error:
        assert error.name in SOUND
        str(error).encode()
        assert len(str(error)) < 300
        with pytest.raises(FactError):
            explain(RULES, facts)
        return
    json.dumps(decision.to_json(), ensure_ascii=False).encode()
    json.dumps(explain(RULES, facts, "POLICE").to_json(), ensure_ascii=False).encode()
    assert RULES.decide(decision.facts) == decision


@pytest.mark.parametrize(
    ("name", "value"), [("people", 1001), ("side", "west"), ("service", "S-9"), ("born_on", "1")]
)
def test_an_example_with_a_fact_that_cannot_be_is_a_finding_and_no_crash(
    name: str, value: Any
) -> None:
    example = Example("E-1", 2, SOUND | {name: value}, "POLICE", "")
    found = RuleSet(
        RULES.id, RULES.inputs, RULES.tables, RULES.document, NAMES, examples=(example,)
    )

    (finding,) = [one for one in verify(found).findings if one.code == "R501"]

    assert f"{name} is " in finding.message
