"""An application: what is asked for, how it is checked, and what routing needs of it. Pure."""

import hashlib
import hmac
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from catalogue import Catalogue
from catalogue.facts import RoutingFacts, load_facts
from services.intake.identity import (
    InvalidValue,
    address_line,
    company_number,
    district,
    email,
    personal_id,
    phone,
)
from shared.contract.events import Facts


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Applicant(_Part):
    kind: Literal["person", "company"]
    name: str = Field(min_length=1, max_length=100)
    id_number: str = Field(min_length=1, max_length=20)


class Contact(_Part):
    phone: str | None = Field(None, max_length=30)
    email: str | None = Field(None, max_length=254)
    language: Literal["zh-TW", "en"] = "zh-TW"


class Address(_Part):
    postal_code: str | None = Field(None, max_length=6)
    district: str = Field(min_length=1, max_length=20)
    line: str = Field(min_length=1, max_length=200)


class Location(_Part):
    """Where the parcel, the venue or the thing is, when that is not the applicant's address."""

    district: str = Field(min_length=1, max_length=20)
    side_of_aiguo: Literal["north", "south"] | None = None


class ApplicationForm(_Part):
    """The body of POST /api/applications. Lengths are in characters."""

    service: str = Field(min_length=1, max_length=20)
    applicant: Applicant
    contact: Contact
    address: Address
    location: Location | None = None
    answers: dict[StrictStr, StrictStr | StrictInt | StrictFloat | StrictBool] = Field(
        default_factory=dict, max_length=200
    )
    consents: list[str] = Field(default_factory=list, max_length=50)


# What of a form is personal, and travels sealed.
SEALED_PARTS = frozenset({"applicant", "contact", "address", "answers"})
# What the rules ask that has a field of its own; all else is asked for in `answers`.
_FIELDS = {
    "service": "service",
    "applicant_kind": "applicant.kind",
    "district": "address.district",
    "side_of_aiguo": "location.side_of_aiguo",
}
_CONSENT = "consents_"


