"""Who works beside the lead: reviews that a page names, and certificates that are waived.

Outside the city nobody can be asked here. These services can waive a document, but have no row
for it: income tax (SVC-008, SVC-010), labour insurance (SVC-009), pet registry (SVC-080),
vehicle and driving licence (SVC-110, SVC-111), and business registration (SVC-025, SVC-035,
SVC-036, SVC-117, SVC-121), which the officer looks up on a public website.
"""

from collections.abc import Collection, Iterable, Iterator

from catalogue.building.readings import (
    HOLDERS,
    PAPERS_TO_REVIEW,
    SPLIT_REVIEWS,
    WAIVABLE,
    Review,
    read,
)
from catalogue.loader import Catalogue
from catalogue.rows import Service


def rows(catalogue: Catalogue, lead: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Reviews, then queries, in the order of the services. `lead`: the rows of that table.

    An agency that leads a service is not asked as well.
    """
    leads: dict[str, set[str]] = {}
    for row in lead:
        leads.setdefault(row["service"], set()).add(row["lead"])
    for service in catalogue.services.values():
        for review in _reviews(service):
            if review.agency not in leads[service.code]:
                yield {
                    "id": f"J-{_number(service)}-{review.agency}",
                    "service": service.code,
                    **review.cells,
                    "agency": review.agency,
                    "task": "review",
                    "basis": f"{service.evidence} {service.source}",
                    "note": review.note,
                }
    for service in catalogue.services.values():
        yield from _queries(service, catalogue, leads[service.code])


def _reviews(service: Service) -> list[Review]:
    """Each once, though the page may name one both among the reviews and among the papers."""
    where = f"services.csv, {service.code}, split_review"
    found = list(read(SPLIT_REVIEWS, service.split_review, where))
    for paper in service.documents:
        review = PAPERS_TO_REVIEW.get(paper)
        if review is not None and review not in found:
            found.append(review)
    return found


def _queries(
    service: Service, catalogue: Catalogue, leads: Collection[str]
) -> Iterator[dict[str, str]]:
    for sentence in service.waivable:
        code = read(WAIVABLE, sentence, f"services.csv, {service.code}, waivable")
        if code is None:
            continue
        document = catalogue.documents[code]
        holder = read(HOLDERS, document.data_holder, f"documents.csv, {code}, data_holder")
        if holder is None or holder in leads:
            continue
        yield {
            "id": f"Q-{_number(service)}-{code}",
            "service": service.code,
            f"consents_{code.lower()}": "yes",
            "agency": holder,
            "task": "query",
            "document": code,
            "basis": f"{service.evidence} {service.source}; {document.evidence} {document.source}",
            "note": sentence,
        }


def _number(service: Service) -> str:
    return service.code.removeprefix("SVC-")
