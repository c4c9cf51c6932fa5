"""Conditions and ruleset.yaml that cannot be read: told with what was probably meant."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.rules import load
from services.router.rules.conditions import (
    Condition,
    ConditionError,
    Type,
    read_condition,
    write_value,
)
from tests.rules.folders import HEADER, folder, lead, problem, row

TYPES: tuple[Type, ...] = ("text", "integer", "yes_no", "date")


def said_of(cell: str, kind: Type) -> str:
    """Why the cell is no condition."""
    with pytest.raises(ConditionError) as error:
        read_condition(cell, kind)
    return str(error.value)


# The cells.


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "is empty: write '-' for anything"),
        (";", "an item is empty: two semicolons, or one at the end"),
        ("not()", "an item is empty: two semicolons, or one at the end"),
        ("not( ; )", "an item is empty: two semicolons, or one at the end"),
        ("missing;", "an item is empty: two semicolons, or one at the end"),
        ("missing;;missing", "an item is empty: two semicolons, or one at the end"),
        ("not(missing)", "'missing' cannot stand inside not(...)"),
        ('"', "a quotation mark is left open"),
        ('"""', "a quotation mark is left open"),
    ],
)
def test_a_cell_outside_of_the_grammar_is_told_whatever_its_type(
    cell: str, message: str, kind: Type
) -> None:
    assert said_of(cell, kind) == message


