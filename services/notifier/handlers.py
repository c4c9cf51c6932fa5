"""What the notifier does: write a notice down, and send it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import structlog

from catalogue import Catalogue
from services.notifier.channels import Outgoing, Receipt, destination_problem
from services.notifier.domain import (
    ENDS,
    Choice,
    Claimed,
    Defer,
    End,
    Notice,
    Quiet,
    confirm_url_of,
    contact_of,
    judge,
    next_try,
    notices_of,
)
from services.notifier.links import Links
from services.notifier.messages import Messages, Rendered, context_of, names_of
from services.notifier.routes import Attempt, Routes, Sent
from shared.contract.events import (
    ApplicationConfirmationRequested,
    ApplicationPreferencesRequested,
    ApplicationSubmitted,
    CaseRouted,
    CaseStatusChanged,
    Event,
)

log = structlog.get_logger()
TAKEN = (
    ApplicationConfirmationRequested,
    ApplicationPreferencesRequested,
    ApplicationSubmitted,
    CaseRouted,
    CaseStatusChanged,
)


class Ledger(Protocol):
    """Inside the transaction of an event."""

    async def put_recipient(self, case_id: UUID, number: str, sealed: str) -> None:
        """Keep how the citizen is reached; of two the later counts."""

    async def close_case(self, case_id: UUID, at: datetime) -> None:
        """The case has come to its end; a repeat changes nothing."""

    async def put_notice(self, notice: Notice) -> None:
        """Keep a notice; a repeat changes nothing."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a claimed notice. `address` is the hash of where it was to go."""

    notice: Notice
    state: str
    reason: str = ""
    sent: Sent | None = None
    segments: int = 0
    next_try_at: datetime | None = None
    address: bytes | None = None

    @property
    def attempts(self) -> Sequence[Attempt]:
        return self.sent.attempts if self.sent else ()

    @property
    def provider(self) -> str | None:
        return self.attempts[-1].provider if self.attempts else None

    @property
    def message_ids(self) -> Sequence[str]:
        return self.sent.accepted.message_ids if self.sent and self.sent.accepted else ()


class Outcomes(Protocol):
    """The ledger, as the dispatcher sees it; each call is a transaction of its own."""

    async def claim(self, channel: str, limit: int) -> list[Claimed]:
        """Due notices, held by this dispatcher for a minute: of each case one."""

    async def record(self, results: Sequence[Result]) -> None:
        """New states, attempts and the events that tell of them."""

    async def receipts(self, receipts: Sequence[Receipt]) -> None:
        """Take receipts; one that came before changes nothing."""

    async def give_up_lost(self) -> None:
        """Notices whose dispatcher died while sending become `unknown`."""

    async def choices(self, addresses: Sequence[bytes]) -> Mapping[bytes, Choice]:
        """What is known of these addresses; nothing of most."""


async def on_event(event: Event, ledger: Ledger, catalogue: Catalogue) -> None:
    """Write down which messages follow from `event`."""
    if isinstance(event, ApplicationConfirmationRequested | ApplicationSubmitted):
        await ledger.put_recipient(event.case_id, event.number, event.sealed)
    notices = notices_of(event, names_of(event, catalogue))
    for notice in notices:
        await ledger.put_notice(notice)
    if notices and notices[0].template in ENDS:
        await ledger.close_case(event.case_id, event.time)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a notice goes: the address in clear, personal, for as long as it takes to send.

    `confirm_url` is the citizen's own link, when the notice is about one.
    """

    address: str | None = field(repr=False)
    problem: str
    language: str
    hashed: bytes = b""
    confirm_url: str = field(default="", repr=False)


def destination_of(notice: Notice, unsealed: bytes) -> Destination:
    """Where the citizen is reached on the notice's channel; `problem` says why nowhere.

    Raises ValueError when the contact cannot be read.
    """
    contact = contact_of(unsealed)
    language = "en" if contact.get("language") == "en" else "zh-TW"
    address = contact.get("email" if notice.channel == "mail" else "phone")
    if not isinstance(address, str) or not address:
        return Destination(None, "no address for this channel", language)
    if notice.channel == "sms" and (problem := destination_problem(address)):
        return Destination(None, problem, language)
    link = confirm_url_of(unsealed) if notice.template == "confirm" else ""
    return Destination(address, "", language, confirm_url=link)


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends one claimed notice, and says what became of it."""

    routes: Mapping[str, Routes]
    messages: Messages
    links: Links
    track_url: str
    quiet: Quiet
    now: Callable[[], datetime]
    random: Callable[[], float]

    async def send(self, claimed: Claimed, to: Destination, choice: Choice) -> Result:
        """One try of one notice. Raises nothing of what may be wrong with it."""
        notice = claimed.notice
        address = to.hashed or None
        if to.address is None:
            return Result(notice, "suppressed", to.problem)
        match judge(claimed, choice, self.quiet, self.now()):
            case End(state, reason):
                return Result(notice, state, reason, address=address)
            case Defer(until, reason):
                return Result(notice, "deferred", reason, next_try_at=until, address=address)
        language = choice.language or to.language
        try:
            rendered = self._rendered(claimed, language, to.confirm_url)
        except Exception as error:  # noqa: BLE001  the boundary: whatever it is, others go on
            log.error("notice.no_text", template=notice.template, error=type(error).__name__)
            return Result(notice, "permanent_failure", "notice.no_text", address=address)
        unsubscribe = notice.channel == "mail" and notice.may_be_stopped
        message = Outgoing(
            notice.notice_id,
            to.address,
            rendered.subject,
            rendered.text,
            language,
            self.links.unsubscribe(claimed.recipient) if unsubscribe else "",
        )
        sent = await self.routes[notice.channel].send(message, rendered.segments)
        return self._result(claimed, sent, rendered.segments, address)

    def _rendered(self, claimed: Claimed, language: str, confirm_url: str) -> Rendered:
        notice = claimed.notice
        preferences = self.links.preferences(claimed.recipient)
        context: dict[str, Any] = context_of(notice, language, self.track_url, preferences)
        context["confirm_url"] = confirm_url
        return self.messages.render(notice.template, language, notice.channel, context)

    def _result(self, claimed: Claimed, sent: Sent, segments: int, address: bytes | None) -> Result:
        notice = claimed.notice
        if not sent.attempts:
            # Nobody could be asked: the try does not count, and it comes again soon.
            soon = next_try(1, self.now(), 0.0)
            return Result(notice, "created", "no provider", next_try_at=soon, address=address)
        last = sent.attempts[-1]
        match last.outcome:
            case "accepted":
                state, reason, again = "sent", "", None
            case "rejected":
                state, reason, again = "permanent_failure", last.code, None
            case "unknown":
                # It may have been sent: never again before somebody says that it was not.
                state, reason, again = "unknown", last.code, None
            case _:
                again = next_try(claimed.tries, self.now(), self.random())
                state, reason = "temporary_failure" if again else "permanent_failure", last.code
        return Result(notice, state, reason, sent, segments, again, address)
