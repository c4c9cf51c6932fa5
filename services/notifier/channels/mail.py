"""Mail through an SMTP server: a message that cannot be forged, and a small pool of links."""

import asyncio
import re
from base64 import encodebytes
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.headerregistry import Address
from email.utils import format_datetime
from functools import lru_cache
from typing import Literal
from uuid import UUID

from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPException,
    SMTPResponseException,
)
from email_validator import EmailNotValidError, validate_email

from services.notifier.channels.bounces import BounceAddress
from services.notifier.channels.dkim import Signer
from services.notifier.channels.port import (
    Accepted,
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    Provider,
    TemporaryRefusal,
)

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Providers cut a link that carries too many; a new one is cheap.
_MESSAGES_PER_LINK = 100
_ASK_AFTER_IDLE_S = 10.0
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
# What every server passes on as it is: ASCII, in lines that are not too long.
_PLAIN = re.compile(r"([\t\x20-\x7e]{0,900}\n)*[\t\x20-\x7e]{0,900}")


@dataclass(slots=True)
class _Link:
    smtp: SMTP
    sent: int = 0
    idle_since_s: float = 0.0


class SmtpProvider(Provider):
    """Up to `links` links, kept open between messages.

    The Message-ID is the notice's id, so a message that was sent twice is recognisable, and it
    is what `Accepted` carries. With `bounces` the envelope's sender is the notice's own, and
    receipts are asked for where the server knows RFC 3461: of success and failure; a delay is no
    end. `signer` signs for the sender's domain.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        sender: str,
        *,
        user: str = "",
        password: str = "",
        tls: Literal["starttls-if-offered", "starttls", "tls"] = "starttls-if-offered",
        bounces: BounceAddress | None = None,
        signer: Signer | None = None,
        links: int = 4,
        timeout_s: float = 10.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Raises ValueError for a password that would go over a link that anybody can read."""
        if user and tls == "starttls-if-offered" and host not in _LOOPBACK:
            raise ValueError("a password needs smtps:// or a server that must offer STARTTLS")
        self.name = name
        self._host = host
        self._port = port
        self._sender = _address(sender)
        self._user = user
        self._password = password
        self._tls = tls
        self._bounces = bounces
        self._signer = signer
        self._timeout_s = timeout_s
        self._now = now
        self._places = asyncio.Semaphore(links)
        self._idle: list[_Link] = []

    async def start(self) -> None:
        """Nothing: links are made when they are needed."""

    async def stop(self) -> None:
        while self._idle:
            await _quit(self._idle.pop())

    async def send(self, message: Outgoing) -> Accepted:
        content = compose(message, self._sender, self._now())
        recipient = _address(message.to).addr_spec
        if self._signer is not None:
            content = self._signer.sign(content) + content
        async with self._link() as link:
            await self._offer(link, recipient, message.notice_id)
            link.sent += 1
            try:
                await link.smtp.data(content)
            except SMTPResponseException as error:
                raise _refusal(error) from None
            except (SMTPException, OSError):
                raise OutcomeUnknown("mail.link_lost") from None
        return Accepted((message_id(message, self._sender),))

    async def _offer(self, link: _Link, recipient: str, notice_id: UUID) -> None:
        """Sender and recipient: whatever fails here, nothing was sent."""
        sender, of_mail, of_recipient = self._sender.addr_spec, [], []
        if self._bounces is not None:
            sender = self._bounces.of(notice_id)
            if link.smtp.supports_extension("dsn"):
                of_mail = ["RET=HDRS", f"ENVID={notice_id}"]
                of_recipient = ["NOTIFY=SUCCESS,FAILURE"]
        try:
            await link.smtp.mail(sender, options=of_mail)
            await link.smtp.rcpt(recipient, options=of_recipient)
        except SMTPResponseException as error:
            raise _refusal(error) from None
        except (SMTPException, OSError):
            raise TemporaryRefusal("mail.link_lost") from None

    @asynccontextmanager
    async def _link(self) -> AsyncIterator[_Link]:
        """A link for one message. It goes back to the pool when it is fit for another."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._places.acquire()
        except TimeoutError:
            raise TemporaryRefusal("mail.busy") from None
        try:
            link = await self._idle_link() or await self._new_link()
            try:
                yield link
            except (TemporaryRefusal, PermanentRefusal):
                await self._give_back(link, after_refusal=True)
                raise
            except BaseException:
                link.smtp.close()
                raise
            await self._give_back(link, after_refusal=False)
        finally:
            self._places.release()

    async def _idle_link(self) -> _Link | None:
        while self._idle:
            link = self._idle.pop()
            with suppress(SMTPException, OSError):
                # A link may die in silence while it is idle; then it must not cost a message.
                if asyncio.get_running_loop().time() - link.idle_since_s > _ASK_AFTER_IDLE_S:
                    await link.smtp.noop()
                if link.smtp.is_connected:
                    return link
            link.smtp.close()
        return None

    async def _new_link(self) -> _Link:
        smtp = SMTP(
            hostname=self._host,
            port=self._port,
            timeout=self._timeout_s,
            use_tls=self._tls == "tls",
            start_tls={"starttls": True, "tls": False}.get(self._tls),
        )
        try:
            await smtp.connect()
            if self._user:
                await smtp.login(self._user, self._password)
        except SMTPAuthenticationError:
            smtp.close()
            raise TemporaryRefusal("mail.sign_in") from None
        except (SMTPException, OSError):
            smtp.close()
            raise TemporaryRefusal("mail.no_connection") from None
        return _Link(smtp)

    async def _give_back(self, link: _Link, after_refusal: bool) -> None:
        if link.sent >= _MESSAGES_PER_LINK:
            await _quit(link)
            return
        if after_refusal:
            try:
                await link.smtp.rset()
            except (SMTPException, OSError):
                link.smtp.close()
                return
        link.idle_since_s = asyncio.get_running_loop().time()
        self._idle.append(link)


def compose(message: Outgoing, sender: Address, date: datetime) -> bytes:
    """The mail of a notice, its lines ended by CR LF. No value can add a header: each is one line
    of ASCII, or refused.

    Written by hand: the standard library's headers cost half of a mail's time. Raises
    PermanentRefusal when the recipient or the language cannot stand in a header.
    """
    if not _LANGUAGE.fullmatch(message.language):
        raise PermanentRefusal("mail.language")
    plain = _PLAIN.fullmatch(message.text) is not None
    headers = [
        ("From", sender.addr_spec),
        ("To", _address(message.to).addr_spec),
        ("Subject", _encoded(_one_line(message.subject))),
        ("Date", format_datetime(date)),
        ("Message-ID", message_id(message, sender)),
        ("Auto-Submitted", "auto-generated"),
    ]
    if message.unsubscribe_url:
        headers += [
            ("List-Unsubscribe", f"<{_one_line(message.unsubscribe_url)}>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ]
    headers += [
        ("MIME-Version", "1.0"),
        ("Content-Type", f'text/plain; charset="{"us-ascii" if plain else "utf-8"}"'),
        ("Content-Transfer-Encoding", "7bit" if plain else "base64"),
        ("Content-Language", message.language),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    # Ended here if the text is not: a server would end the last line, after it was signed.
    text = f"{message.text.removesuffix(chr(10))}\n".replace("\n", "\r\n").encode()
    body = text if plain else encodebytes(text).replace(b"\n", b"\r\n")
    return head.encode("ascii") + b"\r\n" + body


def message_id(message: Outgoing, sender: Address) -> str:
    return f"<{message.notice_id}@{sender.domain}>"


def _encoded(subject: str) -> str:
    """By RFC 2047, folded."""
    return Header(subject, "utf-8", 75, "Subject").encode(linesep="\r\n")


@lru_cache(maxsize=1000)
def _address(text: str) -> Address:
    try:
        found = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        raise PermanentRefusal("mail.not_an_address") from None
    if found.ascii_email is None:
        # It would need SMTPUTF8 from every server on the way.
        raise PermanentRefusal("mail.address_not_ascii")
    return Address(addr_spec=found.ascii_email)


def _one_line(text: str) -> str:
    printable = (one if one.isprintable() else " " for one in text)
    return " ".join("".join(printable).split())


def _refusal(error: SMTPResponseException) -> TemporaryRefusal | PermanentRefusal:
    if 500 <= error.code < 600:
        return PermanentRefusal(f"mail.refused_{error.code}")
    return TemporaryRefusal(f"mail.refused_{error.code}")


async def _quit(link: _Link) -> None:
    with suppress(SMTPException, OSError):
        await link.smtp.quit()
    link.smtp.close()