@pytest.mark.parametrize("kind", ["text", "integer", "date"])
@pytest.mark.parametrize("cell", ["-; missing", "present; missing", "missing; -"])
def test_a_word_that_stands_for_a_whole_cell_stands_alone(cell: str, kind: Type) -> None:
    assert "stands alone in a cell" in said_of(cell, kind)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1..", "a value is missing beside '..' or behind a sign"),
        ("..5", "a value is missing beside '..' or behind a sign"),
        ("<", "a value is missing beside '..' or behind a sign"),
        ("[1..5", "'[1..5': a range has both brackets or none, as [1..5)"),
        ("1..5)", "'1..5)': a range has both brackets or none, as [1..5)"),
        ("[1;5]", "'[1' is no whole number"),
        ("1..2..3", "'2..3' is no whole number"),
        ("5..4", "'5..4': this range holds nothing"),
        ("(3..4)", "'(3..4)': this range holds nothing"),
        ("not(<5; >=5)", "nothing can match this"),
        ("not(present)", "'present' stands alone in a cell"),
        ("<>5", "'>5' is no whole number"),
        ("= 5", "'= 5' is no whole number; values are separated by ';'"),
        ("1-5", "'1-5' is no whole number; a range is written 1..5"),
        ("-0", "'-0' is no whole number; write 0"),
        ("+5", "'+5' is no whole number"),
        ("1234567890123456", "'1234567890123456' is no whole number: more than 15 digits"),
        ('"5"', "'\"5\"' is no whole number; only texts are quoted"),
        ("1 2", "'1 2' is no whole number; write 12"),
        ("1\nx", "'1\\nx' is no whole number; values are separated by ';'"),
        ("5\u200b", "'5\\u200b' is no whole number; it holds U+200B, which nobody sees"),
        ("１２", "'１２' is no whole number; write '12'"),
        ("1；2", "'1；2' is no whole number; write '1;2'"),
        ("1、2", "'1、2' is no whole number; write '1;2'"),
        ("≥5", "'≥5' is no whole number; write '>=5'"),
        ("＜５", "'＜５' is no whole number; write '<5'"),
        ("1～5", "'1～5' is no whole number; write '1..5'"),
        ("[1‥5]", "'[1‥5]' is no whole number; write '[1..5]'"),
        ("not（5）", "'not（5）' is no whole number; write 'not(5)'"),
        ("Missing", "'Missing' is no whole number; write 'missing'"),
        ("－", "'－' is no whole number; write '-'"),
        ("⑤", "'⑤' is no whole number; write '5'"),
        ("٥", "'٥' is no whole number"),
    ],
)
def test_a_cell_that_is_no_integer_is_told_with_what_was_probably_meant(
    cell: str, message: str
) -> None:
    assert said_of(cell, "integer").startswith(message)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("2026-02-30", "'2026-02-30': there is no such day"),
        ("0000-01-01", "'0000-01-01': there is no such day"),
        ("2026-13-01", "'2026-13-01': there is no such day"),
        ("2026/11/24", "'2026/11/24' is no date YYYY-MM-DD; write 2026-11-24"),
        ("2026-1-5", "'2026-1-5' is no date YYYY-MM-DD; write 2026-01-05"),
        ("2026年1月5日", "'2026年1月5日' is no date YYYY-MM-DD; write 2026-01-05"),
        ("115/11/24", "'115/11/24' is no date YYYY-MM-DD; write 2026-11-24"),
        ("26/11/24", "'26/11/24' is no date YYYY-MM-DD; write the year with four digits"),
        ("11/24/2026", "'11/24/2026' is no date YYYY-MM-DD; write it as 2026-11-24"),
        ("20261124", "'20261124' is no date YYYY-MM-DD; write it as 2026-11-24"),
        ("2026-W48-2", "'2026-W48-2' is no date YYYY-MM-DD; write it as 2026-11-24"),
        ("2026-11-24T00:00", "'2026-11-24T00:00' is no date YYYY-MM-DD"),
        ("today", "'today' is no date YYYY-MM-DD"),
        (
            "２０２６-１１-２４",
            "'２０２６-１１-２４' is no date YYYY-MM-DD; write '2026-11-24'",
        ),
        ("<0001-01-01", "nothing can match this"),
        ("> 9999-12-31", "nothing can match this"),
        ("(2026-01-01..2026-01-02)", "'(2026-01-01..2026-01-02)': this range holds nothing"),
        ("[2026-01-01..2025-12-31]", "'[2026-01-01..2025-12-31]': this range holds nothing"),
    ],
)
def test_a_cell_that_is_no_date_is_told_with_what_was_probably_meant(
    cell: str, message: str
) -> None:
    assert said_of(cell, "date").startswith(message)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("Yes", "'Yes' is neither yes nor no; write 'yes'"),
        ("ＮＯ", "'ＮＯ' is neither yes nor no; write 'no'"),
        ("true", "'true' is neither yes nor no"),
        ("是", "'是' is neither yes nor no"),
        ("1", "'1' is neither yes nor no"),
        ('"yes"', "'\"yes\"' is neither yes nor no"),
        ("not(yes; no)", "nothing can match this"),
    ],
)
def test_a_cell_that_is_neither_yes_nor_no_is_told(cell: str, message: str) -> None:
    assert said_of(cell, "yes_no") == message


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("a；b", "'a；b' holds '；': separate values by ';'; write 'a;b'"),
        ("a、b", "'a、b' holds '、': separate values by ';'; write 'a;b'"),
        ("<5", "'<5': ranges are for integers and dates; quote it as a text"),
        ("＞5", "'＞5': ranges are for integers and dates; quote it as a text"),
        ("a..b", "'a..b': ranges are for integers and dates; quote it as a text"),
        ("not(not(a))", "'not(a)': not(...) stands alone in a cell"),
        ("a; not(b)", "'not(b)': not(...) stands alone in a cell"),
        ("not(a", "'not(a': not(...) stands alone in a cell"),
        (
            "not（a）",
            "'not（a）': not(...) stands alone in a cell, in small letters and half-width",
        ),
        ("NOT(a)", "'NOT(a)': not(...) stands alone in a cell, in small letters and half-width"),
        ("Missing", "'Missing': write 'missing' or, when it is a value, quote it"),
        ("ＰＲＥＳＥＮＴ", "'ＰＲＥＳＥＮＴ': write 'present' or, when it is a value, quote it"),
        ("－", "'－': write '-' or, when it is a value, quote it"),
        ("—", "'—': write '-' or, when it is a value, quote it"),
        ("a; -", "'-' stands alone in a cell, or is quoted when it is a value"),
        ('say "x"', "'say \"x\"': quote the whole text, a mark inside is written twice"),
        ('"a" "b"', '\'"a" "b"\': a quoted text is one pair of marks around all of it'),
        ('"a"b', "'\"a\"b': a quoted text is one pair of marks around all of it"),
        ('""', "'\"\"': a quoted text is one pair of marks around all of it"),
        ("大安區\u200b", "'大安區\\u200b' holds U+200B, which nobody sees: type it anew"),
        ('"大安區\u200e"', "'\"大安區\\u200e\"' holds U+200E, which nobody sees: type it anew"),
        ("大\n安", "'大\\n安' holds U+000A, which nobody sees: type it anew"),
        ("\ud800", "'\\ud800' holds U+D800, which nobody sees: type it anew"),
    ],
)
def test_a_cell_that_is_no_text_is_told_with_what_was_probably_meant(
    cell: str, message: str
) -> None:
    assert said_of(cell, "text").startswith(message)


