"""How a message leaves the city: one port, two ways (SMS and mail)."""

from services.notifier.channels.mail import SmtpChannel
from services.notifier.channels.port import (
    Accepted,
    Channel,
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    Receipt,
    TemporaryRefusal,
)
from services.notifier.channels.sms import SmppChannel

__all__ = [
    "Accepted",
    "Channel",
    "OutcomeUnknown",
    "Outgoing",
    "PermanentRefusal",
    "Receipt",
    "SmppChannel",
    "SmtpChannel",
    "TemporaryRefusal",
]
