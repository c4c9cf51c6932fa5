"""Which messages follow from an event, when they may go, and when a failed one goes again. Pure."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from shared.contract.events import (
    ApplicationConfirmationRequested,
    ApplicationPreferencesRequested,
    ApplicationSubmitted,
    CaseRouted,
    CaseStatusChanged,
    Event,
)

ChannelName = Literal["sms", "mail"]
CHANNELS: tuple[ChannelName, ...] = ("sms", "mail")
CITY = ZoneInfo("Asia/Taipei")
# A citizen is not told of yesterday's step today as if it were news.
EXPIRES_AFTER = timedelta(days=2)
TRY_AGAIN_AFTER_S = (30, 120, 300, 900, 3600, 10_800)
TEMPLATE_OF_STATUS: Mapping[str, str] = {
    "ACCEPTED": "accepted",
    "CORRECTION_REQUESTED": "correction_requested",
    "CORRECTED": "corrected",
    "WITHDRAWN": "withdrawn",
}
ENDS = frozenset({"approved", "rejected", "withdrawn"})
_ON_THE_WAY = frozenset(
    {"received", "triage", "assigned", "reassigned", "step_completed", "accepted", "corrected"}
)
# What a message makes old news, while that has not gone out: it says where the case stands now.
# A request for correction asks for something: only what settles it takes its place.
SUPERSEDES: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(_ON_THE_WAY | {"correction_requested"}, _ON_THE_WAY),
    "corrected": _ON_THE_WAY | {"correction_requested"},
    **dict.fromkeys(ENDS, _ON_THE_WAY | {"correction_requested"}),
}
# Mail wakes nobody.
QUIET_CHANNELS = frozenset({"sms"})
# A citizen asked for these just now, and waits for the link.
_ASKED_FOR = frozenset({"confirm", "preferences"})
# A citizen may stop all but what is asked of them: no one-click stop stands on such a mail.
_ASKS = frozenset({"correction_requested"}) | _ASKED_FOR

Quiet = Literal["city", "none"] | tuple[int, int]
"""The hours without SMS: the city's own, none, or from one full hour until another."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to be. `context` is what its template may use; nothing of it is personal.

    `urgent` passes quiet hours and is not held back for a newer one; a link that was asked for
    passes a citizen's stop too.
    """

    notice_id: UUID
    cause: UUID
    case_id: UUID
    number: str
    channel: ChannelName
    template: str
    happened_at: datetime
    context: Mapping[str, Any] = field(default_factory=dict)
    urgent: bool = False

    @property
    def may_be_stopped(self) -> bool:
        return self.template not in _ASKS


@dataclass(frozen=True, slots=True)
class Claimed:
    """A notice that this dispatcher holds for a minute.

    `recipient` numbers its links; `superseded`: a later notice says it too.
    """

    notice: Notice
    tries: int
    expires_at: datetime
    sealed: str
    recipient: int
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What is known of an address: whether messages are wanted there, and how."""

    wants: bool = True
    given_by: str = ""
    language: str | None = None
    quiet: Quiet = "city"


@dataclass(frozen=True, slots=True)
class Send:
    """It goes out now."""


@dataclass(frozen=True, slots=True)
class Defer:
    """Not now: at `until`."""

    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """It never goes out: `state` is `expired`, `cancelled` or `suppressed`."""

    state: str
    reason: str


def template_of(event: Event) -> str | None:
    """The key of the message for `event`, or None when there is nothing to tell."""
    match event:
        case ApplicationConfirmationRequested():
            return "confirm"
        case ApplicationPreferencesRequested():
            return "preferences"
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


def channels_of(event: Event) -> tuple[ChannelName, ...]:
    """Where the message for `event` goes out: a link that was asked for on one channel alone."""
    asked_for = ApplicationConfirmationRequested | ApplicationPreferencesRequested
    return (event.channel,) if isinstance(event, asked_for) else CHANNELS


