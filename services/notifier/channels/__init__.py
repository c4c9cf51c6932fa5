"""How a message leaves the city: one port, and who carries SMS and mail."""

from services.notifier.channels.bounces import BounceAddress, BounceServer
from services.notifier.channels.dkim import Signer
from services.notifier.channels.gateway import ForgedReceiptError, GatewayProvider, receipt_of
from services.notifier.channels.mail import SmtpProvider
from services.notifier.channels.port import (
    Accepted,
    OnReceipt,
    OnReply,
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    Provider,
    Receipt,
    Reply,
    TemporaryRefusal,
)
from services.notifier.channels.sms import SmppProvider, destination_problem

__all__ = [
    "Accepted",
    "BounceAddress",
    "BounceServer",
    "ForgedReceiptError",
    "GatewayProvider",
    "OnReceipt",
    "OnReply",
    "OutcomeUnknown",
    "Outgoing",
    "PermanentRefusal",
    "Provider",
    "Receipt",
    "Reply",
    "Signer",
    "SmppProvider",
    "SmtpProvider",
    "TemporaryRefusal",
    "destination_problem",
    "receipt_of",
]
