"""Mails that come back: the address that tells whose they are, what they say, who takes them."""

import asyncio
import hashlib
import hmac
import re
from base64 import b32decode, b32encode
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import Message
from typing import Any
from uuid import UUID

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from services.notifier.channels.port import OnReceipt, Receipt

log = structlog.get_logger()
_PREFIX = "bounce"
_LARGEST = 1024 * 1024
_MOST_PARTS = 50
_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})")
# RFC 3463: the mailbox, or its domain, is not there and will not be. Not 5.2.2, it is full, nor
# 5.7.x, a policy.
_HARD = re.compile(r"5\.1\.(1|2|3|6|10)|5\.2\.1")


class BounceAddress:
    """Whose mail came back: bounce+NOTICE.SIGNATURE@domain (VERP), which nobody can make up."""

    def __init__(self, domain: str, secret: bytes) -> None:
        self.domain = domain
        self._secret = secret

    def of(self, notice_id: UUID) -> str:
        """The envelope's sender for this notice; its local part has 50 characters."""
        name = b32encode(notice_id.bytes).decode().rstrip("=").lower()
        return f"{_PREFIX}+{name}.{self._signature(notice_id)}@{self.domain}"

    def notice(self, address: str) -> UUID | None:
        """The notice of such an address, in any case of letters; None when it is not ours."""
        local, _, domain = address.strip("<>").lower().rpartition("@")
        prefix, _, rest = local.partition("+")
        name, _, signature = rest.partition(".")
        if domain != self.domain.lower() or prefix != _PREFIX or len(name) != 26:
            return None
        try:
            notice_id = UUID(bytes=b32decode(name.upper() + "======"))
        except ValueError:
            return None
        wanted = self._signature(notice_id)
        fits = hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace"))
        return notice_id if fits else None

    def _signature(self, notice_id: UUID) -> str:
        digest = hmac.digest(self._secret, notice_id.bytes, hashlib.sha256)
        return b32encode(digest[:10]).decode().lower()


def read_report(mail: bytes, notice_id: UUID, provider: str, now: datetime) -> Receipt | None:
    """What a mail to a notice's bounce address says of it; None when that is nothing final.

    By RFC 3464; of a server that writes none, a mail that is no automatic answer, from nobody,
    says nothing that is certain. Raises ValueError when it cannot be read.
    """
    try:
        message = message_from_bytes(mail, policy=policy.compat32)
        report = _report(message)
        if report is None:
            return None
        fields = [part for part in report if isinstance(part, Message)]
        for recipient in fields:
            action = str(recipient.get("Action", "")).strip().lower()
            found = _STATUS.search(str(recipient.get("Status", "")))
            status = found[0] if found else ""
            if action == "delivered":
                return Receipt(provider, "", "delivered", now, notice_id, status)
            if action == "failed":
                hard = bool(_HARD.fullmatch(status))
                return Receipt(provider, "", "undeliverable", now, notice_id, status, hard)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("the report cannot be read") from error
    return None


def _report(message: Message) -> list[Any] | None:
    """The groups of fields in its delivery-status part."""
    if message.get_content_type() != "multipart/report":
        return None
    for number, part in enumerate(message.walk()):
        if number > _MOST_PARTS:
            return None
        if part.get_content_type() == "message/delivery-status":
            content = part.get_payload()
            return content if isinstance(content, list) else None
    return None


class BounceServer:
    """Takes mail for bounce addresses, on `host` and `port` (0: any free one, see `port`)."""

    def __init__(
        self, host: str, port: int, address: BounceAddress, provider: str, on_receipt: OnReceipt
    ) -> None:
        self._host = host
        self.port = port
        self._address = address
        self._provider = provider
        self._on_receipt = on_receipt
        self._server: asyncio.Server | None = None

    @property
    def listening(self) -> bool:
        return self._server is not None and self._server.is_serving()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._link, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.start()
        log.info("bounces.listening", port=self.port)
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    def _link(self) -> SMTP:
        return SMTP(
            self,
            loop=asyncio.get_running_loop(),
            hostname=self._address.domain,
            ident="casebus bounces",
            data_size_limit=_LARGEST,
            timeout=60,
        )

    async def handle_RCPT(  # noqa: N802  aiosmtpd names it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[Any]
    ) -> str:
        if self._address.notice(address) is None:
            return "550 5.1.1 no such mailbox"
        if envelope.rcpt_tos:
            return "452 4.5.3 one at a time"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  aiosmtpd names it
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        notice_id = self._address.notice(envelope.rcpt_tos[0])
        content = envelope.content
        if notice_id is None or not isinstance(content, bytes):
            return "550 5.1.1 no such mailbox"
        try:
            receipt = read_report(content, notice_id, self._provider, datetime.now(UTC))
        except ValueError:
            log.warning("bounces.unreadable", notice=str(notice_id))
            return "250 OK"
        if receipt is None:
            log.info("bounces.ignored", notice=str(notice_id))
            return "250 OK"
        try:
            await self._on_receipt(receipt)
        except Exception as error:  # noqa: BLE001  whatever it was, the sender keeps the report
            log.warning("bounces.not_kept", error=type(error).__name__)
            return "451 4.3.0 try again later"
        return "250 OK"
