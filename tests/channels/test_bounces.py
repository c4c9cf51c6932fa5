"""Mails that come back: whose they are, what they say, and the server that takes them."""

from collections.abc import AsyncIterator
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path
from uuid import UUID, uuid4

import aiosmtplib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.counterparts.mailbox import Mails, MailServer, Reports, _report
from services.notifier.channels import BounceAddress, BounceServer, Outgoing, Receipt, SmtpProvider
from services.notifier.channels.bounces import read_report
from tests.channels.deadline import until
from tests.examples import NOW

ADDRESS = BounceAddress("bounces.casebus.example", b"secret" * 6)
NOTICE = UUID("7c9d3c52-2b4f-5d3e-9f0a-0d6f7a1b2c3d")
TO = ADDRESS.of(NOTICE)


@given(st.uuids())
def test_a_bounce_address_tells_its_notice_in_any_case_of_letters(notice: UUID) -> None:
    address = ADDRESS.of(notice)
    assert ADDRESS.notice(address) == ADDRESS.notice(address.upper()) == notice
    assert ADDRESS.notice(f"<{address}>") == notice
    assert len(address.partition("@")[0]) <= 64


@given(st.text(max_size=100))
def test_no_other_address_is_taken_for_one(text: str) -> None:
    assert ADDRESS.notice(text) is None
    assert ADDRESS.notice(f"bounce+{text}@{ADDRESS.domain}") is None


def test_an_address_that_was_signed_by_another_is_none_of_ours() -> None:
    other = BounceAddress(ADDRESS.domain, b"another" * 5)
    assert ADDRESS.notice(other.of(NOTICE)) is None
    assert ADDRESS.notice(TO.replace("bounces.", "b.")) is None


@pytest.mark.parametrize(
    ("status", "state", "hard"),
    [
        ("5.1.1", "undeliverable", True),
        ("5.1.2", "undeliverable", True),
        ("5.1.10", "undeliverable", True),
        ("5.2.1", "undeliverable", True),
        ("5.2.2", "undeliverable", False),
        ("5.7.1", "undeliverable", False),
        ("5.4.4", "undeliverable", False),
        ("2.0.0", "delivered", False),
    ],
)
def test_a_report_is_read(status: str, state: str, hard: bool) -> None:
    receipt = read_report(_report(TO, "gone@example.org", status), NOTICE, "bounces", NOW)
    assert receipt == Receipt("bounces", "", state, NOW, NOTICE, status, hard)
    assert "gone@" not in repr(receipt)


@pytest.mark.parametrize("action", ["delayed", "relayed", "expanded", "", "nonsense"])
def test_what_is_not_final_says_nothing(action: str) -> None:
    report = _report(TO, "a@example.org", "4.4.1").replace(
        b"Action: delivered", f"Action: {action}".encode()
    )
    assert read_report(report, NOTICE, "bounces", NOW) is None


def test_an_answer_of_a_person_or_a_machine_says_nothing() -> None:
    mail = EmailMessage()
    mail["Subject"] = "Out of office"
    mail["Auto-Submitted"] = "auto-replied"
    mail.set_content("I am away. Status: 5.1.1\nAction: failed\n")
    assert read_report(mail.as_bytes(), NOTICE, "bounces", NOW) is None


_PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/report; boundary=x\r\n",
        b"Content-Type: multipart/report\r\n",
        b"Content-Type: multipart/report; report-type=delivery-status; boundary*=utf-9''%ff\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"\r\n",
        b"--x\r\n",
        b"--x--\r\n",
        b"Content-Type: message/delivery-status\r\n\r\n",
        b"Action: failed\r\nStatus: 5.1.1\r\n",
        b"Action: =?utf-9?q?=ff?=\r\n",
        b"Status: 5.99999.1\r\n\r\n",
        b"\xff\xfe\x00",
    ]
)


@given(st.one_of(st.binary(max_size=500), st.lists(_PIECES, max_size=30).map(b"".join)))
def test_any_mail_is_read_or_is_a_value_error(mail: bytes) -> None:
    with suppress(ValueError):
        read_report(mail, NOTICE, "bounces", NOW)


@pytest.fixture
def kept() -> list[Receipt]:
    return []


@pytest.fixture
async def bounces(kept: list[Receipt]) -> AsyncIterator[BounceServer]:
    async def keep(receipt: Receipt) -> None:
        if receipt.code == "5.4.4":
            raise ConnectionError("the database is down")
        kept.append(receipt)

    server = BounceServer("127.0.0.1", 0, ADDRESS, "bounces", keep)
    await server.start()
    yield server
    await server.stop()


async def told(server: BounceServer, *to: str, mail: bytes) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=server.port) as client:
        await client.sendmail("", list(to), mail)


async def test_a_report_becomes_a_receipt(bounces: BounceServer, kept: list[Receipt]) -> None:
    await told(bounces, TO, mail=_report(TO, "gone@example.org", "5.1.1"))
    assert [(one.notice_id, one.state, one.hard) for one in kept] == [
        (NOTICE, "undeliverable", True)
    ]


async def test_mail_for_nobody_is_not_taken(bounces: BounceServer, kept: list[Receipt]) -> None:
    for address in ("bounce@bounces.casebus.example", f"bounce+{uuid4().hex}@{ADDRESS.domain}"):
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
            await told(bounces, address, mail=_report(TO, "gone@example.org", "5.1.1"))
        assert refused.value.recipients[0].code == 550
    assert kept == []


async def test_a_receipt_that_could_not_be_kept_is_wanted_again(bounces: BounceServer) -> None:
    with pytest.raises(aiosmtplib.SMTPDataError) as refused:
        await told(bounces, TO, mail=_report(TO, "a@example.org", "5.4.4"))
    assert refused.value.code == 451


async def test_more_than_a_report_can_be_is_not_taken(bounces: BounceServer) -> None:
    with pytest.raises(aiosmtplib.SMTPException):
        await told(bounces, TO, mail=b"Subject: x\r\n\r\n" + b"x" * 100 * 20_000)


@pytest.mark.parametrize(
    ("to", "state", "code"),
    [
        ("gone@example.org", "undeliverable", "5.1.1"),
        ("full@example.org", "undeliverable", "5.2.2"),
        ("wang@example.org", "delivered", "2.0.0"),
    ],
)
async def test_what_became_of_a_mail_comes_back_by_mail(
    bounces: BounceServer, kept: list[Receipt], tmp_path: Path, to: str, state: str, code: str
) -> None:
    mails = Mails(tmp_path / "mailbox")
    server = MailServer(mails, "127.0.0.1", 0, Reports("127.0.0.1", bounces.port))
    await server.start()
    provider = SmtpProvider(
        "relay", "127.0.0.1", server.port, "noreply@casebus.example", bounces=ADDRESS
    )
    await provider.send(Outgoing(NOTICE, to, "subject", "text\n", "en"))
    await until(lambda: kept)
    await provider.stop()
    await server.stop()
    assert [(one.notice_id, one.state, one.code) for one in kept] == [(NOTICE, state, code)]
    assert len(mails.all()) == (1 if state == "delivered" else 0)
