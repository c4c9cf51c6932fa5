"""The mail channel against the real mail server of the simulated mailbox."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.headerregistry import Address
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from httpx import ASGITransport, AsyncClient
from hypothesis import given
from hypothesis import strategies as st

from deploy.counterparts.mailbox import Mails, MailServer
from deploy.counterparts.screen import add_routes
from services.notifier.channels import (
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    SmtpProvider,
    TemporaryRefusal,
)
from services.notifier.channels.mail import compose
from shared.runtime.web import new_app
from tests.channels.deadline import until

NOTICE = UUID("7c9d3c52-2b4f-5d3e-9f0a-0d6f7a1b2c3d")
SENDER = "noreply@casebus.example"
HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "Content-Language",
    "Content-Type",
    "Content-Transfer-Encoding",
    "MIME-Version",
}


def outgoing(to: str = "wang@example.org", **changes: str) -> Outgoing:
    values = {"subject": "案件已受理", "text": "您好:\n.\n案件已受理。\n", "language": "zh-TW"}
    return Outgoing(NOTICE, to, **(values | changes))


@pytest.fixture
def mails(tmp_path: Path) -> Mails:
    return Mails(tmp_path / "mailbox")


@pytest.fixture
async def server(mails: Mails) -> AsyncIterator[MailServer]:
    server = MailServer(mails, "127.0.0.1", 0)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def channel(server: MailServer) -> AsyncIterator[SmtpProvider]:
    channel = SmtpProvider("relay", "127.0.0.1", server.port, SENDER, timeout_s=2.0)
    await channel.start()
    yield channel
    await channel.stop()


async def test_a_mail_arrives_as_it_was_written(channel: SmtpProvider, mails: Mails) -> None:
    await channel.send(outgoing())
    (mail,) = mails.all()
    assert (mail.to, mail.subject) == ("wang@example.org", "案件已受理")
    assert mail.text == "您好:\n.\n案件已受理。\n"


async def test_a_repeat_has_the_same_message_id(channel: SmtpProvider) -> None:
    first, second = await channel.send(outgoing()), await channel.send(outgoing())
    assert first == second
    assert first.message_ids == (f"<{NOTICE}@casebus.example>",)


@pytest.mark.parametrize(
    ("to", "refusal", "code"),
    [
        ("refused@example.org", PermanentRefusal, "mail.refused_550"),
        ("later@example.org", TemporaryRefusal, "mail.refused_451"),
        ("nobody", PermanentRefusal, "mail.not_an_address"),
        ("a@example.org\r\nBcc: b@example.org", PermanentRefusal, "mail.not_an_address"),
        ("王@example.org", PermanentRefusal, "mail.address_not_ascii"),
    ],
)
async def test_a_refusal_is_definite_and_has_a_code(
    channel: SmtpProvider, mails: Mails, to: str, refusal: type[Exception], code: str
) -> None:
    with pytest.raises(refusal) as caught:
        await channel.send(outgoing(to))
    assert str(caught.value) == code
    assert mails.all() == []


async def test_after_a_refusal_the_link_serves_the_next_mail(
    channel: SmtpProvider, server: MailServer, mails: Mails
) -> None:
    with pytest.raises(PermanentRefusal):
        await channel.send(outgoing("refused@example.org"))
    await channel.send(outgoing())
    assert server.links_made == 1
    assert [mail.to for mail in mails.all()] == ["wang@example.org"]


async def test_a_link_lost_after_the_mail_was_sent_leaves_the_outcome_unknown(
    channel: SmtpProvider, mails: Mails
) -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        await channel.send(outgoing("cut@example.org"))
    assert str(caught.value) == "mail.link_lost"
    assert len(mails.all()) == 1  # it had gone out: a second try would have been a second mail


async def test_a_server_that_is_down_is_a_temporary_refusal(server: MailServer) -> None:
    await server.stop()
    channel = SmtpProvider("relay", "127.0.0.1", server.port, SENDER, timeout_s=2.0)
    with pytest.raises(TemporaryRefusal) as caught:
        await channel.send(outgoing())
    assert str(caught.value) == "mail.no_connection"


async def test_a_server_that_says_nothing_is_a_temporary_refusal() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    channel = SmtpProvider("relay", "127.0.0.1", port, SENDER, timeout_s=0.2)
    with pytest.raises(TemporaryRefusal):
        await channel.send(outgoing())
    server.close()
    await server.wait_closed()


async def test_idle_links_that_the_server_cut_cost_no_mail(
    channel: SmtpProvider, server: MailServer, mails: Mails
) -> None:
    await channel.send(outgoing())
    server.cut()
    await until(lambda: not any(link.smtp.is_connected for link in channel._idle))
    await channel.send(outgoing())
    assert len(mails.all()) == 2
    assert server.links_made == 2


async def test_many_mails_at_once_share_four_links(
    channel: SmtpProvider, server: MailServer, mails: Mails
) -> None:
    await asyncio.gather(*(channel.send(outgoing(f"a{n}@example.org")) for n in range(40)))
    assert {mail.to for mail in mails.all()} == {f"a{n}@example.org" for n in range(40)}
    assert server.links_made == 4


async def test_who_waits_too_long_for_a_link_was_certainly_not_sent(
    server: MailServer, mails: Mails
) -> None:
    channel = SmtpProvider("relay", "127.0.0.1", server.port, SENDER, links=1, timeout_s=0.2)
    async with channel._link():
        with pytest.raises(TemporaryRefusal, match=r"mail\.busy"):
            await channel.send(outgoing())
    await channel.send(outgoing())
    assert len(mails.all()) == 1
    await channel.stop()


async def test_a_link_is_recycled_after_a_hundred_mails(
    channel: SmtpProvider, server: MailServer
) -> None:
    for _ in range(101):
        await channel.send(outgoing())
    assert server.links_made == 2


@given(subject=st.text(max_size=80), text=st.text(max_size=80))
def test_no_value_can_add_a_header(subject: str, text: str) -> None:
    message = Outgoing(uuid4(), "wang@example.org", subject, text, "zh-TW")
    sent = compose(message, Address(addr_spec=SENDER), datetime.now(UTC))
    assert set(message_from_bytes(sent, policy=policy.default).keys()) == HEADERS


def test_a_language_that_is_none_is_refused() -> None:
    message = outgoing(language="en\r\nBcc: all@example.org")
    with pytest.raises(PermanentRefusal):
        compose(message, Address(addr_spec=SENDER), datetime.now(UTC))


async def test_the_mailbox_outlives_its_process(
    channel: SmtpProvider, mails: Mails, tmp_path: Path
) -> None:
    for number in range(3):
        await channel.send(outgoing(subject=f"第 {number} 封"))
    again = Mails(tmp_path / "mailbox")
    assert [one.subject for one in again.all()] == ["第 0 封", "第 1 封", "第 2 封"]
    assert {one.id for one in again.all()} == {one.id for one in mails.all()}


async def test_the_page_and_the_json_show_what_arrived(channel: SmtpProvider, mails: Mails) -> None:
    for number in range(25):
        await channel.send(outgoing(subject=f"案件 20261124-{number:07d}-5 <b>已受理</b>"))

    async def ready() -> dict[str, bool]:
        return {"smtp": True}

    app = new_app("mailbox", ready)
    add_routes(app, "mailbox", mails.all)
    client = AsyncClient(transport=ASGITransport(app), base_url="http://test")
    (found,) = (await client.get("/api/messages", params={"number": "20261124-0000003-5"})).json()
    assert found["subject"] == "案件 20261124-0000003-5 <b>已受理</b>"
    assert set(found) == {"id", "to", "subject", "text", "at"}
    newest = (await client.get("/api/messages", params={"limit": 2})).json()
    assert [one["subject"][:20] for one in newest] == [
        "案件 20261124-0000024-",
        "案件 20261124-0000023-",
    ]
    first = (await client.get("/")).text
    assert "20261124-0000024-5 &lt;b&gt;" in first
    assert "20261124-0000003-5" not in first
    assert "20261124-0000003-5" in (await client.get("/", params={"page": 2})).text
    single = await client.get(f"/messages/{found['id']}", params={"lang": "en"})
    assert "案件已受理。" in single.text
    assert "simulated on this machine" in single.text
    assert "script" not in single.text
    assert "default-src 'none'" in single.headers["Content-Security-Policy"]
    assert (await client.get("/messages/none")).status_code == 404
    await client.aclose()
