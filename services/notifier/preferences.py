"""What a citizen may see and choose about messages. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from services.notifier.domain import Quiet

Language = Literal["zh-TW", "en"]


@dataclass(frozen=True, slots=True)
class Preferences:
    """Whether messages come by SMS and by mail, in which language, and when none by SMS."""

    sms: bool
    mail: bool
    language: Language
    quiet: Quiet


@dataclass(frozen=True, slots=True)
class Shown:
    """`phone` and `email` are masked, None where there is none."""

    number: str
    phone: str | None
    email: str | None
    preferences: Preferences


class Choices(Protocol):
    """`number` is a recipient's, from a signed link."""

    async def of(self, number: int) -> Shown | None:
        """None when there is no such recipient, or its address was forgotten."""

    async def choose(self, number: int, preferences: Preferences, at: datetime) -> None:
        """From now on; what was chosen before stays written down."""


def masked(address: str | None) -> str | None:
    """Enough of it to know one's own: 09••••••678, a•••@e•••.tw."""
    if not address:
        return None
    if "@" not in address:
        national = "0" + address[4:] if address.startswith("+886") else address
        return national[:2] + "•" * max(3, len(national) - 5) + national[-3:]
    local, _, domain = address.rpartition("@")
    host, _, ending = domain.rpartition(".")
    return f"{local[:1]}•••@{host[:1]}•••.{ending}"
