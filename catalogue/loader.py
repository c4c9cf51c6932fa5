"""Reads the tables of catalogue/data and checks them against each other.

All problems are reported at once, each with file, row (as a spreadsheet counts), column and
what was expected.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from catalogue.rows import (
    Agency,
    District,
    Document,
    Jurisdiction,
    Listing,
    Office,
    Row,
    Service,
    Status,
    Topic,
    Transition,
    Wording,
)

# The folder of the city: data and rules. A generated one is named here (catalogue/generated.py).
CITY = Path(os.environ.get("CASEBUS_CITY") or Path(__file__).parent)
R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Problem:
    file: str
    row: int
    column: str
    message: str

    def __str__(self) -> str:
        where = f"row {self.row}, column {self.column}" if self.row else "the file"
        return f"{self.file}: {where}: {self.message}"


class CatalogueError(Exception):
    """The city's data cannot be used as it is; `problems` says where and why."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything by its code; districts by their Chinese name, wordings by the English one."""

    services: Mapping[str, Service]
    agencies: Mapping[str, Agency]
    districts: Mapping[str, District]
    documents: Mapping[str, Document]
    statuses: Mapping[str, Status]
    transitions: Mapping[str, frozenset[str]]
    jurisdiction: tuple[Jurisdiction, ...]
    topics: Mapping[str, Topic]
    listings: Mapping[str, Listing]
    wordings: Mapping[str, Wording]
    offices: Mapping[str, Office]

    def district(self, name: str) -> District | None:
        """A district by its Chinese or English name or its short code, with or without 區."""
        wanted = name.strip().casefold()
        for one in self.districts.values():
            known = (one.zh, one.zh.removesuffix("區"), one.en.casefold(), one.short.casefold())
            if wanted in known or wanted.removesuffix(" district") == one.en.casefold():
                return one
        return None


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """The city's data in `folder` (the project's own when None). Raises CatalogueError."""
    return _cached() if folder is None else _load(folder)


@cache
def _cached() -> Catalogue:
    return _load(CITY / "data")


def _load(folder: Path) -> Catalogue:
    problems: list[Problem] = []
    services = _read(folder / "services.csv", Service, problems)
    agencies = _read(folder / "agencies.csv", Agency, problems)
    districts = _read(folder / "districts.csv", District, problems)
    documents = _read(folder / "documents.csv", Document, problems)
    statuses = _read(folder / "statuses.csv", Status, problems)
    transitions = _read(folder / "transitions.csv", Transition, problems)
    jurisdiction = _read(folder / "jurisdiction.csv", Jurisdiction, problems)
    topics = _read(folder / "topics.csv", Topic, problems)
    listings = _read(folder / "listings.csv", Listing, problems)
    wordings = _read(folder / "wordings.csv", Wording, problems)
    offices = _read(folder / "offices.csv", Office, problems)
    found = Catalogue(
        services=_by("services.csv", "code", services, problems),
        agencies=_by("agencies.csv", "code", agencies, problems),
        districts=_by("districts.csv", "zh", districts, problems),
        documents=_by("documents.csv", "code", documents, problems),
        statuses=_by("statuses.csv", "code", statuses, problems),
        transitions={
            start: frozenset(t.end for _, t in transitions if t.start == start)
            for start in {t.start for _, t in transitions}
        },
        jurisdiction=tuple(row for _, row in jurisdiction),
        topics=_by("topics.csv", "code", topics, problems),
        listings=_by("listings.csv", "code", listings, problems),
        wordings=_by("wordings.csv", "en", wordings, problems),
        offices=_by("offices.csv", "code", offices, problems),
    )
    for number, service in services:
        if service.agency and service.agency not in found.agencies:
            problems.append(_unknown("services.csv", number, "agency", service.agency, "agency"))
        if service.limit is not None and service.limit_unit is None:
            problems.append(
                Problem("services.csv", number, "limit_unit", "is empty though limit is given")
            )
        problems.extend(_unworded(number, service, found))
    if any(problem.file == "services.csv" for problem in problems):
        listings = []  # a service that cannot be read is not one that is missing
    for number, listing in listings:
        problems.extend(_unlisted(number, listing, found))
    for number, agency in agencies:
        if agency.parent != "TCG" and agency.parent not in found.agencies:
            problems.append(_unknown("agencies.csv", number, "parent", agency.parent, "agency"))
    for number, transition in transitions:
        for column, code in (("from", transition.start), ("to", transition.end)):
            if code not in found.statuses:
                problems.append(_unknown("transitions.csv", number, column, code, "status"))
    for number, rule in jurisdiction:
        if rule.district not in found.districts:
            problems.append(
                _unknown("jurisdiction.csv", number, "district", rule.district, "district")
            )
        if rule.office not in found.agencies:
            problems.append(_unknown("jurisdiction.csv", number, "office", rule.office, "agency"))
    if problems:
        raise CatalogueError(problems)
    return found


