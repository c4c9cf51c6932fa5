"""Exact segmentation of a short message (3GPP TS 23.038 and 23.040).

A text in the GSM alphabet takes a septet a character (two for an escaped one, such as the euro):
160 alone, 152 a part. Any other is UCS-2: 70 UTF-16 units alone, 66 a part. Parts carry a user
data header with a 16-bit reference: with 8 bits, 1 of 256 pairs of messages that reach a handset
together would share it and be woven into each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from aiosmpplib.codec import GSM7BitCodec

Alphabet = Literal["gsm0338", "ucs2"]
MAX_PARTS = 255
_GSM = GSM7BitCodec()
# (alone, in a part) in octets as SMPP carries them: one for a septet, two for a UTF-16 unit.
_ROOM: dict[Alphabet, tuple[int, int]] = {"gsm0338": (160, 152), "ucs2": (140, 132)}


@dataclass(frozen=True, slots=True)
class Segments:
    """The short_message of each part, header included when there are several."""

    alphabet: Alphabet
    parts: tuple[bytes, ...]

    @property
    def concatenated(self) -> bool:
        return len(self.parts) > 1


def segment(text: str, reference: int) -> Segments:
    """Split `text`; `reference` (0-65535) is what its parts share.

    A character is never divided: neither a surrogate pair nor a GSM escape. Raises ValueError
    for a text that no phone could show (empty, a lone surrogate, more than 255 parts).
    """
    if not text:
        raise ValueError("an empty text")
    alphabet: Alphabet = "gsm0338" if _GSM.is_gsm_text(text) else "ucs2"
    alone, in_part = _ROOM[alphabet]
    encoded = [_encode(character, alphabet) for character in text]
    if sum(map(len, encoded)) <= alone:
        return Segments(alphabet, (b"".join(encoded),))
    bodies = list(_fill(encoded, in_part))
    if len(bodies) > MAX_PARTS:
        raise ValueError(f"{len(bodies)} parts, {MAX_PARTS} are possible")
    return Segments(
        alphabet,
        tuple(
            b"\x06\x08\x04" + reference.to_bytes(2) + bytes((len(bodies), part)) + body
            for part, body in enumerate(bodies, start=1)
        ),
    )


def _encode(character: str, alphabet: Alphabet) -> bytes:
    if alphabet == "ucs2":
        return character.encode("utf-16-be")
    octets: bytes = _GSM.encode(character)[0]
    return octets


def _fill(encoded: list[bytes], room: int) -> Iterator[bytes]:
    part = bytearray()
    for character in encoded:
        if len(part) + len(character) > room:
            yield bytes(part)
            part.clear()
        part += character
    yield bytes(part)
