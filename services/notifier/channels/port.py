"""The port of a provider, and the three ways in which a send can fail.

Each failure has a stable, dotted code (`sms.throttled`) that operators group by. A provider's own
words never get into it: they may quote the recipient's address.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from shared.contract.errors import PermanentError, TransientError


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message ready to leave. `to` is an E.164 number or a mail address, and personal.

    `unsubscribe_url` is of a mail that one may stop with one click (RFC 8058), else empty.
    """

    notice_id: UUID
    to: str = field(repr=False)
    subject: str
    text: str = field(repr=False)
    language: str
    unsubscribe_url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the message. `message_ids` are its own, raw strings, one for each part
    in turn: a mail has one, a long SMS several."""

    message_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What finally became of an accepted message, or of one part of it.

    `state` is `delivered`, or how it failed: `expired`, `deleted`, `undeliverable`, `rejected`,
    `unknown`. States on the way (en route, accepted, delayed) are never reported. `at` is aware.
    `notice_id` is set by providers that give our own reference back: then the receipt finds its
    notice even when the answer to the send was lost. `code` is a detail for operators (`5.1.1`),
    and `hard` says that the address will never work.
    """

    provider: str
    message_id: str
    state: str
    at: datetime
    notice_id: UUID | None = None
    code: str = ""
    hard: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A citizen's answer by SMS. `sender` is an E.164 number, and personal as the text is."""

    provider: str
    sender: str = field(repr=False)
    text: str = field(repr=False)


OnReceipt = Callable[[Receipt], Awaitable[None]]
"""Returns once the receipt is kept; raises when it could not be, and wants it again."""
OnReply = Callable[[Reply], Awaitable[None]]
"""As OnReceipt."""


class TemporaryRefusal(TransientError):  # noqa: N818  a refusal is an answer
    """It certainly did not go out; trying again may help."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class PermanentRefusal(PermanentError):  # noqa: N818  a refusal is an answer
    """It certainly did not go out and never will, as it is."""

    def __init__(self, code: str) -> None:
        super().__init__(code, code)


class OutcomeUnknown(Exception):  # noqa: N818  it is no error: it may well have gone out
    """The request was written and no answer came. To send again may be to send twice."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Provider(Protocol):
    """Who carries messages of one channel. Many sends may be under way at once."""

    name: str

    async def start(self) -> None:
        """Connect. A provider that is down is no error: it is looked for in the background."""

    async def stop(self) -> None:
        """Say goodbye and let go of every connection."""

    async def send(self, message: Outgoing) -> Accepted:
        """Raises TemporaryRefusal, PermanentRefusal or OutcomeUnknown, within 45 s."""
