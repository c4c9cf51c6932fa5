"""DKIM signatures, verified by another library."""

import base64

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.notifier.channels import Outgoing, Signer
from services.notifier.channels.mail import _address, compose
from tests.channels.test_mail import NOTICE
from tests.examples import NOW

KEY = rsa.generate_private_key(65537, 2048)
EDWARDS = ed25519.Ed25519PrivateKey.generate()


def pem(key: object) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]


def dns(name: bytes, timeout: int = 5) -> bytes:
    """What the DNS says of both keys."""
    if name.startswith(b"edwards."):
        raw = EDWARDS.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw)
    assert name == b"rsa._domainkey.casebus.example."
    raw = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(raw)


SIGNER = Signer("casebus.example", "rsa", pem(KEY), lambda: NOW.timestamp())


def mail(text: str = "您好:\n\n案件已受理。\n", subject: str = "案件已受理") -> bytes:
    message = Outgoing(NOTICE, "wang@example.org", subject, text, "zh-TW", "https://c.example/p/a")
    return compose(message, _address("noreply@casebus.example"), NOW)


def signed(content: bytes) -> bytes:
    return SIGNER.sign(content) + content


def test_a_signature_is_what_another_library_wants() -> None:
    assert dkim.verify(signed(mail()), dnsfunc=dns)


def test_an_edwards_key_signs_too() -> None:
    signer = Signer("casebus.example", "edwards", pem(EDWARDS))
    content = mail()
    header = signer.sign(content)
    assert b"a=ed25519-sha256" in header
    assert dkim.verify(header + content, dnsfunc=dns)


@given(st.text(max_size=300), st.text(max_size=200))
@example("\t", "")
@settings(max_examples=50, deadline=None)
def test_any_text_and_subject_verify(text: str, subject: str) -> None:
    try:
        content = mail(text, subject)
    except ValueError:  # a lone surrogate is no text
        return
    assert dkim.verify(signed(content), dnsfunc=dns)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"To: wang@", b"To: li@"),
        (b"List-Unsubscribe: <https://c.example", b"List-Unsubscribe: <https://d.example"),
        (b"Message-ID: <", b"Message-ID: <x"),
        (b"\r\n\r\n", b"\r\n\r\nmore\r\n"),
        (b"From: ", b"Subject: another\r\nFrom: "),
        (b"Subject: ", b"From: somebody@else.example\r\nSubject: "),
    ],
)
def test_a_mail_that_was_changed_on_the_way_does_not_verify(before: bytes, after: bytes) -> None:
    content = mail()
    head = SIGNER.sign(content)
    assert before in content
    assert not dkim.verify(head + content.replace(before, after, 1), dnsfunc=dns)


def test_spaces_that_a_relay_folds_anew_do_not_matter() -> None:
    content = mail()
    folded = content.replace(b"Subject: ", b"Subject:   ").replace(b"\r\n\r\n", b"\r\n\r\n", 1)
    assert dkim.verify(SIGNER.sign(content) + folded + b"\r\n\r\n", dnsfunc=dns)


def test_no_line_of_the_header_is_too_long() -> None:
    assert max(map(len, SIGNER.sign(mail()).split(b"\r\n"))) <= 100


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (b"no key", "unencrypted private key"),
        (pem(rsa.generate_private_key(65537, 1024)), "2048 bits"),  # noqa: S505 - refused
        (pem(ec.generate_private_key(ec.SECP256R1())), "RSA or Ed25519"),
        (
            KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word")),
            "unencrypted",
        ),
    ],
)
def test_a_key_that_nobody_should_trust_is_refused(key: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Signer("casebus.example", "rsa", key)


@pytest.mark.parametrize("name", ["", "a b", "a;b=", "a\r\nb", "-"])
def test_a_name_that_would_break_the_header_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name for a key"):
        Signer("casebus.example", name, pem(KEY))
