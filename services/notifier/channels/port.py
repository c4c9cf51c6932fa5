"""The port of a channel, and the three ways in which a send can fail.

Each failure has a stable, dotted code (`sms.throttled`) that operators group by. A provider's own
words never get into it: they may quote the recipient's address.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from shared.contract.errors import PermanentError, TransientError


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message ready to leave. `to` is an E.164 number or a mail address, and personal."""

    notice_id: UUID
    to: str = field(repr=False)
    subject: str
    text: str = field(repr=False)
    language: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the message. The id is the provider's own, a raw string."""

    provider: str
    provider_message_id: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """What finally became of an accepted message.

    `state` is `delivered`, or how it failed: `expired`, `deleted`, `undeliverable`, `rejected`,
    `unknown`. States on the way (en route, accepted) are never reported. `at` is aware.
    """

    provider: str
    provider_message_id: str
    state: str
    at: datetime


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


class Channel(Protocol):
    """One way to reach a citizen. Many sends may be under way at once."""

    async def start(self) -> None:
        """Connect. A provider that is down is no error: it is looked for in the background."""

    async def stop(self) -> None:
        """Say goodbye and let go of every connection."""

    async def send(self, message: Outgoing) -> Accepted:
        """Raises TemporaryRefusal, PermanentRefusal or OutcomeUnknown, within 60 s."""