def _unworded(number: int, service: Service, found: Catalogue) -> Iterator[Problem]:
    """What citizens could read in one language only."""

    def problem(column: str, message: str) -> Problem:
        return Problem("services.csv", number, column, message)

    for column in ("documents", "waivable", "channels"):
        for part in getattr(service, column):
            if part not in found.wordings:
                yield problem(column, f"{part!r} has no Chinese in wordings.csv")
    fee = service.fee_twd
    if fee and not fee.isdecimal() and fee not in found.wordings:
        yield problem("fee_twd", f"{fee!r} has no Chinese in wordings.csv")
    for part in service.accept_at:
        if part not in found.agencies and part not in found.offices:
            yield problem("accept_at", f"{part!r} is in neither agencies.csv nor offices.csv")
    if service.code not in found.listings:
        yield problem("code", f"{service.code!r} has no row in listings.csv")


def _unlisted(number: int, listing: Listing, found: Catalogue) -> Iterator[Problem]:
    if listing.code not in found.services:
        yield _unknown("listings.csv", number, "code", listing.code, "service")
    for column, kind in (("audiences", "audience"), ("life_events", "life_event")):
        for code in getattr(listing, column):
            topic = found.topics.get(code)
            if topic is None or topic.kind != kind:
                yield _unknown("listings.csv", number, column, code, kind.replace("_", " "))
    if len(listing.basis_zh) != len(listing.basis_en):
        yield Problem("listings.csv", number, "basis_en", "give the legal basis in both languages")


def _unknown(file: str, row: int, column: str, value: str, kind: str) -> Problem:
    return Problem(file, row, column, f"{value!r} is no known {kind}")


def _read(path: Path, model: type[R], problems: list[Problem]) -> list[tuple[int, R]]:
    """The rows of a table with their row numbers; what cannot be read goes to `problems`."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        problems.append(Problem(path.name, 0, "", "is missing"))
        return []
    except UnicodeDecodeError as error:
        problems.append(
            Problem(path.name, 0, "", f"is not UTF-8 (byte {error.start}); save it as CSV UTF-8")
        )
        return []
    reader = csv.reader(io.StringIO(text, newline=""))
    head = next(reader, [])
    expected = [field.alias or name for name, field in model.model_fields.items()]
    missing = set(expected) - set(head)
    if missing:
        problems.append(
            Problem(path.name, 1, ", ".join(sorted(missing)), "the column is missing in the head")
        )
        return []
    found = []
    for number, cells in enumerate(reader, start=2):
        if not cells:
            continue  # a blank line: nothing is said, but it counts as a row
        if len(cells) != len(head):
            problems.append(
                Problem(path.name, number, "(all)", f"expected {len(head)} cells in this row")
            )
            continue
        try:
            found.append((number, model.model_validate(dict(zip(head, cells, strict=True)))))
        except ValidationError as error:
            problems.extend(
                Problem(
                    path.name,
                    number,
                    str(item["loc"][0]),
                    f"{item['input']!r}: {item['msg']}",
                )
                for item in error.errors(include_url=False)
            )
    return found


def _by(file: str, column: str, rows: list[tuple[int, R]], problems: list[Problem]) -> dict[str, R]:
    found: dict[str, R] = {}
    for number, row in rows:
        key = getattr(row, column)
        if key in found:
            problems.append(Problem(file, number, column, f"{key!r} stands here twice"))
        found[key] = row
    return found
