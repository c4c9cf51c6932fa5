"""The city's rules: what the catalogue says, right for every service and district, and proved."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from catalogue import District, Service, load_catalogue
from catalogue.build_rules import FOLDER, files
from catalogue.facts import load_facts
from catalogue.loader import Catalogue
from services.router.rules import Decision, Names, load, verify

CATALOGUE = load_catalogue()
RULES = load(FOLDER)
OPEN = [service for service in CATALOGUE.services.values() if service.open]
DISTRICTS = list(CATALOGUE.districts.values())
# Parks have a map of their own; a part of 士林 is another office's.
PARK_OFFICES = {
    **dict.fromkeys(("大安區", "中正區", "萬華區"), "PO-QN"),
    **dict.fromkeys(("信義區", "文山區", "南港區"), "PO-NG"),
    **dict.fromkeys(("中山區", "大同區", "松山區"), "PO-YS"),
    "北投區": "PO-YM",
    "內湖區": "PO-HH",
}
PARK_OF_SHILIN = {"park_m2": 20_000, "side_of_zhongshan_n_road": "northwest"}


def decide(service: str, district: str = "大安區", **facts: Any) -> Decision:
    return RULES.decide({"service": service, "district": district, **facts})


def office(service: str, district: str, **facts: Any) -> str:
    lead = decide(service, district, **facts).lead
    assert lead is not None, (service, district, facts)
    return lead.agency


def of_family(family: str) -> list[Service]:
    found = [service for service in OPEN if service.family == family]
    assert found, f"the catalogue has no open service of the family {family}"
    return found


def table(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((FOLDER / f"{name}.csv").read_text("utf-8"))))


def asked(service: str, **facts: Any) -> list[tuple[str, str, str]]:
    """Who works beside the lead: agency, task, document."""
    return [(j.agency, j.task, j.document) for j in decide(service, **facts).joint_review]


def test_the_files_are_what_the_catalogue_says() -> None:
    assert {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.csv")} == files(CATALOGUE)


def test_nothing_is_found_wrong_with_them() -> None:
    names = Names(
        frozenset(CATALOGUE.services), frozenset(CATALOGUE.agencies), frozenset(CATALOGUE.districts)
    )

    assert verify(RULES, names).findings == ()


@pytest.mark.parametrize("example", table("examples"), ids=lambda row: row["id"])
def test_an_example_is_decided_as_it_says(example: dict[str, str]) -> None:
    inputs = load_facts().inputs
    facts: dict[str, Any] = {}
    for name in inputs.keys() & example.keys():
        match inputs[name].type, example[name]:
            case _, "":
                continue
            case "integer", cell:
                facts[name] = int(cell)
            case "yes_no", cell:
                facts[name] = cell == "yes"
            case _, cell:
                facts[name] = cell
    lead = RULES.decide(facts).lead

    assert (lead.agency if lead else "TRIAGE") == example["lead"]
    assert (lead.rule if lead else "") == example["rule"]


def _one_agency(service: Service, district: District) -> str:
    return service.agency or "TRIAGE"


def _household(service: Service, district: District) -> str:
    return f"HRO-{district.short}"


def _district_office(service: Service, district: District) -> str:
    return f"DO-{district.short}"


def _land_office(service: Service, district: District) -> str:
    if district.land_office == "split":
        return "LO-JC"  # the north; the south has a test of its own
    name = f"臺北市{district.land_office}地政事務所"
    return next(code for code, one in CATALOGUE.agencies.items() if one.zh == name)


def _park_office(service: Service, district: District) -> str:
    return PARK_OFFICES.get(district.zh, "PO-YM")


OFFICES: dict[str, Callable[[Service, District], str]] = {
    "agency": _one_agency,
    "household": _household,
    "household-chain": _household,
    "district-office": _district_office,
    "land": _land_office,
    "park": _park_office,
}


@pytest.mark.parametrize("service", OPEN, ids=lambda service: service.code)
def test_every_open_service_goes_from_every_district_to_the_office_that_answers_for_it(
    service: Service,
) -> None:
    # What is said though it does not matter does no harm.
    said = {"side_of_aiguo": "north", "participants": 9, **PARK_OF_SHILIN}
    for district in DISTRICTS:
        lead = decide(service.code, district.zh, **said).lead

        assert lead is not None
        assert lead.agency == OFFICES[service.family](service, district)
        assert lead.responsible == (service.agency or "TRIAGE")
        assert {lead.agency, *lead.chain} <= set(CATALOGUE.agencies)


def test_a_service_that_nobody_owns_goes_to_triage_by_a_rule_of_its_own() -> None:
    unowned = [service.code for service in OPEN if not service.agency]

    assert unowned == ["SVC-032"]
    assert office("SVC-032", "士林區") == "TRIAGE"
    (row,) = (row for row in table("lead") if row["service"] == "SVC-032")
    assert row["note"]


def test_a_parcel_in_zhongzheng_goes_to_the_land_office_of_its_side_of_the_road() -> None:
    for service in of_family("land"):
        assert office(service.code, "中正區", side_of_aiguo="south") == "LO-GT"
        assert office(service.code, "中正區", side_of_aiguo="north") == "LO-JC"


def test_a_parcel_in_zhongzheng_whose_side_nobody_gave_goes_to_triage() -> None:
    for service in of_family("land"):
        assert decide(service.code, "中正區").outcome == "triage"


@pytest.mark.parametrize(
    ("park_m2", "side", "code"),
    [
        (10_000, "northwest", "PO-YM"),
        (10_000, "southeast", "PO-YY"),
        (9_999, "northwest", "PO-YY"),
        (9_999, "southeast", "PO-YY"),
        (0, None, "PO-YY"),
    ],
)
def test_a_park_in_shilin_goes_by_its_size_and_its_side_of_the_line(
    park_m2: int, side: str | None, code: str
) -> None:
    found = office("SVC-025", "士林區", park_m2=park_m2, side_of_zhongshan_n_road=side)

    assert found == code


def test_the_park_offices_are_agencies_under_the_one_that_is_responsible() -> None:
    offices = {*PARK_OFFICES.values(), "PO-YY"}

    assert {CATALOGUE.agencies[code].parent for code in offices} == {"PSLO"}
    assert {code for code in CATALOGUE.agencies if code.startswith("PO-")} == offices


@pytest.mark.parametrize("newborn", [True, None])
@pytest.mark.parametrize("district", DISTRICTS, ids=lambda d: d.short)
def test_child_allowance_for_a_newborn_begins_where_the_birth_is_registered(
    district: District, newborn: bool | None
) -> None:
    found = decide("SVC-019", district.zh, newborn=newborn)

    assert found.lead is not None
    assert found.lead.agency == f"HRO-{district.short}"
    assert found.lead.chain == (f"DO-{district.short}", "DOSW")
    assert found.deadline is not None
    assert (found.deadline.limit, found.deadline.steps) == (50, (1, 24, 25))


@pytest.mark.parametrize("district", DISTRICTS, ids=lambda d: d.short)
def test_child_allowance_for_an_older_child_begins_at_the_district_office(
    district: District,
) -> None:
    found = decide("SVC-019", district.zh, newborn=False)

    assert found.lead is not None
    assert found.lead.agency == f"DO-{district.short}"
    assert (found.lead.chain, found.lead.responsible) == (("DOSW",), "DOSW")
    assert found.deadline is not None
    assert (found.deadline.limit, found.deadline.steps) == (50, (25, 25))


def test_where_the_page_speaks_of_a_second_review_the_agency_follows_the_district_office() -> None:
    services = of_family("district-office")
    assert {"second review" in service.split_review for service in services} == {True, False}

    for service in services:
        lead = decide(service.code).lead
        second = "second review" in service.split_review
        assert lead is not None
        assert lead.chain == ((service.agency,) if second else ())


@pytest.mark.parametrize("service", CATALOGUE.services.values(), ids=lambda service: service.code)
def test_a_case_has_the_limit_that_was_published_and_two_months_without_one(
    service: Service,
) -> None:
    found = decide(service.code, side_of_aiguo="north", **PARK_OF_SHILIN).deadline

    assert found is not None
    wanted = (service.limit, service.limit_unit) if service.limit is not None else (2, "month")
    assert (found.limit, found.unit) == wanted


TRAFFIC, SPORTS = ("TRAF", "review", ""), ("SPORTS", "review", "")


@pytest.mark.parametrize(
    ("service", "participants", "agencies"),
    [
        ("SVC-025", 5000, []),
        ("SVC-025", 5001, [TRAFFIC]),
        ("SVC-026", 2999, []),
        ("SVC-026", 3000, [SPORTS]),
        ("SVC-026", 5000, [SPORTS]),
        ("SVC-026", 5001, [SPORTS, TRAFFIC]),
        ("SVC-027", 9999, []),
    ],
)
def test_a_crowd_brings_the_agencies_that_answer_for_it(
    service: str, participants: int, agencies: list[tuple[str, str, str]]
) -> None:
    assert asked(service, participants=participants) == agencies


def test_a_shop_is_checked_for_zoning_and_for_its_building() -> None:
    assert asked("SVC-065") == [("UDD", "review", ""), ("CMO", "review", "")]


def test_a_stage_is_for_the_traffic_police_and_then_for_the_police() -> None:
    assert asked("SVC-073") == [("TRAF", "review", ""), ("TCPD", "review", "")]


@pytest.mark.parametrize(
    ("service", "consent", "query"),
    [
        ("SVC-001", "consents_hh_record", ("CA", "query", "HH_RECORD")),
        ("SVC-001", "consents_land_rec", ("LAND", "query", "LAND_REC")),
        ("SVC-005", "consents_birth", ("CA", "query", "BIRTH")),
        ("SVC-030", "consents_fire_cert", ("TFD", "query", "FIRE_CERT")),
        ("SVC-110", "consents_disability", ("DOSW", "query", "DISABILITY")),
        ("SVC-118", "consents_use_permit", ("CMO", "query", "USE_PERMIT")),
    ],
)
def test_a_certificate_is_queried_from_its_holder_when_the_citizen_consents(
    service: str, consent: str, query: tuple[str, str, str]
) -> None:
    assert asked(service, **{consent: True}) == [query]
    assert asked(service, **{consent: False}) == asked(service) == []


def test_what_is_held_outside_the_city_is_asked_of_nobody() -> None:
    outside = {"TAX_INCOME", "LABOUR_INS", "BIZ_REG", "PET", "VEHICLE", "ENTRY_EXIT"}

    assert not outside & {row["document"] for row in table("joint_review")}
    consents = {name: True for name in load_facts().inputs if name.startswith("consents_")}
    for service in ("SVC-008", "SVC-009", "SVC-010", "SVC-025", "SVC-035", "SVC-080", "SVC-121"):
        assert asked(service, **consents) == []


def test_an_agency_is_not_asked_for_what_it_holds_itself() -> None:
    for service in ("SVC-072", "SVC-112", "SVC-113"):
        assert CATALOGUE.services[service].waivable
        assert asked(service, consents_use_permit=True) == []


def test_each_consent_that_the_rules_know_is_for_a_document_that_is_queried() -> None:
    queried = {row["document"] for row in table("joint_review") if row["document"]}
    consents = {name for name in load_facts().inputs if name.startswith("consents_")}

    assert consents == {f"consents_{code.lower()}" for code in queried}
    assert queried <= set(CATALOGUE.documents)


def test_every_row_says_what_it_rests_on() -> None:
    for name in ("lead", "joint_review", "deadline", "assume"):
        assert all(row["basis"] for row in table(name)), name


def _with_condition(text: str) -> Catalogue:
    first, *others = CATALOGUE.jurisdiction
    changed = first.model_copy(update={"condition": text})
    return replace(CATALOGUE, jurisdiction=(changed, *others))


def _with_service(**changes: Any) -> Catalogue:
    service = CATALOGUE.services["SVC-001"].model_copy(update=changes)
    return replace(CATALOGUE, services={**CATALOGUE.services, "SVC-001": service})


def _with_holder(text: str) -> Catalogue:
    document = CATALOGUE.documents["HH_RECORD"].model_copy(update={"data_holder": text})
    return replace(CATALOGUE, documents={**CATALOGUE.documents, "HH_RECORD": document})


@pytest.mark.parametrize(
    ("catalogue", "place"),
    [
        (_with_condition("only on Mondays"), "jurisdiction.csv, land of 松山區, condition"),
        (_with_service(split_review="only on Mondays"), "services.csv, SVC-001, split_review"),
        (_with_service(waivable=("only on Mondays",)), "services.csv, SVC-001, waivable"),
        (_with_holder("only on Mondays"), "documents.csv, HH_RECORD, data_holder"),
    ],
    ids=["condition", "split_review", "waivable", "data_holder"],
)
def test_a_sentence_of_the_data_that_nobody_has_read_is_an_error_that_says_where(
    catalogue: Catalogue, place: str
) -> None:
    with pytest.raises(ValueError, match="only on Mondays") as refused:
        files(catalogue)
    assert str(refused.value).startswith(place)
