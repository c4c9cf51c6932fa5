"""Which messages follow from an event, and when a failed one is tried again. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid5

from shared.contract.events import ApplicationSubmitted, CaseRouted, CaseStatusChanged, Event

ChannelName = Literal["sms", "mail"]
CHANNELS: tuple[ChannelName, ...] = ("sms", "mail")
# A citizen is not told of yesterday's step today as if it were news.
EXPIRES_AFTER = timedelta(days=2)
TRY_AGAIN_AFTER_S = (30, 120, 300, 900, 3600, 10_800)
_MOBILE = re.compile(r"\+8869[0-9]{8}")
TEMPLATE_OF_STATUS: Mapping[str, str] = {
    "ACCEPTED": "accepted",
    "CORRECTION_REQUESTED": "correction_requested",
    "CORRECTED": "corrected",
    "WITHDRAWN": "withdrawn",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to be. `context` is what its template may use; nothing of it is personal."""

    notice_id: UUID
    cause: UUID
    case_id: UUID
    number: str
    channel: ChannelName
    template: str
    expires_at: datetime
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notice that this dispatcher holds for a minute."""

    notice: Notice
    tries: int
    sealed: str


def template_of(event: Event) -> str | None:
    """The key of the message for `event`, or None when there is nothing to tell."""
    match event:
        case ApplicationSubmitted():
            return "received"
        case CaseRouted():
            if event.decision.outcome in ("triage", "control_unit"):
                return "triage"
            if event.decision.outcome == "next_step":
                return "step_completed"
            return "reassigned" if event.tried else "assigned"
        case CaseStatusChanged():
            if event.to_status == "CLOSED":
                return "rejected" if "REJECTED" in event.path else "approved"
            return TEMPLATE_OF_STATUS.get(event.to_status)
    return None


def notices_of(event: Event, names: Mapping[str, Any]) -> list[Notice]:
    """One notice for each channel. `names` has the service's and agency's names by language."""
    template = template_of(event)
    if template is None:
        return []
    context: dict[str, Any] = {"number": event.number, **names}
    if isinstance(event, CaseStatusChanged):
        context |= {
            "reason": event.reason,
            "items": list(event.items),
            "due_on": event.due_on.isoformat() if event.due_on else "",
        }
    return [
        Notice(
            notice_id=uuid5(event.id, f"applicant:{channel}:{template}"),
            cause=event.id,
            case_id=event.case_id,
            number=event.number,
            channel=channel,
            template=template,
            expires_at=event.time + EXPIRES_AFTER,
            context=context,
        )
        for channel in CHANNELS
    ]


def address_of(channel: ChannelName, contact: Mapping[str, Any]) -> str | None:
    """Where the citizen is reached on `channel`, or None: a landline takes no text message."""
    if channel == "mail":
        return contact.get("email") or None
    phone = contact.get("phone") or ""
    return phone if _MOBILE.fullmatch(phone) else None


def next_try(tries: int, now: datetime, jitter: float) -> datetime | None:
    """When to try again after `tries` tries; None when it is enough. `jitter` is in [0, 1)."""
    if tries > len(TRY_AGAIN_AFTER_S):
        return None
    return now + timedelta(seconds=TRY_AGAIN_AFTER_S[tries - 1] * (0.5 + jitter / 2))
