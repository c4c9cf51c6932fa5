"""Derives the lead table from the catalogue: `python -m catalogue.build_rules` writes it.

The table is data that rule owners edit; this says where its first form came from.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from catalogue.loader import Catalogue, load_catalogue
from catalogue.rows import Service

TABLE = Path(__file__).parent / "rules" / "lead.csv"
COLUMNS = ("id", "service", "district", "side_of_aiguo", "lead", "chain", "responsible", "basis")
_SIDES = {"south of Aiguo E./W. Rd": "south", "north of Aiguo E./W. Rd": "north"}
Cells = tuple[str, ...]


def rows(catalogue: Catalogue) -> Iterator[Cells]:
    """The rows of the table, without its head, in the order of the services."""
    for service in catalogue.services.values():
        if not service.agency:
            continue  # nobody knows whose it is: no rule, so triage
        basis = f"{service.evidence} {service.source}"
        if service.family in ("agency", "park"):
            yield (service.code, service.code, "-", "-", service.agency, "", service.agency, basis)
        elif service.family == "land":
            yield from _land(service, catalogue, basis)
        else:
            yield from _by_district(service, catalogue, basis)


def _land(service: Service, catalogue: Catalogue, basis: str) -> Iterator[Cells]:
    for rule in catalogue.jurisdiction:
        if rule.family != "land":
            continue
        short = catalogue.districts[rule.district].short
        side = _SIDES.get(rule.condition, "-")
        name = f"{service.code}.{short}" + (f".{side[0].upper()}" if side != "-" else "")
        yield (
            name,
            service.code,
            rule.district,
            side,
            rule.office,
            "",
            service.agency,
            f"{basis}; {rule.evidence} {rule.source}",
        )


def _by_district(service: Service, catalogue: Catalogue, basis: str) -> Iterator[Cells]:
    for district in catalogue.districts.values():
        household, office = f"HRO-{district.short}", f"DO-{district.short}"
        match service.family:
            case "household":
                lead, chain = household, ""
            case "household-chain":
                lead, chain = household, f"{office};{service.agency}"
            case _:
                # The district office reviews first; the agency after it where the page says so.
                second = "second review" in service.split_review
                lead, chain = office, service.agency if second else ""
        yield (
            f"{service.code}.{district.short}",
            service.code,
            district.zh,
            "-",
            lead,
            chain,
            service.agency,
            basis,
        )


def text(catalogue: Catalogue) -> str:
    """The whole table as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows(catalogue))
    return out.getvalue()


if __name__ == "__main__":
    TABLE.write_text(text(load_catalogue()), encoding="utf-8")
