"""Mail through a real Postfix: what it passes on, and what comes back from it."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import dkim
import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.counterparts.mailbox import Mails, MailServer, Reports
from services.notifier.channels import BounceServer, Outgoing, Receipt, SmtpProvider
from tests.channels.deadline import until
from tests.channels.postfix import install, postfix
from tests.channels.test_bounces import ADDRESS
from tests.channels.test_dkim import SIGNER, dns

SENDER = "noreply@casebus.example"


class _Keeps(MailServer):
    """The simulated mailbox, and what came there byte for byte."""

    def __init__(self, mails: Mails, bounces: int) -> None:
        super().__init__(mails, "127.0.0.1", 0, Reports("127.0.0.1", bounces))
        self.contents: list[bytes] = []

    async def handle_DATA(  # noqa: N802  aiosmtpd names it
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        self.contents.append(envelope.content)
        return await super().handle_DATA(server, session, envelope)


@dataclass(slots=True)
class Relay:
    """Postfix between us and the citizens' mailboxes."""

    provider: SmtpProvider
    mailbox: _Keeps
    receipts: list[Receipt]

    async def send(self, to: str) -> Any:
        notice_id = uuid4()
        message = Outgoing(notice_id, to, "案件已受理", "您好:\n.\n案件已受理。\n", "zh-TW")
        await self.provider.send(message)
        return notice_id


@pytest.fixture(scope="module")
def _installed() -> None:
    missing = install()
    if missing and "CASEBUS_CI" in os.environ and os.geteuid() == 0:
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


@pytest_asyncio.fixture(scope="module")
async def relay(_installed: None, tmp_path_factory: Any) -> AsyncIterator[Relay]:
    receipts: list[Receipt] = []

    async def keep(receipt: Receipt) -> None:
        receipts.append(receipt)

    folder: Path = tmp_path_factory.mktemp("mailbox")
    bounces = BounceServer("127.0.0.1", 0, ADDRESS, "bounces", keep)
    await bounces.start()
    mailbox = _Keeps(Mails(folder / "mailbox"), bounces.port)
    await mailbox.start()
    with postfix(mailbox.port, bounces.port) as port:
        provider = SmtpProvider(
            "postfix", "127.0.0.1", port, SENDER, bounces=ADDRESS, signer=SIGNER
        )
        yield Relay(provider, mailbox, receipts)
        await provider.stop()
    await mailbox.stop()
    await bounces.stop()


async def test_a_mail_comes_through_with_its_signature_whole(relay: Relay) -> None:
    notice_id = await relay.send("wang@example.org")
    await until(lambda: relay.mailbox.contents)
    content = relay.mailbox.contents[-1]
    assert content.startswith(b"Return-Path") or b"Received: " in content
    assert f"Message-ID: <{notice_id}@casebus.example>".encode() in content
    assert dkim.verify(content, dnsfunc=dns)


async def test_a_delivery_is_reported(relay: Relay) -> None:
    notice_id = await relay.send("li@example.org")
    await until(lambda: [one for one in relay.receipts if one.notice_id == notice_id])
    (receipt,) = [one for one in relay.receipts if one.notice_id == notice_id]
    assert (receipt.state, receipt.hard) == ("delivered", False)


async def test_a_mailbox_that_is_not_there_comes_back_as_such(relay: Relay) -> None:
    notice_id = await relay.send("refused@example.org")
    await until(lambda: [one for one in relay.receipts if one.notice_id == notice_id])
    (receipt,) = [one for one in relay.receipts if one.notice_id == notice_id]
    assert (receipt.state, receipt.code, receipt.hard) == ("undeliverable", "5.1.1", True)


async def test_a_domain_with_letters_of_other_alphabets_goes_out_in_ascii(relay: Relay) -> None:
    before = len(relay.mailbox.contents)
    await relay.send("wang@臺北.example")
    await until(lambda: len(relay.mailbox.contents) > before)
    assert b"To: wang@xn--" in relay.mailbox.contents[-1]