@dataclass(frozen=True, slots=True)
class FieldError:
    """`field` is the path in the body, `detail` says what is wrong and how to mend it."""

    field: str
    detail: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A form that holds: its normalised parts, and the facts that routing may see."""

    form: ApplicationForm
    facts: Facts


def check(
    form: ApplicationForm,
    catalogue: Catalogue,
    routing: RoutingFacts | None = None,
    channel: str = "online",
) -> tuple[Checked | None, list[FieldError]]:
    """The normalised form and its facts, or None and every field that is wrong.

    `routing` is what the rules ask about; the city's own when None. `channel`: online, counter
    or phone.
    """
    routing = routing or load_facts()
    errors: list[FieldError] = []
    changes: dict[str, dict[str, object]] = {}

    def attempt(field: str, work: Callable[[], object]) -> None:
        try:
            found = work()
        except InvalidValue as error:
            errors.append(FieldError(field, f"{error.message_en} / {error.message_zh}"))
        else:
            part, _, name = field.partition(".")
            changes.setdefault(part, {})[name] = found

    if form.service not in catalogue.services:
        errors.append(FieldError("service", f"there is no service {form.service!r} / 查無此服務"))
    elif not catalogue.services[form.service].open:
        errors.append(FieldError("service", "this service is closed / 此服務已停止受理"))
    applicant, contact, address = form.applicant, form.contact, form.address
    check_id = personal_id if applicant.kind == "person" else company_number
    attempt("applicant.id_number", lambda: check_id(applicant.id_number))
    if contact.phone:
        attempt("contact.phone", lambda: phone(contact.phone or ""))
    if contact.email:
        attempt("contact.email", lambda: email(contact.email or ""))
    if not contact.phone and not contact.email:
        errors.append(
            FieldError("contact", "give a phone or an e-mail address / 請填寫電話或電子郵件")
        )
    attempt(
        "address.district",
        lambda: district(catalogue, address.district, address.postal_code),
    )
    attempt("address.line", lambda: address_line(address.line))
    if form.location is not None:
        where = form.location.district
        attempt("location.district", lambda: district(catalogue, where, None))
    for code in form.consents:
        if code not in catalogue.documents:
            errors.append(FieldError("consents", f"there is no document {code!r} / 查無此文件"))
    facts, wrong = _answered(form, routing)
    errors += wrong
    place_of = "address" if form.location is None else "location"
    located = changes.get(place_of, {}).get("district")
    if located is not None:
        facts |= {
            "district": str(located),
            "side_of_aiguo": form.location.side_of_aiguo if form.location else None,
            "applicant_kind": form.applicant.kind,
            "channel": channel,
        }
        if form.service in catalogue.services:
            told = {error.field for error in errors}
            missing = _missing(form.service, str(located), facts, routing)
            errors += [error for error in missing if error.field not in told]
    if errors:
        return None, errors
    for part, values in changes.items():
        form = form.model_copy(update={part: getattr(form, part).model_copy(update=values)})
    return Checked(form, facts), []


def _answered(form: ApplicationForm, routing: RoutingFacts) -> tuple[Facts, list[FieldError]]:
    """The answers and consents that the rules ask about. All others stay sealed."""
    facts: Facts = {}
    errors = []
    for name, value in form.answers.items():
        asked = routing.inputs.get(name)
        if asked is None or asked.is_open or name in _FIELDS or name.startswith(_CONSENT):
            continue
        try:
            facts[name] = asked.read(value)
        except ValueError as error:
            errors.append(FieldError(f"answers.{name}", str(error)))
    consents = {_CONSENT + code.lower() for code in form.consents}
    facts |= dict.fromkeys(sorted(consents & routing.inputs.keys()), True)
    return facts, errors


def _missing(service: str, district: str, facts: Facts, routing: RoutingFacts) -> list[FieldError]:
    """What the rules say is never missing for this service in this district, and yet is."""
    return [
        FieldError(_field(name), routing.inputs[name].expected)
        for name in routing.required(service, district)
        if name != "service" and facts.get(name) is None
    ]


def _field(name: str) -> str:
    """Where in the body an input is given."""
    if name.startswith(_CONSENT):
        return "consents"
    return _FIELDS.get(name, f"answers.{name}")


def password(secret: bytes, case_id: UUID) -> str:
    """The citizen's password for a case: 80 bits, derived, so that it is kept nowhere.

    A repeated submission is thus answered with the same one.
    """
    digest = hmac.new(secret, b"case-password:" + case_id.bytes, hashlib.sha256).digest()
    text = b32encode(digest[:10]).decode().lower()
    return "-".join(text[i : i + 4] for i in range(0, 16, 4))


def password_fits(secret: bytes, case_id: UUID, given: str) -> bool:
    wanted = password(secret, case_id).replace("-", "")
    return hmac.compare_digest(wanted.encode(), given.replace("-", "").strip().lower().encode())


def keyed(secret: bytes, kind: str, text: str) -> bytes:
    """A hash by which the same is known again, and nothing can be guessed without the secret."""
    return hmac.digest(secret, f"{kind}:{text}".encode("utf-8", "replace"), hashlib.sha256)


@dataclass(frozen=True, slots=True)
class Traces:
    """By what an earlier application is known again, for `window`; `secret` keys the hashes."""

    secret: bytes
    window: timedelta

    def person(self, form: ApplicationForm) -> bytes:
        """Who applies for what: the same for each application of one person and service."""
        return keyed(self.secret, "person", f"{form.applicant.id_number}:{form.service}")

    def contact(self, form: ApplicationForm) -> bytes:
        """The address that links are sent to: the e-mail address, else the phone."""
        return keyed(
            self.secret, "contact", (form.contact.email or form.contact.phone or "").lower()
        )


@dataclass(frozen=True, slots=True)
class Received:
    """What a citizen is told: from here the case is the city's to look after."""

    case_id: UUID
    number: str
    received_at: datetime
