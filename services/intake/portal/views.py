"""What a page shows of a service, in one language. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from catalogue import Catalogue, Service
from catalogue.forms import Form
from services.intake.handlers import Step
from services.intake.texts import Language


def N_(text: str) -> str:  # noqa: N802 - the mark by which texts are found
    return text


STAGES = (
    N_("Not listed"),
    N_("Information only; apply at the counter"),
    N_("Form to print; apply at the counter"),
    N_("Book a time online; apply at the counter"),
    N_("Apply online; originals are shown at the counter"),
    N_("Apply online, all of it"),
    N_("Apply online, with papers that we look up ourselves"),
)
EVIDENCE = {
    "S": N_("seen on a page of the city"),
    "W": N_("from an encyclopaedia"),
    "P": N_("partly seen; ask the office"),
    "G": N_("general knowledge; not confirmed"),
    "proposal": N_("our own wording"),
    "generated": N_("made up for tests and shows; not a service of the city"),
}
_UNITS = {
    "working_day": (N_("{n} working day"), N_("{n} working days")),
    "calendar_day": (N_("{n} day"), N_("{n} days")),
    "month": (N_("{n} month"), N_("{n} months")),
    "hour": (N_("{n} hour"), N_("{n} hours")),
}
_ONLINE_FROM_STAGE = 4


@dataclass(frozen=True, slots=True)
class Paper:
    """A document that is asked for, or that the city looks up itself when `waived`."""

    text: str
    waived: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A service in a list."""

    code: str
    name: str
    other_name: str
    agency: str
    stage: str
    online: bool
    generated: bool
    open: bool


@dataclass(frozen=True, slots=True)
class Whole:
    """A service on its page. `evidence` and `listing_evidence` are keys of EVIDENCE."""

    line: Line
    agency_code: str
    offices: list[str]
    fee: str
    limit: str
    papers: list[Paper]
    channels: list[str]
    basis: list[str]
    topics: list[tuple[str, str, str]]
    stage_number: int
    form_version: str
    evidence: str
    listing_evidence: str
    source: str


def is_online(service: Service) -> bool:
    """Whether it can be applied for here."""
    return service.open and service.stage >= _ONLINE_FROM_STAGE


def line(service: Service, catalogue: Catalogue, language: Language) -> Line:
    names = (service.name_zh, service.name_en)
    agency = catalogue.agencies.get(service.agency)
    return Line(
        service.code,
        language.pick(*names),
        language.pick(*reversed(names)),
        language.pick(agency.zh, agency.en) if agency else "",
        language.text(STAGES[service.stage]),
        is_online(service),
        service.evidence == "generated",
        service.open,
    )


def whole(service: Service, form: Form, catalogue: Catalogue, language: Language) -> Whole:
    listing = catalogue.listings[service.code]
    topics = [catalogue.topics[code] for code in (*listing.life_events, *listing.audiences)]
    return Whole(
        line=line(service, catalogue, language),
        agency_code=service.agency,
        offices=[_office(part, catalogue, language) for part in service.accept_at],
        fee=fee(service, catalogue, language),
        limit=limit(service, language),
        papers=[
            Paper(_worded(part, catalogue, language), waived)
            for parts, waived in ((service.documents, False), (service.waivable, True))
            for part in parts
        ],
        channels=[_worded(part, catalogue, language) for part in service.channels],
        basis=list(language.pick(listing.basis_zh, listing.basis_en)),  # type: ignore[arg-type]
        topics=[
            (
                "event" if topic.kind == "life_event" else "audience",
                topic.code,
                language.pick(topic.zh, topic.en),
            )
            for topic in topics
        ],
        stage_number=service.stage,
        form_version=form.version,
        evidence=service.evidence,
        listing_evidence=listing.evidence,
        source=service.source,
    )


def fee(service: Service, catalogue: Catalogue, language: Language) -> str:
    """Empty when nobody has said."""
    said = service.fee_twd
    if not said:
        return ""
    if said == "0":
        return language.text("Free")
    if said.isdecimal():
        return language.text("NT${amount}", amount=said)
    return _worded(said, catalogue, language)


