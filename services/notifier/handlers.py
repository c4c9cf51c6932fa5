"""What the notifier does: write a notice down, send it, take its receipt."""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import structlog

from catalogue import Catalogue
from services.notifier.channels import (
    Channel,
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    TemporaryRefusal,
)
from services.notifier.domain import Claimed, Notice, address_of, next_try, notices_of
from services.notifier.messages import Messages
from shared.contract.errors import PermanentError
from shared.contract.events import (
    ApplicationSubmitted,
    CaseRouted,
    CaseStatusChanged,
    Event,
)

log = structlog.get_logger()
TAKEN = (ApplicationSubmitted, CaseRouted, CaseStatusChanged)
Unseal = Callable[[UUID, str], Awaitable[bytes]]
"""Opens what was sealed for a case; raises PermanentError when it cannot be opened."""


class Ledger(Protocol):
    async def put_recipient(self, case_id: UUID, sealed: str) -> None: ...
    async def put_notice(self, notice: Notice) -> None:
        """Keep a notice; a repeat changes nothing."""


class Outcomes(Protocol):
    async def record(
        self,
        notice: Notice,
        state: str,
        reason: str = "",
        provider: str | None = None,
        provider_message_id: str | None = None,
        next_try_at: datetime | None = None,
    ) -> None:
        """The notice's new state and the event that tells it, in one transaction."""


async def on_event(event: Event, ledger: Ledger, catalogue: Catalogue) -> None:
    """Write down which messages follow from `event`."""
    if isinstance(event, ApplicationSubmitted):
        await ledger.put_recipient(event.case_id, event.sealed)
    for notice in notices_of(event, _names(event, catalogue)):
        await ledger.put_notice(notice)


def _names(event: Event, catalogue: Catalogue) -> Mapping[str, Any]:
    service = catalogue.services.get(getattr(event, "service", ""))
    agency = catalogue.agencies.get(getattr(event, "agency", ""))
    return {
        "service_name": {
            "zh-TW": service.name_zh if service else "",
            "en": service.name_en if service else "",
        },
        "agency_name": {"zh-TW": agency.zh if agency else "", "en": agency.en if agency else ""},
    }


async def send(
    claimed: Claimed,
    channels: Mapping[str, Channel],
    messages: Messages,
    unseal: Unseal,
    outcomes: Outcomes,
    track_url: str,
    now: Callable[[], datetime],
    jitter: Callable[[], float],
) -> None:
    """One try of one notice; whatever comes of it is recorded."""
    notice = claimed.notice
    if notice.expires_at < now():
        await outcomes.record(notice, "expired", "too old to be news")
        return
    try:
        contact = json.loads(await unseal(notice.case_id, claimed.sealed))["contact"]
    except PermanentError as error:
        await outcomes.record(notice, "permanent_failure", error.code)
        return
    to = address_of(notice.channel, contact)
    if to is None:
        await outcomes.record(notice, "suppressed", "no address for this channel")
        return
    language = contact.get("language", "zh-TW")
    rendered = messages.render(
        notice.template, language, notice.channel, _context(notice, language, track_url)
    )
    outgoing = Outgoing(notice.notice_id, to, rendered.subject, rendered.text, language)
    try:
        accepted = await channels[notice.channel].send(outgoing)
    except TemporaryRefusal as error:
        again = next_try(claimed.tries, now(), jitter())
        state = "temporary_failure" if again else "permanent_failure"
        await outcomes.record(notice, state, str(error), next_try_at=again)
    except PermanentRefusal as error:
        await outcomes.record(notice, "permanent_failure", str(error))
    except OutcomeUnknown as error:
        # It may have been sent: never again before a receipt says that it was not.
        await outcomes.record(notice, "unknown", str(error))
    else:
        await outcomes.record(
            notice,
            "sent",
            provider=accepted.provider,
            provider_message_id=accepted.provider_message_id,
        )


def _context(notice: Notice, language: str, track_url: str) -> dict[str, Any]:
    context = dict(notice.context)
    names = {name: context[name][language] for name in ("service_name", "agency_name")}
    items = "、" if language == "zh-TW" else ", "
    return {
        "due_on": "",
        "reason": "",
        **context,
        **names,
        "items": items.join(context.get("items", ())),
        "track_url": track_url,
    }
