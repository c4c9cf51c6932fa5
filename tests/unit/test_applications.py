"""What a citizen hands in: checked, received once, followed; never shown on Kafka in clear."""

import asyncio
import base64
import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from catalogue import load_catalogue
from catalogue.build_rules import FOLDER
from catalogue.facts import RoutingFacts, load_facts
from services.intake.domain import (
    ApplicationForm,
    Checked,
    FieldError,
    Traces,
    check,
    password,
    password_fits,
)
from services.intake.handlers import (
    FOLLOWED,
    Application,
    BodyDiffersError,
    RepeatedKeyError,
    on_event,
    submit,
)
from services.intake.identity import parse_case_number
from shared.contract.events import (
    CASE_EVENTS,
    CaseRouted,
    CaseStatusChanged,
    Decision,
    NoticeStateChanged,
    derived_id,
)
from tests import examples
from tests.fakes import FakeApplications, FakeKeys, FakeSteps

PERSONAL = ("王小明", "A123456789", "0912345678", "886912345678", "wang@mail.example", "八德路")


def body(**changes: Any) -> dict[str, Any]:
    """A body that holds; `applicant__name` changes the name in the part applicant."""
    found: dict[str, Any] = {
        "service": "SVC-001",
        "applicant": {"kind": "person", "name": "王小明", "id_number": "A123456789"},
        "contact": {"phone": "0912345678", "email": "wang@mail.example", "language": "zh-TW"},
        "address": {"postal_code": "100", "district": "中正區", "line": "八德路１段1號"},
        "location": None,
        "answers": {"purpose": "王小明的申請", "copies": 2},
        "consents": ["HH_RECORD"],
    }
    for path, value in changes.items():
        part, _, name = path.partition("__")
        if name:
            found[part][name] = value
        else:
            found[part] = value
    return found


def outcome(**changes: Any) -> tuple[Checked | None, list[FieldError]]:
    return check(ApplicationForm.model_validate(body(**changes)), load_catalogue())


def checked(**changes: Any) -> Checked:
    found, errors = outcome(**changes)
    assert found is not None, errors
    return found


def test_a_form_that_holds_is_normalised() -> None:
    form = checked(applicant__id_number="ａ１２３４５６７８９", address__district="Zhongzheng").form

    assert form.applicant.id_number == "A123456789"
    assert form.contact.phone == "+886912345678"
    assert (form.address.district, form.address.line) == ("中正區", "八德路一段1號")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"service": "SVC-999"}, "service"),
        ({"service": "SVC-089"}, "service"),
        ({"applicant__id_number": "A123456788"}, "applicant.id_number"),
        ({"applicant__kind": "company"}, "applicant.id_number"),
        ({"contact__phone": "12345"}, "contact.phone"),
        ({"contact__email": "nobody"}, "contact.email"),
        ({"contact": {}}, "contact"),
        ({"contact": {"phone": "", "email": ""}}, "contact"),
        ({"address__district": "板橋區"}, "address.district"),
        ({"address__postal_code": "106"}, "address.district"),
        ({"location": {"district": "板橋區"}}, "location.district"),
        ({"consents": ["NO_SUCH_PAPER"]}, "consents"),
        ({"service": "SVC-056"}, "location.side_of_aiguo"),
        ({"service": "SVC-056", "location": {"district": "中正區"}}, "location.side_of_aiguo"),
        ({"service": "SVC-026"}, "answers.participants"),
        ({"answers": {"newborn": "yes"}}, "answers.newborn"),
        ({"answers": {"newborn": 1}}, "answers.newborn"),
        ({"answers": {"participants": "3000"}}, "answers.participants"),
        ({"answers": {"participants": 3000.0}}, "answers.participants"),
        ({"answers": {"participants": True}}, "answers.participants"),
        ({"answers": {"participants": -1}}, "answers.participants"),
        ({"answers": {"participants": 1_000_001}}, "answers.participants"),
        (
            {"answers": {"side_of_zhongshan_n_road": "north"}},
            "answers.side_of_zhongshan_n_road",
        ),
    ],
)
def test_a_field_that_is_wrong_is_named_in_both_languages(
    changes: dict[str, Any], field: str
) -> None:
    found, errors = outcome(**changes)

    assert found is None
    assert [error.field for error in errors] == [field]
    assert re.search(r"[a-z]", errors[0].detail)
    assert re.search(r"[\u4e00-\u9fff]", errors[0].detail)