def limit(service: Service, language: Language) -> str:
    """Empty when the city published none."""
    if service.limit_unit == "at_once":
        return language.text("At once")
    if service.limit is None or service.limit_unit is None:
        return ""
    one, many = _UNITS[service.limit_unit]
    return language.text(one if service.limit == 1 else many, n=service.limit)


def structured(shown: Whole, language: Language, url: str, city: str) -> dict[str, Any]:
    """schema.org GovernmentService, as JSON-LD."""
    return {
        "@context": "https://schema.org",
        "@type": "GovernmentService",
        "name": shown.line.name,
        "alternateName": shown.line.other_name,
        "identifier": shown.line.code,
        "url": url,
        "inLanguage": language.tag,
        "serviceOperator": {"@type": "GovernmentOrganization", "name": shown.line.agency or city},
        "provider": {"@type": "GovernmentOrganization", "name": city},
        "areaServed": {"@type": "City", "name": language.pick("臺北市", "Taipei")},
        "audience": [
            {"@type": "Audience", "audienceType": name}
            for kind, _, name in shown.topics
            if kind == "audience"
        ],
        "availableChannel": [{"@type": "ServiceChannel", "name": name} for name in shown.channels],
    }


def _worded(part: str, catalogue: Catalogue, language: Language) -> str:
    english = part[0].upper() + part[1:]
    return language.pick(catalogue.wordings[part].zh, english)


def _office(part: str, catalogue: Catalogue, language: Language) -> str:
    found = catalogue.offices.get(part) or catalogue.agencies[part]
    return language.pick(found.zh, found.en)


@dataclass(frozen=True, slots=True)
class Told:
    """One line of a case's history in plain words. `message`: it is about one of ours."""

    at: datetime
    text: str
    note: str = ""
    message: bool = False


def told(step: Step, catalogue: Catalogue, language: Language) -> Told:
    agency = catalogue.agencies.get(step.agency or "")
    who = language.pick(agency.zh, agency.en) if agency else language.text("the city")
    match step.kind:
        case "routed" if step.detail.get("outcome") in ("triage", "control_unit"):
            text = language.text("A person at the city looks for the right agency.")
        case "routed" if step.detail.get("outcome") == "next_step":
            text = language.text("The next agency has it: {who}.", who=who)
        case "routed":
            text = language.text("It went to {who}.", who=who)
        case "status":
            status = catalogue.statuses.get(step.status or "")
            name = language.pick(status.zh, status.en) if status else str(step.status)
            sentence = _STATUS.get(step.status or "")
            text = language.text(sentence, who=who) if sentence else f"{who}: {name}"
            items = language.listed(list(step.detail.get("items") or ()))
            note = " ".join(filter(None, (items, str(step.detail.get("reason") or ""))))
            return Told(step.happened_at, text, note)
        case "notice":
            by = "sms" if step.detail.get("channel") == "sms" else "mail"
            text = language.text(_NOTICES.get((by, step.status or ""), _NOTICE_OF[by]))
        case "added":
            text = language.text("You added something.")
        case "preferences":
            text = language.text("You asked for the link to choose how we write to you.")
        case "withdrawn":
            text = language.text("You asked to take the case back.")
        case _:
            text = step.kind
    return Told(step.happened_at, text, message=step.kind in ("notice", "preferences"))


_STATUS = {
    "ACCEPTED": N_("{who} has begun."),
    "CORRECTION_REQUESTED": N_("{who} needs something from you; the clock stands still."),
    "CORRECTED": N_("Your answer has come to {who}; the clock goes on."),
    "CLOSED": N_("{who} has decided. The case is closed."),
    "WITHDRAWN": N_("The case was taken back, as you asked."),
}
_NOTICE_OF = {"sms": N_("We wrote you a text message."), "mail": N_("We wrote you a mail.")}
_NOTICES = {
    ("sms", "delivered"): N_("Our text message has arrived."),
    ("mail", "delivered"): N_("Our mail has arrived."),
    ("sms", "permanent_failure"): N_("Our text message could not be delivered."),
    ("mail", "permanent_failure"): N_("Our mail could not be delivered."),
    ("sms", "suppressed"): N_("No text message was sent: there is no number, or you stopped them."),
    ("mail", "suppressed"): N_("No mail was sent: there is no address, or you stopped them."),
}
