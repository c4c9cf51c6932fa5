"""DKIM signatures (RFC 6376, RFC 8463): relaxed/relaxed, RSA or Ed25519 as the key is."""

import hashlib
import re
import time
from base64 import b64encode
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_SHORTEST_RSA = 2048
# Each named once more than it stands there: nobody can add a second one.
_OVERSIGNED = ("from", "to", "subject", "date", "message-id")
_SIGNED_IF_THERE = (
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-language",
    "auto-submitted",
    "list-unsubscribe",
    "list-unsubscribe-post",
)
_SPACE = re.compile(rb"[ \t]+")


class Signer:
    """Signs for `domain`, whose public key stands in the DNS under `selector`._domainkey."""

    def __init__(
        self,
        domain: str,
        selector: str,
        private_key_pem: bytes,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """Raises ValueError for a key that cannot be read, or is too short to be trusted."""
        for name in (domain, selector):
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", name):
                raise ValueError(f"{name!r} is no name for a key: letters, digits, dots, hyphens")
        try:
            key = load_pem_private_key(private_key_pem, None)
        except (ValueError, TypeError) as error:
            raise ValueError("the DKIM key is no unencrypted private key in PEM") from error
        if isinstance(key, RSAPrivateKey):
            if key.key_size < _SHORTEST_RSA:
                raise ValueError(f"an RSA key needs {_SHORTEST_RSA} bits, this has {key.key_size}")
        elif not isinstance(key, Ed25519PrivateKey):
            raise ValueError("a DKIM key is RSA or Ed25519")
        self._key = key
        self._names = f"d={domain}; s={selector}"
        self._clock_s = clock_s

    def sign(self, message: bytes) -> bytes:
        """The header to put before `message`, whose lines end in CR LF."""
        head, _, body = message.partition(b"\r\n\r\n")
        headers = _headers(head)
        names = [
            *(name for name in _OVERSIGNED for _ in range(len(headers.get(name, ())) + 1)),
            *(name for name in _SIGNED_IF_THERE for _ in headers.get(name, ())),
        ]
        signed = b""
        left = {name: list(values) for name, values in headers.items()}
        for name in names:
            if left.get(name):
                signed += _relaxed(name.encode(), left[name].pop())
        digest = b64encode(hashlib.sha256(_relaxed_body(body)).digest()).decode()
        rsa = isinstance(self._key, RSAPrivateKey)
        value = (
            f"v=1; a={'rsa' if rsa else 'ed25519'}-sha256; c=relaxed/relaxed; {self._names};\r\n"
            f"\tt={int(self._clock_s())}; h={_folded(names)};\r\n\tbh={digest};\r\n\tb="
        )
        signed += _relaxed(b"dkim-signature", value.encode())[:-2]
        if isinstance(self._key, RSAPrivateKey):
            raw = self._key.sign(signed, PKCS1v15(), SHA256())
        else:
            raw = self._key.sign(hashlib.sha256(signed).digest())
        text = b64encode(raw).decode()
        lines = "\r\n\t ".join(text[at : at + 70] for at in range(0, len(text), 70))
        return f"DKIM-Signature: {value}{lines}\r\n".encode()


def _headers(head: bytes) -> dict[str, list[bytes]]:
    """By lower-case name, the values as they stand, the first first."""
    found: dict[str, list[bytes]] = {}
    for line in re.split(rb"\r\n(?![ \t])", head):
        name, _, value = line.partition(b":")
        found.setdefault(name.decode("latin-1").strip().lower(), []).append(value)
    return found


def _relaxed(name: bytes, value: bytes) -> bytes:
    return name + b":" + _SPACE.sub(b" ", value.replace(b"\r\n", b"")).strip() + b"\r\n"


def _relaxed_body(body: bytes) -> bytes:
    lines = [_SPACE.sub(b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def _folded(names: list[str]) -> str:
    """Some to a line: a header's line has 998 characters at most, and 78 are better."""
    rows = [":".join(names[at : at + 5]) for at in range(0, len(names), 5)]
    return ":\r\n\t ".join(rows)