@pytest.mark.parametrize("text", ["Missing", "－", "not（a）", "＜5", "a；b", "-", "a..b", 'x"y'])
def test_what_only_looks_like_a_word_is_a_value_when_it_is_quoted(text: str) -> None:
    written = write_value(text, "text")

    assert written.startswith('"')
    assert read_condition(written, "text").values == {text}


@pytest.mark.parametrize(
    "text", ["等…", "10-20號", "(甲)", "南　港", "5", "yes", "noting", "missing link", "一", "ー"]
)
def test_a_text_that_only_resembles_a_word_needs_no_marks(text: str) -> None:
    assert read_condition(text, "text").values == {text}


def test_ideographic_and_other_blanks_around_a_part_do_not_count() -> None:
    assert read_condition("\u3000甲\u00a0;\n乙\u3000", "text").values == {"甲", "乙"}
    assert read_condition("not(\u30001 ..\u30002 )", "integer") == read_condition(
        "not(1..2)", "integer"
    )


@given(text=st.text(min_size=1))
def test_every_text_that_can_be_a_value_is_read_as_it_was_written(text: str) -> None:
    try:
        condition = read_condition(write_value(text, "text"), "text")
    except ConditionError as error:
        assert "which nobody sees" in str(error)
        assert any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp") for one in text)
    else:
        assert condition.values == {text}


@given(cell=st.text(alphabet='-0159.;[]()<>="" \u3000not missing presentyes2026；、（）\u200b'))
@settings(max_examples=500)
def test_any_cell_of_any_type_is_a_condition_or_told_in_one_line(cell: str) -> None:
    for kind in TYPES:
        try:
            found = read_condition(cell, kind)
        except ConditionError as error:
            assert str(error).isprintable()
            assert len(str(error)) < 300
        else:
            assert isinstance(found, Condition)


