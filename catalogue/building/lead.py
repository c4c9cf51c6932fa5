"""Who leads each service, in each district, and who follows."""

from collections.abc import Iterator
from dataclasses import dataclass

from catalogue.building.readings import CONDITIONS, Cells, read
from catalogue.loader import Catalogue
from catalogue.rows import Service

TRIAGE = "TRIAGE"
_EXCEPTION = {"priority": "10"}


@dataclass(frozen=True, slots=True)
class _Place:
    """A district or a part of it, and the office that answers for it."""

    district: str
    suffix: str
    cells: Cells
    office: str
    basis: str


def rows(catalogue: Catalogue) -> Iterator[dict[str, str]]:
    """In the order of the services, and within one in the order of the jurisdiction."""
    places = _places(catalogue)
    for service in catalogue.services.values():
        one = {
            "id": service.code,
            "service": service.code,
            "responsible": service.agency,
            "basis": f"{service.evidence} {service.source}",
        }
        match service.family:
            case _ if not service.agency:
                note = "nobody knows yet whose it is: a person decides"
                yield one | {"lead": TRIAGE, "responsible": TRIAGE, "note": note}
            case "agency":
                yield one | {"lead": service.agency}
            case "household-chain":
                yield from _chain(service, one, places)
            case family:
                # The district office reviews first; the agency after it where the page says so.
                second = family == "district-office" and "second review" in service.split_review
                for place in places[family]:
                    chain = service.agency if second else ""
                    yield _at(one, place) | {"lead": place.office, "chain": chain}


def _chain(
    service: Service, one: dict[str, str], places: dict[str, list[_Place]]
) -> Iterator[dict[str, str]]:
    """Household registration hands on to the district office; there is nothing for it to hand
    on when the birth was registered before."""
    district_office = {place.district: place.office for place in places["district-office"]}
    for place in places["household"]:
        chain = f"{district_office[place.district]};{service.agency}"
        yield _at(one, place) | {"lead": place.office, "chain": chain}
    for place in places["district-office"]:
        row = _at(one, place) | _EXCEPTION | {"lead": place.office, "chain": service.agency}
        note = "birth registered before: straight to the district office"
        yield row | {"id": f"{row['id']}.NO", "newborn": "no", "note": note}


def _at(one: dict[str, str], place: _Place) -> dict[str, str]:
    return {
        **one,
        **place.cells,
        "id": one["id"] + place.suffix,
        "district": place.district,
        "basis": f"{one['basis']}; {place.basis}",
    }


def _places(catalogue: Catalogue) -> dict[str, list[_Place]]:
    """By family. Raises ValueError for a condition that nobody has read."""
    found: dict[str, list[_Place]] = {}
    for row in catalogue.jurisdiction:
        short = catalogue.districts[row.district].short
        where = f"jurisdiction.csv, {row.family} of {row.district}, condition"
        for part in read(CONDITIONS, row.condition, where):
            found.setdefault(row.family, []).append(
                _Place(
                    row.district,
                    f".{short}{part.suffix}",
                    part.cells,
                    row.office,
                    f"{row.evidence} {row.source}",
                )
            )
    return found