def test_all_wrong_fields_are_named_at_once() -> None:
    _, errors = outcome(
        service="SVC-999", applicant__id_number="X", contact__phone="1", address__district="?"
    )

    assert {error.field for error in errors} == {
        *("service", "applicant.id_number", "contact.phone", "address.district")
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"applicant__name": "   "},
        {"address__district": ""},
        {"unknown": 1},
        {"applicant__unknown": 1},
        {"answers": {"nested": {"a": 1}}},
        {"answers": {f"q{n}": n for n in range(201)}},
        {"contact__language": "fr"},
        {"location": {"district": "中正區", "side_of_aiguo": "east"}},
    ],
)
def test_a_body_of_another_form_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ApplicationForm.model_validate(body(**changes))


def test_one_way_to_be_reached_is_enough() -> None:
    assert checked(contact={"phone": "0912345678"}).form.contact.email is None
    assert checked(contact={"email": "wang@mail.example"}).form.contact.phone is None


def test_what_is_expected_is_said_with_its_bounds_and_what_was_written_is_not_repeated() -> None:
    _, (error,) = outcome(answers={"participants": "王小明"})

    assert "how many people" in error.detail
    assert "whole number from 0 up to 1000000" in error.detail
    assert "預計參加人數" in error.detail
    assert "王小明" not in error.detail


PARK = {"service": "SVC-025", "location": {"district": "士林區"}}
PARK_ANSWERS = {
    "participants": 80,
    "park_m2": 20_000,
    "side_of_zhongshan_n_road": "northwest",
}


@pytest.mark.parametrize("left_out", PARK_ANSWERS)
def test_what_the_rules_take_for_granted_is_asked_for(left_out: str) -> None:
    answers = {name: value for name, value in PARK_ANSWERS.items() if name != left_out}
    found, errors = outcome(**PARK, answers=answers)

    assert found is None
    assert [error.field for error in errors] == [f"answers.{left_out}"]


def test_what_matters_only_in_a_split_district_is_not_asked_for_elsewhere() -> None:
    assert checked(service="SVC-025", answers={"participants": 80}).facts["district"] == "中正區"
    assert checked(service="SVC-056", location={"district": "大安區"})


def test_the_form_asks_for_whatever_the_rules_assume() -> None:
    """Row by row of assume.csv: the form without it is refused, and its field named."""
    rows = list(csv.DictReader(io.StringIO((FOLDER / "assume.csv").read_text("utf-8"))))
    assert rows
    for row in rows:
        (name,) = (column for column, cell in row.items() if cell == "missing")
        services = ["SVC-001"] if row["service"] == "-" else row["service"].split(";")
        district = row["district"] if row["district"] in load_catalogue().districts else "大安區"
        for service in services:
            if name == "district":
                with pytest.raises(ValidationError):
                    ApplicationForm.model_validate(body(address={"line": "八德路1號"}))
                continue
            _, errors = outcome(service=service, location={"district": district})
            assert name in {error.field.rpartition(".")[2] for error in errors}, (row, service)


def asking_for(tmp_path: Path, inputs: str, name: str) -> RoutingFacts:
    """Rules by which no case comes without the input `name`."""
    (tmp_path / "ruleset.yaml").write_text(
        f"ruleset: test\ninputs: {{service: {{type: text}}, {inputs}}}\n", "utf-8"
    )
    (tmp_path / "assume.csv").write_text(f"id,service,{name}\nA,-,missing\n", "utf-8")
    return load_facts(tmp_path)


def wrong_fields(routing: RoutingFacts, **changes: Any) -> list[str]:
    form = ApplicationForm.model_validate(body(**changes))
    found, errors = check(form, load_catalogue(), routing)
    assert (found is None) == bool(errors)
    return [error.field for error in errors]


def test_an_answer_that_becomes_no_fact_does_not_count_as_given(tmp_path: Path) -> None:
    routing = asking_for(tmp_path, "purpose: {type: text}", "purpose")

    assert wrong_fields(routing, answers={"purpose": "anything"}) == ["answers.purpose"]