# What a pattern that tries too much would take years for.
PATHOLOGICAL = [
    '"' * 2000,
    '"a' * 1000,
    '""' * 999 + '"x',
    '"" ' * 666,
    '"";' * 666,
    '"' + "a" * 1997 + '";',
    "." * 2000,
    ". " * 1000,
    "(" * 1000 + ".." + ")" * 998,
    "[" * 2000,
    ";" * 2000,
    "; " * 1000,
    " " * 2000,
    "not(" * 500,
    "not(" * 400 + ")" * 400,
    "not" + " " * 1996,
    "<" * 2000,
    ">=" * 1000,
    "-" * 2000,
    "0" * 2000,
    "1" * 2000,
    "1-" * 1000,
    "1" * 999 + " " * 999 + "-",
    "1," * 1000,
    "1E" * 1000,
    "2026-" * 400,
    "1;" * 999 + "1",
    "1..2;" * 399 + "1..2",
    "missing;" * 249 + "missing",
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", TYPES)
def test_no_cell_of_two_thousand_characters_keeps_the_reader_busy(kind: Type) -> None:
    for cell in PATHOLOGICAL:
        for place in range(20):  # each is another cell
            try:
                read_condition(cell[place:], kind)
            except ConditionError as error:
                assert len(str(error)) < 300


# ruleset.yaml.


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ruleset: small", "ruleset: Small Rules", "ruleset is 'Small Rules': expected a name of"),
        ("ruleset: small", "ruleset: [small]", "ruleset is ['small']: expected a name of small"),
        ("ruleset: small\n", "", "ruleset is None: expected a name of small letters"),
        ("ruleset:", "rule_set:", "unknown key 'rule_set': did you mean 'ruleset'?; known are"),
        ("inputs:", "Inputs:", "unknown key 'Inputs': did you mean 'inputs'?"),
        ("tables:", "policies:", "unknown key 'policies'; known are ruleset, inputs, tables"),
        ("UNIQUE", "unique", "hit policy of lead is 'unique', expected UNIQUE or PRIORITY"),
        ("UNIQUE", "COLLECT", "hit policy of lead is 'COLLECT', expected UNIQUE or PRIORITY"),
        ("UNIQUE", "FIRST", "hit policy of lead is 'FIRST', expected UNIQUE or PRIORITY"),
        ("UNIQUE", "[UNIQUE]", "hit policy of lead is ['UNIQUE'], expected UNIQUE or PRIORITY"),
        ("lead: {hit", "led: {hit", "tables: unknown 'led': did you mean 'lead'?; known are lead,"),
        ("lead: {hit", "assume: {hit", "tables: unknown 'assume'; known are lead, joint_review"),
        ("hit_policy", "policy", "tables: lead: expected {hit_policy: UNIQUE}"),
        ("{hit_policy: UNIQUE}", "UNIQUE", "tables: lead: expected {hit_policy: UNIQUE}"),
        ("type: yes_no", "type: boolean", "input newborn: type is 'boolean', expected one of text"),
        ("{type: yes_no}", "yes_no", "input newborn: expected {type: ..., meaning: ...}"),
        ("{type: yes_no}", "{}", "input newborn: type is None, expected one of text, integer"),
        ("yes_no}", "yes_no, min: 0}", "input newborn: min and max are for integer and date"),
        ("yes_no}", "yes_no, values: [a]}", "input newborn: values and names are for text"),
        ("newborn:", "Newborn:", "input 'Newborn': a name is small letters, digits and _"),
        ("newborn:", "新生兒:", "input '新生兒': a name is small letters, digits and _"),
        ("newborn:", "lead:", "input lead: this name belongs to another column"),
        ("newborn:", "priority:", "input priority: this name belongs to another column"),
        ("newborn:", "people:", "the key 'people' is there twice"),
        ("  service:", "  services:", "inputs: the first must be service, of type text"),
        ("text, names: services", "integer", "inputs: the first must be service, of type text"),
        ("names: services", "values: [a]", "input service: may have names: services, and no"),
        ("names: services", "names: districts", "input service: may have names: services, and"),
        ("names: districts", "names: places", "input district: names is 'places', expected one"),
        ("[north, south]", "[]", "input side: values: expected a list of texts"),
        ("[north, south]", "north", "input side: values: expected a list of texts"),
        ("[north, south]", "[north, '']", "input side: values: '' is no text"),
        ("[north, south]", "[north, [south]]", "input side: values: ['south'] is no text"),
        ("[north, south]", "[north, north]", "input side: values: 'north' is there twice"),
        ("[north, south]", '["a\\u200b"]', "input side: values: 'a\\u200b' holds U+200B, which"),
        ("[north, south]", "[a], names: districts", "input side: has values and names; only one"),
        (
            "unit: people",
            "units: people",
            "input people: unknown key 'units': did you mean 'unit'?",
        ),
        ("unit: people", "meaning: [a]", "input people: meaning is ['a'], expected a text"),
        ("min: 0", "min: many", "input people: 'many' is no whole number"),
        ("min: 0", "min: 1.0", "input people: '1.0' is no whole number; write 1"),
        ("min: 0", "min: 010", "input people: '010' is no whole number; leave out the leading"),
        ("min: 0", "min: 1_000", "input people: '1_000' is no whole number; write 1000"),
        ("min: 0", "min: [0]", "input people: min is ['0'], expected a whole number"),
        ("min: 0", "min: ", "input people: a value is missing"),
        ("min: 0", "min: 100001", "input people: min is above max"),
        pytest.param("min: 0", "min: " + "9" * 5000, "input people: '999", id="5000 digits"),
        ("1900-01-01", "1900-02-30", "input born_on: '1900-02-30': there is no such day"),
        (
            "1900-01-01",
            "1900/1/1",
            "input born_on: '1900/1/1' is no date YYYY-MM-DD; write 1900-01",
        ),
        ("1900-01-01", "1900-01-01 00:00:00", "input born_on: '1900-01-01 00:00:00' is no date"),
        ("1900-01-01", "9999-12-31, max: 2000-01-01", "input born_on: min is above max"),
    ],
)
def test_a_key_or_value_of_the_header_that_is_wrong_is_told(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in HEADER
    found = problem(tmp_path, {"ruleset.yaml": HEADER.replace(old, new, 1)})

    assert (found.code, found.file, found.column) == ("T004", "ruleset.yaml", None)
    assert found.message.startswith(message)
    assert len(str(found)) < 400


@pytest.mark.parametrize(
    ("text", "row_number", "message"),
    [
        ("ruleset: [small", 1, "is no YAML: expected ',' or ']'"),
        ("ruleset: small\ninputs: {a: b", 2, "is no YAML: expected ',' or '}'"),
        ("ruleset: small\n\tinputs: 1", 2, "is no YAML: found character '\\t' that cannot start"),
        ("ruleset: small\n---\nruleset: other", 2, "is no YAML: but found another document"),
        ("ruleset: small\nruleset: other", 2, "the key 'ruleset' is there twice"),
        ("ruleset: small\n? [a]\n: b", 2, "a key is a word"),
        ("inputs: &a [x]\ntables: *a", 2, "an alias (*name) is not read: write it out"),
        ("a: &a {b: 1}\nc:\n  <<: *a", 3, "an alias (*name) is not read: write it out"),
        ("ruleset: \x07", None, "is no YAML: special characters are not allowed"),
        ("- ruleset", None, "expected the keys ruleset, inputs and tables"),
        ("small", None, "expected the keys ruleset, inputs and tables"),
        ("# nothing", None, "expected the keys ruleset, inputs and tables"),
        ("ruleset: small", None, "inputs: expected a name and a description for each input"),
        ("inputs: []", None, "inputs: expected a name and a description for each input"),
        ("inputs: {}", None, "inputs: the first must be service, of type text"),
        pytest.param("[" * 1500, None, "is no header of a rule set: hundreds of", id="deep"),
        pytest.param("a: " * 5000, 1, "is no YAML: mapping values are not allowed", id="wide"),
    ],
)
def test_what_is_no_yaml_or_no_header_is_told_with_its_line(
    tmp_path: Path, text: str, row_number: int | None, message: str
) -> None:
    found = problem(tmp_path, {"ruleset.yaml": text})

    assert (found.code, found.file, found.row) == ("T004", "ruleset.yaml", row_number)
    assert found.message.startswith(message)


def test_an_alias_bomb_is_refused_where_its_first_alias_stands(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{at + 1}: &a{at + 1} [{', '.join([f'*a{at}'] * 9)}]" for at in range(9)]

    found = problem(tmp_path, {"ruleset.yaml": "\n".join(lines)})

    assert (found.row, found.message) == (2, "an alias (*name) is not read: write it out")


def test_no_tag_makes_anything_but_text(tmp_path: Path) -> None:
    text = HEADER.replace("unit: people", "unit: !!python/object/apply:os.abort []")
    assert "expected a text" in problem(tmp_path, {"ruleset.yaml": text}).message

    text = HEADER.replace("unit: people", "unit: !!int people")
    assert load(folder(tmp_path, {"ruleset.yaml": text})).inputs[4].unit == "people"


def test_words_and_numbers_of_the_header_are_texts_where_a_text_is_meant(tmp_path: Path) -> None:
    text = HEADER.replace("[north, south]", "[yes, no, on, 007, 1.0, 2026-01-01, null, ~, 1_0]")

    rules = load(folder(tmp_path, {"ruleset.yaml": text, "lead.csv": lead(row(side="no; 007"))}))

    expected = ["yes", "no", "on", "007", "1.0", "2026-01-01", "null", "~", "1_0"]
    assert rules.document["inputs"][2]["values"] == expected
    assert rules.decide({"service": "S-1", "side": "007"}).outcome == "rule"


def test_the_header_travels_as_json_with_numbers_as_numbers_and_dates_as_texts(
    tmp_path: Path,
) -> None:
    people, born_on = (load(folder(tmp_path)).document["inputs"][at] for at in (4, 6))

    assert people == {
        "name": "people",
        "type": "integer",
        "min": 0,
        "max": 100000,
        "unit": "people",
    }
    assert born_on == {"name": "born_on", "type": "date", "min": "1900-01-01"}


def test_more_inputs_than_a_decision_can_hold_are_refused(tmp_path: Path) -> None:
    def header(count: int) -> str:
        more = "".join(f"  i{at}: {{type: integer}}\n" for at in range(count - 1))
        return f"ruleset: many\ninputs:\n  service: {{type: text}}\n{more}"

    columns = ",".join(f"i{at}" for at in range(199))
    cells = ",".join(["5"] * 199)
    table = f"id,service,lead,{columns}\nR-1,S-1,POLICE,{cells}\n"
    rules = load(folder(tmp_path, {"ruleset.yaml": header(200), "lead.csv": table}))
    facts = {"service": "S-1"} | {f"i{at}": 5 for at in range(199)}
    assert rules.decide(facts).outcome == "rule"

    found = problem(tmp_path, {"ruleset.yaml": header(201), "lead.csv": table})
    assert found.message == "inputs: more than 200"
