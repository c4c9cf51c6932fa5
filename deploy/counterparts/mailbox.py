"""A mail server that delivers every mail to one mailbox on this machine, and shows it.

It is a real SMTP server, and it can misbehave as real ones do. Mail to these names goes wrong:

    refused@...    550, the mailbox does not exist
    later@...      451, try again later
    cut@...        the link is cut after the mail was taken, before the answer
    gone@...       taken, and then reported: the mailbox does not exist (5.1.1)
    full@...       taken, and then reported: the mailbox is full (5.2.2)

Reports are those of RFC 3464; one of success comes when it was asked for (RFC 3461).
"""

import asyncio
import mailbox
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from deploy.counterparts.screen import Message, add_routes
from deploy.counterparts.settings import MailboxSettings
from shared.runtime.logs import configure
from shared.runtime.process import run_parts
from shared.runtime.settings import load
from shared.runtime.web import new_app, serve

log = structlog.get_logger()
_REPORTED = {"gone": "5.1.1", "full": "5.2.2"}
_REPORT_TRIES = 60
_DSN_PARAMETER = re.compile(r" (RET|ENVID|NOTIFY|ORCPT)=\S+", re.IGNORECASE)


class Mails:
    """A Maildir: a mail is there entirely or not at all, and outlives this process."""

    def __init__(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._maildir = mailbox.Maildir(folder, create=True)
        self._known = sorted(
            (_shown(key, self._maildir.get_bytes(key)) for key in self._maildir.keys()),  # noqa: SIM118
            key=lambda one: one.at,
        )

    def all(self) -> Sequence[Message]:
        """The oldest first."""
        return self._known

    async def add(self, content: bytes) -> None:
        """Returns once it is on the disk."""
        key = await asyncio.to_thread(self._maildir.add, content)
        self._known.append(_shown(str(key), content))


class MailServer:
    """Takes mail on `host` and `port` (0: any free one, see `port`)."""

    def __init__(
        self, mails: Mails, host: str, port: int, reports: "Reports | None" = None
    ) -> None:
        self._mails = mails
        self._reports = reports
        self._host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self.links_made = 0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._new_link, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.cut()
            await self._server.wait_closed()
        if self._reports is not None:
            await self._reports.stop()

    def cut(self) -> None:
        """Cut every link, as a fault in the network does."""
        for link in self._links:
            link.transport.abort()

    @property
    def listening(self) -> bool:
        return self._server is not None and self._server.is_serving()

    async def run(self) -> None:
        await self.start()
        log.info("mailbox.listening", port=self.port)
        try:
            await asyncio.Event().wait()
        finally:
            await self.stop()

    def _new_link(self) -> "_Link":
        self.links_made += 1
        return _Link(self._links, self, hostname="mailbox", ident="casebus simulated mailbox")

    async def handle_EHLO(  # noqa: N802  aiosmtpd names it
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, answers: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [*answers[:-1], "250-DSN", answers[-1]]

    async def handle_RCPT(  # noqa: N802  aiosmtpd names it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[Any]
    ) -> str:
        match address.partition("@")[0]:
            case "refused":
                return "550 5.1.1 no such mailbox"
            case "later":
                return "451 4.3.2 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  aiosmtpd names it
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        gone = [one for one in envelope.rcpt_tos if one.partition("@")[0] in _REPORTED]
        if len(gone) < len(envelope.rcpt_tos):
            await self._mails.add(envelope.content)
        if self._reports is not None and envelope.mail_from:
            for address in envelope.rcpt_tos:
                status = _REPORTED.get(address.partition("@")[0], "2.0.0")
                if address in gone or "SUCCESS" in getattr(server, "notify", ""):
                    self._reports.send(envelope.mail_from, address, status)
        if any(address.startswith("cut@") for address in envelope.rcpt_tos):
            server.transport.abort()
        return "250 OK"


class _Link(SMTP):  # type: ignore[misc]  # aiosmtpd publishes no types
    """One client's link, in `links` while it is open."""

    def __init__(self, links: set["_Link"], handler: MailServer, **options: Any) -> None:
        super().__init__(handler, loop=asyncio.get_running_loop(), **options)
        self._links = links
        self.notify = ""

    async def smtp_MAIL(self, arg: str) -> None:  # noqa: N802  aiosmtpd names it
        """As it was; the parameters of RFC 3461 are taken away first, which it does not know."""
        self.notify = ""
        await super().smtp_MAIL(_DSN_PARAMETER.sub("", arg or ""))

    async def smtp_RCPT(self, arg: str) -> None:  # noqa: N802  aiosmtpd names it
        found = re.search(r" NOTIFY=(\S+)", arg or "", re.IGNORECASE)
        self.notify = found[1].upper() if found else ""
        await super().smtp_RCPT(_DSN_PARAMETER.sub("", arg or ""))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._links.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._links.discard(self)
        super().connection_lost(error)


class Reports:
    """Tells the sender of a mail by mail what became of it, to `host` and `port`.

    One that is not taken is brought again for a while; those of an earlier life of this process
    are lost, as mails are when a disk is.
    """

    def __init__(self, host: str, port: int, sent_again_after_s: float = 1.0) -> None:
        self._host = host
        self._port = port
        self._again_s = sent_again_after_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(4)

    def send(self, to: str, recipient: str, status: str) -> None:
        """In the background."""
        task = asyncio.create_task(self._bring(to, _report(to, recipient, status)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _bring(self, to: str, report: bytes) -> None:
        for _ in range(_REPORT_TRIES):
            try:
                async with self._places:
                    client = aiosmtplib.SMTP(hostname=self._host, port=self._port, timeout=10)
                    async with client:
                        await client.sendmail("", [to], report)
                return
            except aiosmtplib.SMTPRecipientsRefused:
                return
            except (aiosmtplib.SMTPException, OSError):
                await asyncio.sleep(self._again_s)
        log.warning("mailbox.report_lost")


def _report(to: str, recipient: str, status: str) -> bytes:
    """A report of RFC 3464."""
    failed = status[0] == "5"
    fields = "\r\n".join(
        (
            "Reporting-MTA: dns; mailbox.example",
            "",
            f"Final-Recipient: rfc822; {recipient}",
            f"Action: {'failed' if failed else 'delivered'}",
            f"Status: {status}",
        )
    )
    words = "It could not be delivered." if failed else "It was delivered."
    return "\r\n".join(
        (
            "From: <MAILER-DAEMON@mailbox.example>",
            f"To: <{to}>",
            "Subject: Delivery report",
            "Auto-Submitted: auto-replied",
            "MIME-Version: 1.0",
            'Content-Type: multipart/report; report-type=delivery-status; boundary="report"',
            "",
            "--report",
            "Content-Type: text/plain",
            "",
            words,
            "--report",
            "Content-Type: message/delivery-status",
            "",
            fields,
            "",
            "--report--",
            "",
        )
    ).encode()


async def run() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = load(MailboxSettings)
    configure("mailbox", settings.log_level)
    mails = Mails(settings.data_dir / "mailbox")
    host, _, port = settings.bounces.rpartition(":")
    reports = Reports(host, int(port)) if port else None
    server = MailServer(mails, settings.host, settings.smtp_port, reports)

    async def check() -> dict[str, bool]:
        return {"smtp": server.listening}

    app = new_app("casebus simulated mailbox", check)
    add_routes(app, "mailbox", mails.all)
    await run_parts(
        {"smtp": server.run(), "http": serve(app, settings.host, settings.port)},
    )


def _shown(key: str, content: bytes) -> Message:
    mail = message_from_bytes(content, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    body = mail.get_body(("plain",))
    return Message(
        id=key,
        to=str(mail["To"] or ""),
        subject=str(mail["Subject"] or ""),
        text=body.get_content().replace("\r\n", "\n") if body is not None else "",
        at=_came_at(key),
    )


def _came_at(key: str) -> datetime:
    """When a mail came, from its name: seconds, and microseconds after the M."""
    seconds, unique = key.split(".")[:2]
    micros = unique.partition("M")[2].partition("P")[0]
    return datetime.fromtimestamp(int(seconds) + int(micros or 0) / 1e6, UTC)