def test_a_consent_that_the_rules_take_for_granted_is_given_as_a_consent_only(
    tmp_path: Path,
) -> None:
    routing = asking_for(tmp_path, "consents_hh_record: {type: yes_no}", "consents_hh_record")

    answers = {"consents_hh_record": True}
    assert wrong_fields(routing, answers=answers, consents=[]) == ["consents"]
    assert wrong_fields(routing, answers={}, consents=["HH_RECORD"]) == []


def test_an_answer_that_is_wrong_is_not_told_as_missing_as_well(tmp_path: Path) -> None:
    routing = asking_for(tmp_path, "sure: {type: yes_no}", "sure")

    assert wrong_fields(routing, answers={"sure": "yes"}) == ["answers.sure"]
    assert wrong_fields(routing, answers={}) == ["answers.sure"]
    assert wrong_fields(routing, answers={"sure": False}) == []


@pytest.mark.parametrize("name", ["channel", "applicant_kind", "district"])
def test_what_every_form_says_is_never_missing(tmp_path: Path, name: str) -> None:
    assert wrong_fields(asking_for(tmp_path, f"{name}: {{type: text}}", name)) == []


def test_a_word_that_yaml_takes_for_a_number_can_be_answered(tmp_path: Path) -> None:
    routing = asking_for(tmp_path, "size: {type: text, values: [1, 2, no]}", "size")

    assert wrong_fields(routing, answers={"size": "no"}) == []
    assert wrong_fields(routing, answers={"size": "3"}) == ["answers.size"]


def test_each_input_of_the_rules_has_a_place_in_the_form() -> None:
    fields = {"service", "district", "side_of_aiguo"}
    documents = {f"consents_{code.lower()}" for code in load_catalogue().documents}
    asked = [one for one in load_facts().inputs.values() if one.name not in fields | documents]

    assert asked
    assert not [one.name for one in asked if one.is_open]
    # Said in both languages, for the citizen sees it.
    assert not [one.name for one in asked if one.meaning_en == one.meaning_zh]


def test_the_answers_that_routing_needs_are_facts_and_no_other_is() -> None:
    facts = checked(**PARK, answers={**PARK_ANSWERS, "purpose": "王小明", "copies": 2}).facts

    assert {name: facts[name] for name in PARK_ANSWERS} == PARK_ANSWERS
    assert not {"purpose", "copies"} & facts.keys()


def test_an_answer_cannot_pass_for_what_has_a_field_of_its_own() -> None:
    answers = {
        "service": "SVC-002",
        "district": "大安區",
        "side_of_aiguo": "north",
        "applicant_kind": "company",
        "channel": "counter",
        "consents_land_rec": True,
    }
    facts = checked(answers=answers).facts

    assert facts == checked(answers={}).facts
    _, (error,) = outcome(service="SVC-056", answers=answers)
    assert error.field == "location.side_of_aiguo"


def test_a_consent_is_a_fact_where_an_agency_of_the_city_can_be_asked() -> None:
    facts = checked(consents=["LAND_REC", "LABOUR_INS"]).facts

    assert {name for name in facts if name.startswith("consents_")} == {"consents_land_rec"}
    assert facts["consents_land_rec"] is True
    assert not [name for name in checked(consents=[]).facts if name.startswith("consents_")]


def test_the_facts_are_where_the_case_lies_and_nothing_of_the_person() -> None:
    facts = checked().facts

    assert facts == {
        "district": "中正區",
        "side_of_aiguo": None,
        "applicant_kind": "person",
        "channel": "online",
        "consents_hh_record": True,
    }
    text = json.dumps(facts, ensure_ascii=False)
    assert not [word for word in PERSONAL if word in text]


def test_a_parcel_elsewhere_decides_and_not_where_the_applicant_lives() -> None:
    found = checked(location={"district": "Daan", "side_of_aiguo": "north"})

    assert (found.facts["district"], found.facts["side_of_aiguo"]) == ("大安區", "north")
    assert found.form.address.district == "中正區"


SECRET = b"a secret of the city, 32 bytes.."


@given(st.uuids(), st.uuids())
def test_a_password_opens_its_own_case_and_no_other(case_id: UUID, other: UUID) -> None:
    word = password(SECRET, case_id)

    assert password_fits(SECRET, case_id, word)
    assert password_fits(SECRET, case_id, f" {word.upper().replace('-', '')} ")
    assert password_fits(SECRET, other, word) == (other == case_id)
    assert not password_fits(b"another secret", case_id, word)


