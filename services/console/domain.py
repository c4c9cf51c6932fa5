"""A release of rules on its way: who may do what with it next, and which one decides. Pure."""

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from shared.contract.releases import in_force as decides_on

State = Literal["proposed", "shadow", "live", "withdrawn"]
OPEN: tuple[State, ...] = ("proposed", "shadow")
_LONGEST_NAME = 80
_LONGEST_NOTE = 500


class ReleaseError(Exception):
    """Nothing was changed; the message says why, and what can be done."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release as it is kept, but for its tables. In shadow it decides nothing.

    `rollback_of` is the number of the earlier release whose tables it takes up again.
    """

    number: int
    ruleset: str
    version: str
    state: State
    effective_from: date
    note: str
    rollback_of: int | None
    proposed_by: str
    proposed_at: datetime
    approved_by: str | None
    approved_at: datetime | None
    withdrawn_by: str | None
    withdrawn_at: datetime | None


@dataclass(frozen=True, slots=True)
class Move:
    """Cases of one service that a release in shadow would decide otherwise, counted.

    `differs` are the tables with another outcome; where lead is not among them, both agencies
    are the same. `example` is the number of the first of these cases.
    """

    service: str
    live_agency: str
    agency: str
    differs: tuple[str, ...]
    cases: int
    example: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What a release did in shadow: `cases` decided beside, of which `differing` otherwise.

    `tables` has the number of differing cases for each table; a case may differ in several.
    """

    cases: int
    differing: int
    tables: dict[str, int]
    moves: tuple[Move, ...]


def in_force(releases: Collection[Release], day: date) -> Release | None:
    """The release that decides the cases received on `day`, as the routers find it."""
    live = [release for release in releases if release.state == "live"]
    return decides_on(live, day, _turn)


def _turn(release: Release) -> tuple[date, datetime, int]:
    assert release.approved_at is not None
    return release.effective_from, release.approved_at, release.number


def first_day(wanted: date | None, today: date, releases: Collection[Release]) -> date:
    """From when a release may decide. Raises ReleaseError.

    Cases of earlier days are decided by the rules of their own day; only where there never were
    any may a release reach back.
    """
    if wanted is None or wanted >= today or not _any_live(releases):
        return wanted or today
    raise ReleaseError(
        f"effective from {wanted} is in the past: cases received before today, {today}, are "
        "decided by the rules of their day; name today or a later day"
    )


def day_at_approval(release: Release, today: date, releases: Collection[Release]) -> date:
    """From when it decides when it is approved today: never from a day that has passed since it
    was proposed, unless it is the first of all."""
    return max(release.effective_from, today) if _any_live(releases) else release.effective_from


def _any_live(releases: Collection[Release]) -> bool:
    return any(release.state == "live" for release in releases)


def person(name: str) -> str:
    """The name as it is kept: in Unicode's form NFKC, with single blanks. Raises ReleaseError."""
    kept = " ".join(unicodedata.normalize("NFKC", name).split())
    if not kept or len(kept) > _LONGEST_NAME or not kept.isprintable():
        raise ReleaseError(
            f"{name!r} cannot be a person's name: it needs 1 to {_LONGEST_NAME} characters, all "
            "of which can be seen"
        )
    return kept


def same_person(one: str, other: str) -> bool:
    """Whether two names are meant to be one: width, case and blanks do not tell people apart."""
    return _folded(one) == _folded(other)


def _folded(name: str) -> str:
    return "".join(unicodedata.normalize("NFKC", person(name).casefold()).split())


def remark(note: str) -> str:
    """The note as it is kept, on one line. Raises ReleaseError."""
    kept = " ".join(note.split())
    if len(kept) > _LONGEST_NOTE or not kept.isprintable():
        raise ReleaseError(
            f"the note is longer than {_LONGEST_NOTE} characters, or has some that cannot be seen"
        )
    return kept
