"""What an SMSC delivers: receipts, and what citizens answer."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from aiosmpplib.codec import GSM7BitCodec

# message_state of SMPP 3.4, 5.2.28, and the words for it in a receipt's text (appendix B).
_FINAL_STATES = {
    2: "delivered",
    3: "expired",
    4: "deleted",
    5: "undeliverable",
    7: "unknown",
    8: "rejected",
}
_FINAL_WORDS = {
    "DELIVRD": "delivered",
    "EXPIRED": "expired",
    "DELETED": "deleted",
    "UNDELIV": "undeliverable",
    "UNKNOWN": "unknown",
    "REJECTD": "rejected",
}
_RECEIPTED_MESSAGE_ID = 0x001E
_MESSAGE_STATE = 0x0427
_MESSAGE_PAYLOAD = 0x0424


@dataclass(frozen=True, slots=True)
class PartReceipt:
    """What an SMSC says of one part; `state` is None while that is not final."""

    message_id: str
    state: str | None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One deliver_sm: a receipt, or a text that a phone has sent (`sender` as the SMSC has it)."""

    sender: str
    text: str
    receipt: PartReceipt | None = None


def read_delivery(body: bytes) -> Delivery:
    """The body of a deliver_sm.

    Of a receipt the parameters of SMPP 3.4 come first and the text, whose form each SMSC invents,
    second. Dates are not looked at: their forms differ most, and nothing needs them. Raises
    ValueError when the body cannot be read.
    """
    try:
        sender, esm_class, coding, message, options = _deliver_sm(body)
    except (IndexError, struct.error) as error:
        raise ValueError("deliver_sm is cut off") from error
    message = message or options.get(_MESSAGE_PAYLOAD, b"")
    if (esm_class & 0b00111100) >> 2 != 1:
        if esm_class & 0b01000000 and message:
            message = message[1 + message[0] :]
        return Delivery(sender, _text(coding, message))
    text = message.decode("latin-1")
    named = options.get(_RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1")
    found = re.search(r"\bid:(\S+)", text)
    message_id = named or (found[1] if found else "")
    if not message_id or "\0" in message_id:
        raise ValueError("receipt without a message id")
    detail = re.search(r"\berr:([0-9A-Za-z]{1,8})\b", text)
    code = detail[1] if detail and detail[1].strip("0") else ""
    if state := options.get(_MESSAGE_STATE):
        return Delivery(sender, "", PartReceipt(message_id, _FINAL_STATES.get(state[0]), code))
    word = re.search(r"\bstat:(\w+)", text)
    final = _FINAL_WORDS.get(word[1].upper()) if word else None
    return Delivery(sender, "", PartReceipt(message_id, final, code))


def _text(coding: int, message: bytes) -> str:
    """What a phone wrote; what cannot be read is replaced."""
    if coding == 8:
        return message.decode("utf-16-be", "replace")
    if coding == 0:
        try:
            return str(GSM7BitCodec().decode(message)[0])
        except (ValueError, KeyError, IndexError):
            return message.decode("latin-1")
    return message.decode("latin-1")


def _deliver_sm(body: bytes) -> tuple[str, int, int, bytes, dict[int, bytes]]:
    at = body.index(b"\0") + 1  # service_type
    end = body.index(b"\0", at + 2)  # source: ton, npi, address
    sender = body[at + 2 : end].decode("latin-1")
    at = body.index(b"\0", end + 3) + 1  # destination: the same
    esm_class = body[at]
    at = body.index(b"\0", at + 3) + 1  # schedule_delivery_time
    at = body.index(b"\0", at) + 1  # validity_period
    coding, length = body[at + 2], body[at + 4]
    message = body[at + 5 : at + 5 + length]
    return sender, esm_class, coding, message, dict(_options(body, at + 5 + length))


def _options(body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at < len(body):
        tag, length = struct.unpack_from("!HH", body, at)
        yield tag, body[at + 4 : at + 4 + length]
        at += 4 + length