def test_a_password_has_80_bits_in_groups_that_can_be_read_out() -> None:
    word = password(SECRET, uuid4())

    assert re.fullmatch(r"([a-z2-7]{4}-){3}[a-z2-7]{4}", word)
    assert len(base64.b32decode(word.replace("-", "").upper())) == 10


@pytest.mark.parametrize("word", ["", "-", "口令", "aaaa-aaaa-aaaa-aaaa", "\x00"])
def test_a_wrong_password_of_any_form_does_not_fit(word: str) -> None:
    assert not password_fits(SECRET, examples.CASE, word)


class Desk:
    """Intake with its fakes; the clock stands still."""

    def __init__(self, now: datetime = examples.NOW) -> None:
        self.applications = FakeApplications()
        self.keys = FakeKeys()
        self.now = now

    async def submit(self, raw: bytes = b"{}", key: str | None = None, **changes: Any) -> Any:
        return await submit(
            checked(**changes),
            raw,
            key,
            self.applications,
            self.keys,
            Traces(SECRET, timedelta(days=30)),
            lambda: self.now,
            "00-trace-01",
        )


async def test_an_application_is_kept_with_its_key_and_its_event_in_one_go() -> None:
    desk = Desk()

    received = await desk.submit()

    kept = desk.applications.kept[received.number]
    event = examples.read_back(desk.applications.told[0])
    assert kept.case_id == received.case_id == event.case_id
    assert event.id == kept.event_id == derived_id(received.case_id, "submitted")
    assert event.service == kept.service == "SVC-001"
    assert desk.applications.told[0].topic == "applications.events"
    assert dict(desk.applications.told[0].headers)["traceparent"] == b"00-trace-01"
    assert desk.applications.wrapped_keys[received.case_id]


async def test_nothing_of_the_person_is_told_in_clear() -> None:
    desk = Desk()

    received = await desk.submit()

    record = desk.applications.told[0]
    text = (record.value + b"".join(value for _, value in record.headers)).decode()
    assert not [word for word in PERSONAL if word in text]
    sealed = examples.read_back(record).sealed
    opened = json.loads(desk.keys.made[received.case_id].unseal(sealed))
    assert opened["applicant"]["name"] == "王小明"
    assert opened["contact"]["phone"] == "+886912345678"
    assert opened["address"]["line"] == "八德路一段1號"
    assert opened["answers"] == {"purpose": "王小明的申請", "copies": 2}


async def test_the_case_number_bears_the_citys_day_and_not_the_servers() -> None:
    evening = datetime(2026, 11, 24, 16, 30, tzinfo=UTC)  # 00:30 on the 25th in Taipei

    received = await Desk(evening).submit()

    assert received.number.startswith("20261125-")
    assert parse_case_number(received.number) == received.number


async def test_each_application_has_a_number_of_its_own() -> None:
    desk = Desk()

    numbers = [(await desk.submit()).number for _ in range(20)]

    assert len(set(numbers)) == 20


async def test_the_same_key_and_body_are_answered_the_same_and_kept_once() -> None:
    desk = Desk()

    first = await desk.submit(b"body", "key")
    again = await desk.submit(b"body", "key")

    assert again == first
    assert len(desk.applications.kept) == len(desk.applications.told) == 1


async def test_the_same_key_with_another_body_is_refused() -> None:
    desk = Desk()
    await desk.submit(b"body", "key")

    with pytest.raises(BodyDiffersError):
        await desk.submit(b"other", "key")
    assert len(desk.applications.kept) == 1


async def test_the_same_body_without_a_key_is_another_application() -> None:
    desk = Desk()

    assert (await desk.submit(b"body")).case_id != (await desk.submit(b"body")).case_id


async def test_a_second_application_of_the_same_person_is_marked_for_the_clerk() -> None:
    desk = Desk()
    first = await desk.submit()
    desk.now += timedelta(days=29)

    second = await desk.submit(applicant__id_number="ａ123456789", contact={"phone": "0911222333"})

    assert examples.read_back(desk.applications.told[1]).duplicates == (first.number,)
    assert desk.applications.kept[second.number].duplicates == (first.number,)


