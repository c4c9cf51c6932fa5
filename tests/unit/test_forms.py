"""Every service's form: one format, a schema that says the same as the checks, a version."""

import json
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from catalogue import load_catalogue
from catalogue.facts import load_facts
from catalogue.forms import PARTS, Choice, Field, Form, Part, form_of, forms, outside
from services.intake.drafts import Draft, body, verify

CITY, ROUTING = load_catalogue(), load_facts()
FORMS = forms(CITY)
VALUES = {
    "applicant.kind": "person",
    "applicant.name": "王小明",
    "applicant.id_number": "A123456789",
    "contact.email": "wang@mail.example",
    "contact.language": "zh-TW",
    "address.district": "大安區",
    "address.line": "和平東路一段 1 號",
}


def draft(service: str, **values: str) -> Draft:
    said = VALUES | {name.replace("__", "."): value for name, value in values.items()}
    return Draft(UUID(int=1), service, "online", "", "zh-TW", said)


def wrong(service: str, **values: str) -> set[str]:
    _, errors = verify(draft(service, **values), FORMS[service], CITY)
    return {error.field for error in errors}


def test_every_service_has_a_form_of_the_one_format() -> None:
    assert FORMS.keys() == CITY.services.keys()
    assert {code: found for code, form in FORMS.items() if (found := outside(form, CITY))} == {}


@pytest.mark.parametrize("code", FORMS)
def test_the_schema_is_one_and_the_form_is_data(code: str) -> None:
    form = FORMS[code]
    Draft202012Validator.check_schema(form.schema)
    assert json.loads(json.dumps(form.layout)) == json.loads(json.dumps(form.layout))
    assert [part["code"] for part in form.layout["parts"]] == [one for one, _, _ in PARTS]


def test_the_version_changes_with_what_is_asked_and_with_nothing_else() -> None:
    service = CITY.services["SVC-001"]
    again = form_of(service, CITY)
    longer = form_of(service.model_copy(update={"documents": ("application", "ID")}), CITY)

    assert again.version == FORMS["SVC-001"].version != longer.version
    assert form_of(service.model_copy(update={"note": "other"}), CITY).version == again.version


def _broken(form: Form, part: str, *fields: Field) -> Form:
    parts = [replace(one, fields=fields) if one.code == part else one for one in form.parts]
    return Form(form.service, tuple(parts))


NAME = Field("applicant.name", "text", "姓名", "Name", True, longest=100)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ((replace(NAME, zh=""),), "has no words in one of the languages"),
        ((replace(NAME, longest=0),), "has no longest length"),
        ((NAME, NAME), "is asked twice"),
        ((replace(NAME, name="contact.name"),), "stands in the part applicant"),
        ((replace(NAME, choices=(Choice("a", "甲", "A"),)),), "has choices and is none"),
        ((), "applicant.name: is missing"),
    ],
)
def test_what_is_outside_the_format_is_named(fields: tuple[Field, ...], said: str) -> None:
    found = outside(_broken(FORMS["SVC-001"], "applicant", *fields), CITY)
    assert any(said in one for one in found), found


def test_a_part_more_or_in_another_order_is_outside() -> None:
    form = FORMS["SVC-001"]
    for parts in (form.parts[::-1], (*form.parts, Part("extra", "其他", "Other", ()))):
        assert any("parts" in one for one in outside(Form(form.service, parts), CITY))


def test_what_the_rules_need_and_no_form_asks_is_named() -> None:
    form = FORMS["SVC-025"]
    answers = next(part for part in form.parts if part.code == "answers")
    less = [one for one in answers.fields if one.name != "answers.participants"]
    found = outside(_broken(form, "answers", *less), CITY)
    assert found == ["answers.participants: the rules ask for it, the form does not"]


def test_a_question_of_one_district_is_needed_there_and_nowhere_else() -> None:
    needed = {"answers.park_m2", "answers.side_of_zhongshan_n_road"}
    asked = {"answers__participants": "10"}
    assert wrong("SVC-025", **asked) == set()
    assert wrong("SVC-025", address__district="士林區", **asked) == needed
    assert wrong("SVC-025", location__district="士林區", **asked) == needed
    # Where the case lies counts, not where the applicant lives.
    both = {"address__district": "士林區", "location__district": "大安區"}
    assert wrong("SVC-025", **both, **asked) == set()


def test_each_mistake_is_named_at_its_field_and_all_at_once() -> None:
    assert wrong(
        "SVC-025",
        applicant__name="",
        applicant__id_number="A123456788",
        contact__email="nobody",
        address__district="",
        answers__participants="many",
    ) == {
        "applicant.name",
        "applicant.id_number",
        "contact.email",
        "address.district",
        "answers.participants",
    }


@pytest.mark.parametrize("value", ["１２００", "1,200", " 1200 "])
def test_a_number_may_be_written_as_people_write_it(value: str) -> None:
    found = body(draft("SVC-026", answers__participants=value), FORMS["SVC-026"])
    assert found["answers"]["participants"] == 1200


_ANSWERS = {
    "applicant.kind": st.sampled_from(["person", "company", ""]),
    "applicant.name": st.sampled_from(["王小明", "𠮷田", ""]),
    "contact.phone": st.sampled_from(["0912345678", ""]),
    "contact.email": st.sampled_from(["wang@mail.example", ""]),
    "address.district": st.sampled_from(["大安區", "中正區", "士林區", ""]),
    "location.district": st.sampled_from(["大安區", "中正區", "士林區", ""]),
    "location.side_of_aiguo": st.sampled_from(["north", "south", ""]),
    "answers.participants": st.sampled_from(["0", "5001", ""]),
    "answers.park_m2": st.sampled_from(["20000", ""]),
    "answers.side_of_zhongshan_n_road": st.sampled_from(["northwest", ""]),
    "answers.newborn": st.sampled_from(["yes", "no", ""]),
    "consents.HH_RECORD": st.sampled_from(["yes", ""]),
}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["SVC-001", "SVC-019", "SVC-025", "SVC-026", "SVC-056"]),
    st.fixed_dictionaries(_ANSWERS),
)
def test_the_schema_and_the_checks_take_the_same_answers(
    code: str, answers: dict[str, str]
) -> None:
    """But for what only a check digit tells; those are sound here."""
    form = FORMS[code]
    number = "04595257" if answers["applicant.kind"] == "company" else "A123456789"
    values = VALUES | answers | {"applicant.id_number": number}
    mine = Draft(UUID(int=1), code, "online", "", "zh-TW", values)
    # What the form does not ask is none of it.
    known = {one.name for one in form.fields()}
    mine = replace(mine, values={name: said for name, said in values.items() if name in known})

    checked, errors = verify(mine, form, CITY)
    problems = list(Draft202012Validator(form.schema).iter_errors(body(mine, form)))
    assert (checked is None) == bool(problems), (errors, problems)


def test_a_draft_that_is_sealed_and_opened_is_the_same() -> None:
    mine = draft("SVC-001", answers__remarks="𠮷\n二行")
    assert replace(mine, values={}).opened(mine.sealed_json()) == mine
    assert mine.expires_at is None
