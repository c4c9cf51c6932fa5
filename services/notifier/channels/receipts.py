"""Delivery receipts: reading them, and one verdict for a message of several parts."""

import re
import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

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


def read_receipt(body: bytes) -> PartReceipt | None:
    """The receipt in the body of a deliver_sm; None when it is none (a citizen replied).

    The parameters of SMPP 3.4 come first and the text, whose form each SMSC invents, second.
    Dates and error codes are not looked at: their forms differ most, and nothing needs them.
    Raises ValueError when the body cannot be read.
    """
    try:
        esm_class, message, options = _deliver_sm(body)
    except (IndexError, struct.error) as error:
        raise ValueError("deliver_sm is cut off") from error
    if (esm_class & 0b00111100) >> 2 != 1:
        return None
    text = (message or options.get(_MESSAGE_PAYLOAD, b"")).decode("latin-1")
    named = options.get(_RECEIPTED_MESSAGE_ID, b"").rstrip(b"\0").decode("latin-1")
    found = re.search(r"\bid:(\S+)", text)
    message_id = named or (found[1] if found else "")
    if not message_id:
        raise ValueError("receipt without a message id")
    if _MESSAGE_STATE in options:
        return PartReceipt(message_id, _FINAL_STATES.get(options[_MESSAGE_STATE][0]))
    word = re.search(r"\bstat:(\w+)", text)
    return PartReceipt(message_id, _FINAL_WORDS.get(word[1].upper()) if word else None)


def _deliver_sm(body: bytes) -> tuple[int, bytes, dict[int, bytes]]:
    at = body.index(b"\0") + 1  # service_type
    for _ in range(2):  # source, destination: ton, npi, address
        at = body.index(b"\0", at + 2) + 1
    esm_class = body[at]
    at = body.index(b"\0", at + 3) + 1  # schedule_delivery_time
    at = body.index(b"\0", at) + 1  # validity_period
    length = body[at + 4]
    message = body[at + 5 : at + 5 + length]
    return esm_class, message, dict(_options(body, at + 5 + length))


def _options(body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at < len(body):
        tag, length = struct.unpack_from("!HH", body, at)
        yield tag, body[at + 4 : at + 4 + length]
        at += 4 + length


@dataclass(slots=True)
class Whole:
    """A message of several parts while its receipts come in."""

    parts: int
    states: dict[str, str | None] = field(default_factory=dict)
    verdict: str | None = None

    def decide(self) -> str | None:
        """Failed as soon as one part failed, delivered when all are; a verdict stays."""
        if self.verdict is None and len(self.states) == self.parts:
            failed = [one for one in self.states.values() if one not in (None, "delivered")]
            if failed:
                self.verdict = failed[0]
            elif None not in self.states.values():
                self.verdict = "delivered"
        return self.verdict


class PartsLedger:
    """One verdict for a message of several parts, under the id of its last part.

    What is not known here (a message of one part, or of an earlier life of this process) passes
    as it is: then the last part speaks for the whole. So it does for the oldest beyond `limit`.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._whole_of: OrderedDict[str, Whole] = OrderedDict()

    def accepted(self, whole: Whole, message_id: str) -> None:
        """Call in the turn in which the answer was read, so that no receipt can be faster."""
        whole.states[message_id] = None
        self._whole_of[message_id] = whole
        while len(self._whole_of) > self._limit:
            self._whole_of.popitem(last=False)

    def take(self, message_id: str, state: str) -> tuple[str, str] | None:
        """(id, state) of the whole message once it is decided, else None.

        A repeated receipt gives the same answer again: the first may not have been kept.
        """
        whole = self._whole_of.get(message_id)
        if whole is None:
            return message_id, state
        whole.states[message_id] = state
        verdict = whole.decide()
        return None if verdict is None else (list(whole.states)[-1], verdict)
