"""Signed links to a citizen's preferences: short, and not to be guessed. Pure."""

import hashlib
import hmac
from base64 import b32encode

_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
_SIGNATURE = 16  # characters of 5 bits each


class Links:
    """`secret` signs, `base_url` is where citizens reach the pages."""

    def __init__(self, secret: bytes, base_url: str) -> None:
        self._secret = secret
        self._base_url = base_url.rstrip("/")

    def token(self, number: int) -> str:
        """NUMBER-SIGNATURE of a recipient's number, in lower-case letters and digits."""
        name = ""
        rest = number
        while rest or not name:
            rest, digit = divmod(rest, 32)
            name = _DIGITS[digit] + name
        return f"{name}-{self._signature(number)}"

    def number(self, token: str) -> int | None:
        """The recipient's number; None when nobody has signed this."""
        name, _, signature = token.strip().lower().partition("-")
        if not 0 < len(name) <= 12 or any(one not in _DIGITS for one in name):
            return None
        number = 0
        for one in name:
            number = number * 32 + _DIGITS.index(one)
        wanted = self._signature(number)
        fits = hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace"))
        # One name for each number: what begins with a zero is none of ours.
        return number if fits and self.token(number).startswith(f"{name}-") else None

    def preferences(self, number: int) -> str:
        return f"{self._base_url}/p/{self.token(number)}"

    def unsubscribe(self, number: int) -> str:
        """For the one click of a mail program (RFC 8058)."""
        return f"{self.preferences(number)}/unsubscribe"

    def _signature(self, number: int) -> str:
        digest = hmac.digest(self._secret, b"preferences:%d" % number, hashlib.sha256)
        return b32encode(digest).decode().lower()[:_SIGNATURE]
