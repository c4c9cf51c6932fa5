"""What a phone makes of the parts it gets, and the file that keeps them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from aiosmpplib.codec import GSM7BitCodec

from deploy.counterparts.screen import Message

_HAS_HEADER = 0b0100_0000
_UCS2 = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One submit_sm; `part` of `of`, joined by `reference`."""

    id: str
    to: str
    sender: str
    reference: int
    part: int
    of: int
    text: str
    at: datetime


def read_part(
    part_id: str,
    to: str,
    sender: str,
    esm_class: int,
    data_coding: int,
    octets: bytes,
    at: datetime,
) -> Part:
    """Raises ValueError for a header or a text that no phone could read."""
    reference, part, of = 0, 1, 1
    if esm_class & _HAS_HEADER:
        reference, part, of = _concatenation(octets[1 : 1 + octets[0]])
        octets = octets[1 + octets[0] :]
    ucs2 = data_coding == _UCS2
    text = octets.decode("utf-16-be") if ucs2 else GSM7BitCodec().decode(octets)[0]
    return Part(part_id, to, sender, reference, part, of, text, at)


def _concatenation(header: bytes) -> tuple[int, int, int]:
    """(reference, part, of) in a user data header of 3GPP TS 23.040, 9.2.3.24."""
    at = 0
    while at + 2 <= len(header):
        element, length = header[at], header[at + 1]
        value = header[at + 2 : at + 2 + length]
        match element, length:
            case 0x00, 3:
                return value[0], value[2], value[1]
            case 0x08, 4:
                return (value[0] << 8) + value[1], value[3], value[2]
        at += 2 + length
    raise ValueError("a header without concatenation")


class Phone:
    """Keeps each part as a line of JSON, and each receipt that was taken.

    A line is handed to the operating system before the SMSC answers: it outlives this process.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._parts: dict[str, Part] = {}
        self._incomplete: dict[tuple[str, str, int, int], dict[int, Part]] = {}
        self._messages: list[Message] = []
        self._receipted: set[str] = set()
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                self._replay(json.loads(line))
        self._file = file.open("a", encoding="utf-8", buffering=1)

    def close(self) -> None:
        self._file.close()

    def all(self) -> Sequence[Message]:
        """Whole messages, the oldest first; one that lacks a part is not shown, as on a phone."""
        return self._messages

    def without_receipt(self) -> list[Part]:
        return [part for part in self._parts.values() if part.id not in self._receipted]

    def take(self, part: Part) -> None:
        self._write({"part": asdict(part) | {"at": part.at.isoformat()}})
        self._join(part)

    def receipted(self, part_id: str) -> None:
        self._write({"receipted": part_id})
        self._receipted.add(part_id)

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _replay(self, line: dict[str, Any]) -> None:
        if found := line.get("part"):
            self._join(Part(**found | {"at": datetime.fromisoformat(found["at"])}))
        else:
            self._receipted.add(line["receipted"])

    def _join(self, part: Part) -> None:
        self._parts[part.id] = part
        key = (part.to, part.sender, part.reference, part.of)
        known = self._incomplete.setdefault(key, {})
        known[part.part] = part
        if len(known) == part.of:
            del self._incomplete[key]
            text = "".join(known[number].text for number in sorted(known))
            self._messages.append(Message(part.id, "+" + part.to, text, part.at, parts=part.of))
