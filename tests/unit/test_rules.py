"""The lead table: derived from the catalogue, and right for every service and district."""

import csv
import io

import pytest

from catalogue import District, Service, load_catalogue
from catalogue.build_rules import TABLE, text
from services.router.domain import Route, decide
from tests import examples

CATALOGUE = load_catalogue()
RULES = examples.city_rules()
OPEN = [service for service in CATALOGUE.services.values() if service.open]


def route(service: str, district: str, side: str | None = None) -> Route:
    return decide(RULES, service, {"district": district, "side_of_aiguo": side})


def of_family(family: str) -> list[Service]:
    found = [service for service in OPEN if service.family == family]
    assert found, f"the catalogue has no open service of the family {family}"
    return found


def test_the_table_is_what_the_catalogue_says() -> None:
    assert TABLE.read_text("utf-8") == text(CATALOGUE)


def test_no_two_rules_have_the_same_id() -> None:
    ids = [row["id"] for row in csv.DictReader(io.StringIO(text(CATALOGUE)))]

    assert len(ids) == len(set(ids))


def _sides(service: Service, district: District) -> tuple[str | None, ...]:
    return ("north", "south") if (service.family, district.short) == ("land", "ZZ") else (None,)


@pytest.mark.parametrize("service", OPEN, ids=lambda service: service.code)
def test_every_open_service_goes_from_every_district_to_an_agency_or_to_triage(
    service: Service,
) -> None:
    for district in CATALOGUE.districts.values():
        for side in _sides(service, district):
            found = route(service.code, district.zh, side)

            assert {found.agency, found.responsible, *found.chain} <= set(CATALOGUE.agencies)
            assert found.agency not in found.chain
            # By rule wherever somebody knows whose business it is.
            assert found.decision.outcome == ("rule" if service.agency else "triage")


def test_a_service_that_nobody_owns_goes_to_triage_without_a_candidate() -> None:
    (unowned,) = (service for service in OPEN if not service.agency)
    found = route(unowned.code, "大安區")

    assert (found.agency, found.decision.candidates) == ("TRIAGE", ())


def test_a_parcel_in_zhongzheng_goes_to_the_land_office_of_its_side_of_the_road() -> None:
    for service in of_family("land"):
        assert route(service.code, "中正區", "south").agency == "LO-GT"
        assert route(service.code, "中正區", "north").agency == "LO-JC"


def test_a_parcel_in_zhongzheng_whose_side_nobody_gave_goes_to_triage() -> None:
    for service in of_family("land"):
        found = route(service.code, "中正區", None)

        assert found.agency == "TRIAGE"


@pytest.mark.parametrize(
    ("district", "office"),
    [
        ("松山區", "LO-SS"),
        ("信義區", "LO-SS"),
        ("大安區", "LO-DA"),
        ("文山區", "LO-GT"),
        ("大同區", "LO-JC"),
        ("萬華區", "LO-JC"),
        ("內湖區", "LO-ZS"),
        ("北投區", "LO-SL"),
    ],
)
def test_a_parcel_elsewhere_goes_to_the_land_office_of_its_district(
    district: str, office: str
) -> None:
    for service in of_family("land"):
        # A side of the road that is given though it does not matter does no harm.
        assert {route(service.code, district, side).agency for side in (None, "north")} == {office}


@pytest.mark.parametrize("district", CATALOGUE.districts.values(), ids=lambda d: d.short)
def test_a_chain_begins_at_household_registration_and_ends_with_the_agency_it_is_for(
    district: District,
) -> None:
    for service in of_family("household-chain"):
        found = route(service.code, district.zh)

        assert found.agency == f"HRO-{district.short}"
        assert found.chain == (f"DO-{district.short}", service.agency)
        assert found.responsible == service.agency


def test_where_the_page_speaks_of_a_second_review_the_agency_follows_the_district_office() -> None:
    services = of_family("district-office")
    assert {"second review" in service.split_review for service in services} == {True, False}

    for service in services:
        found = route(service.code, "大安區")
        second = "second review" in service.split_review
        assert found.agency == "DO-DA"
        assert found.chain == ((service.agency,) if second else ())