@pytest.mark.parametrize(
    ("later", "changes"),
    [
        (timedelta(days=31), {}),
        (timedelta(0), {"applicant__id_number": "F223456786"}),
        (timedelta(0), {"service": "SVC-002"}),
    ],
    ids=["long ago", "another person", "another service"],
)
async def test_what_is_no_second_application_is_not_marked(
    later: timedelta, changes: dict[str, Any]
) -> None:
    desk = Desk()
    await desk.submit()
    desk.now += later

    await desk.submit(**changes)

    assert examples.read_back(desk.applications.told[1]).duplicates == ()


async def test_what_a_person_is_known_again_by_tells_nothing_without_the_secret() -> None:
    form, later = checked().form, timedelta(days=30)
    one, other = Traces(SECRET, later), Traces(b"another secret", later)

    assert one.person(form) == Traces(SECRET, later).person(form) != other.person(form)
    assert one.contact(form) != other.contact(form)


class RacedApplications(FakeApplications):
    """Another request with the same key is kept just before this one."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self._raw = raw
        self._rival: Application | None = None

    async def put(self, application: Application, wrapped_key: bytes, event: Any) -> None:
        if self._rival is None:
            self._rival = application
            rival = Desk()
            rival.applications = self
            await rival.submit(self._raw, "key")
        await super().put(application, wrapped_key, event)


async def test_of_two_requests_with_one_key_that_race_one_is_the_application() -> None:
    desk = Desk()
    desk.applications = RacedApplications(b"body")

    received = await desk.submit(b"body", "key")

    assert list(desk.applications.kept) == [received.number]


async def test_a_race_between_different_bodies_with_one_key_refuses_the_later() -> None:
    desk = Desk()
    desk.applications = RacedApplications(b"other")

    with pytest.raises(BodyDiffersError):
        await desk.submit(b"body", "key")
    assert len(desk.applications.kept) == 1


class ForgetfulApplications(FakeApplications):
    """Says that the key was used, but does not know by whom."""

    async def put(self, application: Application, wrapped_key: bytes, event: Any) -> None:
        raise RepeatedKeyError


async def test_a_key_that_nobody_can_find_is_not_answered_as_if_all_were_well() -> None:
    desk = Desk()
    desk.applications = ForgetfulApplications()

    with pytest.raises(RepeatedKeyError):
        await desk.submit(b"body", "key")


async def test_ten_at_once_with_one_key_are_one_application() -> None:
    desk = Desk()

    answers = await asyncio.gather(*(desk.submit(b"body", "key") for _ in range(10)))

    assert len({answer.case_id for answer in answers}) == 1
    assert len(desk.applications.kept) == 1


async def _steps(*events: Any) -> list[Any]:
    applications = FakeApplications()
    for event in events:
        await on_event(event, FakeSteps(applications))
    return list(await applications.steps(examples.CASE))


async def test_the_citizen_sees_where_the_case_went_what_became_of_it_and_what_was_sent() -> None:
    triage = Decision(outcome="triage", ruleset="lead", version="v1", rule=None, facts={})

    steps = await _steps(
        examples.event(CaseRouted, agency="TRIAGE", decision=triage),
        examples.event(
            CaseStatusChanged,
            to_status="CORRECTION_REQUESTED",
            items=("passbook",),
            reason="please",
            due_on=date(2026, 12, 2),
        ),
        examples.event(NoticeStateChanged, state="delivered", channel="mail"),
    )

    assert [(s.kind, s.agency, s.status) for s in steps] == [
        ("routed", "TRIAGE", None),
        ("status", "DOSW", "CORRECTION_REQUESTED"),
        ("notice", None, "delivered"),
    ]
    assert [dict(s.detail) for s in steps] == [
        {"outcome": "triage"},
        {"reason": "please", "items": ["passbook"], "due_on": "2026-12-02", "correct_by": None},
        {"channel": "mail"},
    ]


async def test_a_step_that_is_told_twice_is_seen_once() -> None:
    routed = examples.event(CaseRouted)

    assert len(await _steps(routed, routed)) == 1


async def test_a_step_never_names_the_clerk() -> None:
    (step,) = await _steps(examples.event(CaseStatusChanged, by="clerk:陳大文"))

    assert "陳大文" not in repr(step)


@pytest.mark.parametrize("model", [m for m in CASE_EVENTS.values() if m not in FOLLOWED])
async def test_other_events_leave_no_step(model: Callable[..., Any]) -> None:
    assert await _steps(examples.event(model)) == []  # type: ignore[arg-type]
