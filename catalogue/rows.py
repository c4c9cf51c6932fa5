"""The rows of the city's tables, as pydantic reads them from CSV (every cell is text).

`evidence` says how sure a row is: S seen in a source, W from an encyclopaedia, P partly seen,
G general knowledge, `proposal` when it is ours, or `generated` when it is made up for tests and
shows (catalogue/generated.py).
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Evidence = str
Code = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9-]{0,19}$")]
Text = Annotated[str, Field(min_length=1)]


# A semicolon inside brackets belongs to the text of a part.
_BETWEEN_PARTS = re.compile(r";(?![^()]*\))")


def _list(value: Any) -> Any:
    return tuple(part.strip() for part in _BETWEEN_PARTS.split(value) if part.strip())


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


TextList = Annotated[tuple[str, ...], BeforeValidator(_list)]
Flag = Annotated[bool, BeforeValidator(lambda v: {"yes": True, "no": False}.get(v, v))]
Days = Annotated[int, Field(ge=0, le=366)]
LimitUnit = Literal["working_day", "calendar_day", "month", "hour", "at_once"]
Family = Literal["agency", "household", "household-chain", "district-office", "land", "park"]


class Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Service(Row):
    """One case type. `limit` is in `limit_unit`; None when the city published none.

    `agency` is whose business it is (none known: triage); `family` says which office of it
    takes the case in, by district or not. `stage` is 0-6: unlisted, information, form, booking,
    partly online, fully online, fully online with certificates waived.
    """

    code: Code
    official_id: str
    name_zh: Text
    name_en: Text
    agency: str
    family: Family
    accept_at: TextList
    limit: Annotated[Days | None, BeforeValidator(_empty_is_none)]
    limit_unit: Annotated[LimitUnit | None, BeforeValidator(_empty_is_none)]
    stage: Annotated[int, Field(ge=0, le=6)]
    stage_source: str
    open: Flag
    channels: TextList
    fee_twd: str
    documents: TextList
    waivable: TextList
    split_review: str
    evidence: Evidence
    source: str
    note: str


class Topic(Row):
    """One way to look for services: for whom they are, or what has happened in a life."""

    kind: Literal["audience", "life_event"]
    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z_]*$")]
    zh: Text
    en: Text


class Listing(Row):
    """How a service is found: its topics, the words that people say for it, its legal basis."""

    code: Code
    audiences: TextList
    life_events: TextList
    words_zh: TextList
    words_en: TextList
    basis_zh: TextList
    basis_en: TextList
    evidence: Evidence


class Wording(Row):
    """A part of services.csv as citizens read it in Chinese."""

    en: Text
    zh: Text
    evidence: Evidence


class Office(Row):
    """A place in `accept_at` that is no single agency."""

    code: Text
    zh: Text
    en: Text
    evidence: Evidence


class Agency(Row):
    """`own_system`: it reads its topic with a system of its own and sends updates by Kafka."""

    code: Code
    zh: Text
    en: Text
    level: Text
    parent: Text
    portal_prefix: str
    evidence: Evidence
    source: str
    note: str
    own_system: Flag


class District(Row):
    admin_code: Annotated[str, Field(pattern=r"^\d{8}$")]
    postal3: Annotated[str, Field(pattern=r"^\d{3}$")]
    zh: Text
    en: Text
    short: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    boroughs_in_file: Annotated[int, Field(gt=0)]
    land_office: Text
    evidence: Evidence
    source: str


class Document(Row):
    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
    zh: Text
    en: Text
    data_holder: str
    queryable_by: str
    rule: str
    evidence: Evidence
    source: str


class Status(Row):
    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z_]*$")]
    zh: Text
    en: Text
    meaning: Text
    set_by: str
    evidence: Evidence
    source: str


class Transition(Row):
    model_config = ConfigDict(populate_by_name=True)

    start: Annotated[str, Field(alias="from")]
    end: Annotated[str, Field(alias="to")]
    evidence: Evidence


class Jurisdiction(Row):
    """Which office of a family answers for a district, under a condition or always."""

    family: Text
    district: Text
    condition: str
    office: Text
    evidence: Evidence
    source: str