def notices_of(event: Event, names: Mapping[str, Any]) -> list[Notice]:
    """One notice for each channel. `names` has the service's and agency's names by language."""
    template = template_of(event)
    if template is None:
        return []
    context: dict[str, Any] = {"number": event.number, **names}
    # Somebody waits for it; but a link goes past quiet hours and past a stop only where the
    # address has shown before that it is theirs.
    urgent = template in _ASKED_FOR and getattr(event, "proven", True)
    if isinstance(event, CaseStatusChanged):
        context |= {
            "reason": event.reason,
            "items": list(event.items),
            "due_on": event.due_on.isoformat() if event.due_on else "",
            "correct_by": event.correct_by.isoformat() if event.correct_by else "",
        }
        # Not to lose a night of the little time there is.
        tomorrow = event.time.astimezone(CITY).date() + timedelta(days=1)
        urgent = event.correct_by is not None and event.correct_by <= tomorrow
    return [
        Notice(
            notice_id=uuid5(event.id, f"applicant:{channel}:{template}"),
            cause=event.id,
            case_id=event.case_id,
            number=event.number,
            channel=channel,
            template=template,
            happened_at=event.time,
            context=context,
            urgent=urgent,
        )
        for channel in channels_of(event)
    ]


def judge(claimed: Claimed, choice: Choice, city: Quiet, now: datetime) -> Send | Defer | End:
    """Whether a claimed notice goes out now, to an address of which `choice` is known.

    `city` are the city's own quiet hours.
    """
    notice = claimed.notice
    if claimed.superseded:
        return End("cancelled", "superseded")
    if claimed.expires_at <= now:
        return End("expired", "too old to be news")
    # Who asks for a link wants it, whatever was chosen; but not where nothing can arrive.
    asked_for = notice.template in _ASKED_FOR and notice.urgent and choice.given_by != "provider"
    if not choice.wants and not asked_for:
        return End("suppressed", f"stopped by {choice.given_by}")
    if notice.channel in QUIET_CHANNELS and not notice.urgent:
        quiet = city if choice.quiet == "city" else choice.quiet
        until = quiet_until(now, quiet)
        if until is not None:
            return Defer(until, "quiet hours")
    return Send()


def quiet_until(now: datetime, quiet: Quiet) -> datetime | None:
    """The end of the quiet hours in which `now` lies; None when it lies in none.

    Hours are the city's. From 21 until 8 goes over midnight; the same hour twice is none at all.
    """
    if not isinstance(quiet, tuple) or quiet[0] == quiet[1]:
        return None
    first, last = quiet
    local = now.astimezone(CITY)
    inside = first <= local.hour < last if first < last else not last <= local.hour < first
    if not inside:
        return None
    end = local.replace(hour=last % 24, minute=0, second=0, microsecond=0)
    if end <= local:
        end += timedelta(days=1)
    return end.astimezone(UTC)


def parse_quiet(text: str) -> Quiet:
    """`city`, `none` or `21-8`. Raises ValueError."""
    if text in ("city", "none"):
        return "city" if text == "city" else "none"
    first, dash, last = text.partition("-")
    if not dash or not (first.isdecimal() and last.isdecimal()) or max(int(first), int(last)) > 23:
        raise ValueError('quiet hours are "none", or two full hours such as "21-8"')
    return int(first), int(last)


def quiet_text(quiet: Quiet) -> str:
    """As parse_quiet reads it."""
    return f"{quiet[0]}-{quiet[1]}" if isinstance(quiet, tuple) else quiet


def hash_of(secret: bytes, channel: str, address: str) -> bytes:
    """An address as the tables know it: the same for the same address, and no way back."""
    text = f"{channel}:{address.casefold()}"
    return hmac.digest(secret, text.encode(), hashlib.sha256)[:16]


def contact_of(unsealed: bytes) -> Mapping[str, Any]:
    """The contact in what was sealed. Raises ValueError when there is none."""
    try:
        contact = json.loads(unsealed)["contact"]
    except (ValueError, KeyError, TypeError):
        raise ValueError("the contact cannot be read") from None
    if not isinstance(contact, dict):
        raise ValueError("the contact cannot be read")
    return contact


def confirm_url_of(unsealed: bytes) -> str:
    """The link to confirm with. Raises ValueError when there is none: a mail without is none."""
    try:
        link = json.loads(unsealed)["confirm_url"]
    except (ValueError, KeyError, TypeError):
        link = None
    if not isinstance(link, str):
        raise ValueError("the link to confirm with cannot be read")
    return link


def next_try(tries: int, now: datetime, jitter: float) -> datetime | None:
    """When to try again after `tries` tries; None when it is enough. `jitter` is in [0, 1)."""
    if tries > len(TRY_AGAIN_AFTER_S):
        return None
    return now + timedelta(seconds=TRY_AGAIN_AFTER_S[tries - 1] * (0.5 + jitter / 2))
