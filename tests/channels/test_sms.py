"""The SMS channel against a real SMSC (the server of smpp34) with the simulated phone."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from httpx import ASGITransport, AsyncClient

from deploy.counterparts.behaviour import Behaviour, by_number
from deploy.counterparts.phone import Part, Phone
from deploy.counterparts.screen import add_routes
from deploy.counterparts.sms import Smsc
from services.notifier.channels import (
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    Receipt,
    Reply,
    SmppProvider,
    TemporaryRefusal,
)
from shared.runtime.web import new_app
from tests.channels.deadline import until

CITIZEN = "+886912345678"
LONG = "【臺北市政府】您的案件 20261124-0000123-9 已受理😀。" * 5


def outgoing(text: str = "案件已受理", to: str = CITIZEN) -> Outgoing:
    return Outgoing(uuid4(), to, "", text, "zh-TW")


@pytest.fixture
def phone(tmp_path: Path) -> AsyncIterator[Phone]:
    phone = Phone(tmp_path / "sms.jsonl")
    yield phone
    phone.close()


@asynccontextmanager
async def running(
    phone: Phone, behave: Callable[[Part], Behaviour] = by_number, port: int = 0
) -> AsyncIterator[Smsc]:
    smsc = Smsc(
        phone, "127.0.0.1", port, "casebus", "secret", behave, receipt_after_s=0.05, slow_s=0.2
    )
    await smsc.start()
    try:
        yield smsc
    finally:
        await smsc.stop()


@pytest.fixture
async def smsc(phone: Phone) -> AsyncIterator[Smsc]:
    async with running(phone) as smsc:
        yield smsc


@asynccontextmanager
async def bound(
    port: int,
    on_receipt: Callable[[Receipt], None] = lambda _: None,
    on_reply: Callable[[Reply], None] = lambda _: None,
    password: str = "secret",  # noqa: S107
) -> AsyncIterator[SmppProvider]:
    async def take(receipt: Receipt) -> None:
        on_receipt(receipt)

    async def heard(reply: Reply) -> None:
        on_reply(reply)

    channel = SmppProvider(
        "smpp",
        "127.0.0.1",
        port,
        "casebus",
        password,
        "1999",
        take,
        heard,
        answer_timeout_s=0.5,
        link_timeout_s=1.0,
    )
    await channel.start()
    try:
        yield channel
    finally:
        await channel.stop()


async def test_a_message_arrives_and_its_receipt_comes_back(smsc: Smsc, phone: Phone) -> None:
    receipts: list[Receipt] = []
    before = datetime.now(UTC)
    async with bound(smsc.port, receipts.append) as channel:
        accepted = await channel.send(outgoing("案件已受理😀"))
        await until(lambda: receipts)
    (message,) = phone.all()
    assert (message.to, message.text, message.parts) == (CITIZEN, "案件已受理😀", 1)
    (receipt,) = receipts
    assert (receipt.provider, (receipt.message_id,)) == ("smpp", accepted.message_ids)
    assert receipt.state == "delivered"
    assert before <= receipt.at <= datetime.now(UTC)


async def test_a_long_message_is_one_on_the_phone_and_has_a_receipt_for_each_part(
    smsc: Smsc, phone: Phone
) -> None:
    receipts: list[Receipt] = []
    async with bound(smsc.port, receipts.append) as channel:
        accepted = await channel.send(outgoing(LONG))
        await until(lambda: not phone.without_receipt())
    (message,) = phone.all()
    assert message.text == LONG
    assert message.parts == len(set(accepted.message_ids)) == 3
    assert {one.message_id: one.state for one in receipts} == dict.fromkeys(
        accepted.message_ids, "delivered"
    )


async def test_of_a_message_of_which_one_part_failed_that_one_is_told(phone: Phone) -> None:
    def second_fails(part: Part) -> Behaviour:
        return Behaviour.UNDELIVERABLE if part.part == 2 else Behaviour.TAKE

    receipts: list[Receipt] = []
    async with running(phone, second_fails) as smsc, bound(smsc.port, receipts.append) as channel:
        accepted = await channel.send(outgoing(LONG))
        await until(lambda: not phone.without_receipt())
    states = {one.message_id: one.state for one in receipts}
    assert [states[part] for part in accepted.message_ids] == [
        "delivered",
        "undeliverable",
        "delivered",
    ]


@pytest.mark.parametrize(
    ("behaviour", "states"),
    [
        (Behaviour.TWICE, ["delivered", "delivered"]),
        (Behaviour.DISORDERED, ["delivered", "expired"]),
        (Behaviour.STRANGE, ["delivered", "delivered"]),
    ],
)
async def test_receipts_are_told_as_they_come(
    phone: Phone, behaviour: Behaviour, states: list[str]
) -> None:
    receipts: list[Receipt] = []
    async with running(phone, lambda _: behaviour) as smsc:
        async with bound(smsc.port, receipts.append) as channel:
            accepted = await channel.send(outgoing())
            await until(lambda: not phone.without_receipt())
    assert [one.state for one in receipts] == states
    strangers = {one.message_id for one in receipts} - set(accepted.message_ids)
    assert len(strangers) == (1 if behaviour is Behaviour.STRANGE else 0)


async def test_a_slow_answer_holds_up_no_other_message(phone: Phone) -> None:
    def first_is_slow(part: Part) -> Behaviour:
        return Behaviour.SLOW if part.text == "first" else Behaviour.TAKE

    answered: list[str] = []

    async def send(channel: SmppProvider, text: str) -> None:
        await channel.send(outgoing(text))
        answered.append(text)

    async with running(phone, first_is_slow) as smsc, bound(smsc.port) as channel:
        await asyncio.gather(send(channel, "first"), send(channel, "second"))
    assert answered == ["second", "first"]
    assert {one.text for one in phone.all()} == {"first", "second"}


async def test_a_citizens_answer_is_heard_under_the_citizens_number(smsc: Smsc) -> None:
    replies: list[Reply] = []
    async with bound(smsc.port, on_reply=replies.append):
        assert await smsc.answer("886912345678", "停止")
    assert replies == [Reply("smpp", CITIZEN, "停止")]
    assert "912345678" not in repr(replies)


async def test_an_answer_that_could_not_be_kept_is_not_taken(smsc: Smsc) -> None:
    def fail(_: Reply) -> None:
        raise ConnectionError("the database is down")

    async with bound(smsc.port, on_reply=fail):
        assert not await smsc.answer("886912345678", "STOP")


async def test_a_message_tried_again_after_its_second_part_was_refused_is_whole(
    phone: Phone,
) -> None:
    refused: list[Part] = []

    def second_refused_once(part: Part) -> Behaviour:
        if part.part == 2 and not refused:
            refused.append(part)
            return Behaviour.THROTTLE
        return Behaviour.TAKE

    async with running(phone, second_refused_once) as smsc, bound(smsc.port) as channel:
        message = outgoing(LONG)
        with pytest.raises(TemporaryRefusal):
            await channel.send(message)
        await channel.send(message)
    assert [one.text for one in phone.all()] == [LONG]


async def test_an_english_message_uses_the_gsm_alphabet(smsc: Smsc, phone: Phone) -> None:
    text = "Taipei City: fee {NT$ 100} or 3 € [case 1]. " * 3
    async with bound(smsc.port) as channel:
        await channel.send(outgoing(text))
    (message,) = phone.all()
    assert (message.text, message.parts) == (text, 1)


@pytest.mark.parametrize(
    ("to", "refusal", "code"),
    [
        ("+886900000088", TemporaryRefusal, "sms.throttled"),
        ("+886900000020", TemporaryRefusal, "sms.msgqful"),
        ("+886900000011", PermanentRefusal, "sms.invdstadr"),
        ("+886900000000", OutcomeUnknown, "sms.no_answer"),
        ("+886900000099", OutcomeUnknown, "sms.link_lost"),
        ("+886227208889", PermanentRefusal, "sms.landline"),
        ("+886227208889;ext=1234", PermanentRefusal, "sms.landline"),
        ("+819012345678", PermanentRefusal, "sms.foreign"),
        ("+886912345678;ext=1", PermanentRefusal, "sms.has_extension"),
        ("1999", PermanentRefusal, "sms.not_a_number"),
    ],
)
async def test_what_became_of_a_send_is_told_apart(
    smsc: Smsc, to: str, refusal: type[Exception], code: str
) -> None:
    async with bound(smsc.port) as channel:
        with pytest.raises(refusal) as caught:
            await channel.send(outgoing(to=to))
    assert str(caught.value) == code


async def test_a_message_that_is_never_answered_does_not_hold_the_others(
    smsc: Smsc, phone: Phone
) -> None:
    async with bound(smsc.port) as channel:
        results = await asyncio.gather(
            channel.send(outgoing(to="+886900000000")),
            *(channel.send(outgoing(f"第 {n} 則")) for n in range(40)),
            return_exceptions=True,
        )
    assert [type(one).__name__ for one in results] == ["OutcomeUnknown"] + ["Accepted"] * 40
    assert {f"第 {n} 則" for n in range(40)} <= {one.text for one in phone.all()}


async def test_a_message_of_too_many_parts_is_refused_whole(smsc: Smsc, phone: Phone) -> None:
    async with bound(smsc.port) as channel:
        with pytest.raises(PermanentRefusal, match=r"sms\.too_long"):
            await channel.send(outgoing("臺" * 400))
    assert phone.all() == []


async def test_a_failed_delivery_is_told_by_its_receipt(smsc: Smsc) -> None:
    receipts: list[Receipt] = []
    async with bound(smsc.port, receipts.append) as channel:
        await channel.send(outgoing(to="+886900000005"))
        await until(lambda: receipts)
    assert [one.state for one in receipts] == ["undeliverable"]


async def test_a_receipt_that_could_not_be_kept_comes_again(smsc: Smsc) -> None:
    asked: list[Receipt] = []

    def fail_once(receipt: Receipt) -> None:
        asked.append(receipt)
        if len(asked) == 1:
            raise ConnectionError("the database is down")

    async with bound(smsc.port, fail_once) as channel:
        await channel.send(outgoing())
        await until(lambda: len(asked) == 2)
    assert asked[0].message_id == asked[1].message_id


async def test_the_channel_binds_again_by_itself_after_the_link_was_cut(
    smsc: Smsc, phone: Phone
) -> None:
    receipts: list[Receipt] = []
    async with bound(smsc.port, receipts.append) as channel:
        await channel.send(outgoing("before"))
        session = channel._session
        assert session is not None
        smsc.cut()
        await until(session.closed.is_set)
        await channel.send(outgoing("after"))
        await until(lambda: len({one.message_id for one in receipts}) == 2)
    assert [one.text for one in phone.all()] == ["before", "after"]


async def test_an_smsc_that_is_down_is_a_temporary_refusal() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with bound(port) as channel:
        with pytest.raises(TemporaryRefusal, match=r"sms\.no_connection"):
            await channel.send(outgoing())


async def test_a_wrong_password_does_not_bind(smsc: Smsc) -> None:
    async with bound(smsc.port, password="wrong") as channel:
        with pytest.raises(TemporaryRefusal, match=r"sms\.no_connection"):
            await channel.send(outgoing())


def test_a_password_that_smpp_cannot_carry_is_refused_at_once() -> None:
    async def ignore(_: object) -> None:
        raise AssertionError

    with pytest.raises(ValueError):
        SmppProvider("p", "127.0.0.1", 2775, "casebus", "nine-char", "1999", ignore, ignore)


async def test_receipts_outlive_a_restart_of_the_smsc(tmp_path: Path) -> None:
    receipts: list[Receipt] = []
    phone = Phone(tmp_path / "sms.jsonl")
    async with running(phone) as smsc:
        port = smsc.port
        async with bound(port) as channel:
            smsc._receipt_after_s = 60
            accepted = await channel.send(outgoing(LONG))
    phone.close()
    again = Phone(tmp_path / "sms.jsonl")
    assert [one.text for one in again.all()] == [LONG]
    async with running(again, port=port), bound(port, receipts.append):
        await until(lambda: not again.without_receipt())
    again.close()
    assert set(accepted.message_ids) == {one.message_id for one in receipts}


async def test_the_page_and_the_json_show_what_arrived(smsc: Smsc, phone: Phone) -> None:
    async with bound(smsc.port) as channel:
        await channel.send(outgoing("案件 20261124-0000123-9 <b>已受理</b>"))
        await channel.send(outgoing("another"))

    async def ready() -> dict[str, bool]:
        return {"smpp": smsc.listening}

    app = new_app("phone", ready)
    add_routes(app, "phone", phone.all)
    client = AsyncClient(transport=ASGITransport(app), base_url="http://test")
    (found,) = (await client.get("/api/messages", params={"number": "20261124-0000123-9"})).json()
    assert set(found) == {"id", "to", "text", "parts", "at"}
    assert (found["to"], found["parts"]) == (CITIZEN, 1)
    page = await client.get("/")
    assert "&lt;b&gt;已受理" in page.text
    assert "本機的模擬手機" in page.text
    assert (await client.get("/health")).json() == {"ready": True, "parts": {"smpp": True}}
    await client.aclose()
