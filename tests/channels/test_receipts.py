"""What SMSCs deliver: receipts as they write them, and citizens' answers."""

import asyncio
import struct
from contextlib import suppress

import pytest
import smpp34
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.channels.receipts import PartReceipt, read_delivery
from services.notifier.channels.smpp import LinkLost, SmppSession, status_name
from tests.channels.deadline import until

TEXT = "id:0A1b sub:001 dlvrd:001 submit date:2611240830 done date:2611240831 stat:%s err:000 text:"


def deliver_sm(
    text: str = "", tlvs: dict[int, bytes] | None = None, esm_class: int = 0x04
) -> bytes:
    """The body of a deliver_sm, encoded by another library."""
    pdu = smpp34.DeliverSm(
        "886912345678",
        "1999",
        text.encode(),
        esm_class=esm_class,
        tlvs=[smpp34.Tlv(tag, value) for tag, value in (tlvs or {}).items()],
    )
    return pdu.encode()[16:]


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("DELIVRD", "delivered"),
        ("delivrd", "delivered"),
        ("EXPIRED", "expired"),
        ("DELETED", "deleted"),
        ("UNDELIV", "undeliverable"),
        ("UNKNOWN", "unknown"),
        ("REJECTD", "rejected"),
        ("ACCEPTD", None),
        ("ENROUTE", None),
    ],
)
def test_the_text_of_a_receipt_is_read(word: str, state: str | None) -> None:
    assert read_delivery(deliver_sm(TEXT % word)).receipt == PartReceipt("0A1b", state)


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("2611240831", "261124083159") % "DELIVRD",  # seconds
        TEXT.replace("err:000", "err:0A1") % "DELIVRD",  # letters
        "id:0A1b stat:DELIVRD",
    ],
)
def test_what_an_smsc_writes_its_own_way_does_not_matter(text: str) -> None:
    receipt = read_delivery(deliver_sm(text)).receipt
    assert receipt is not None
    assert (receipt.message_id, receipt.state) == ("0A1b", "delivered")


def test_a_receipt_may_have_parameters_and_no_text() -> None:
    tlvs = {smpp34.TLV_RECEIPTED_MESSAGE_ID: b"0A1b\0", smpp34.TLV_MESSAGE_STATE: b"\x05"}
    assert read_delivery(deliver_sm(tlvs=tlvs)).receipt == PartReceipt("0A1b", "undeliverable")


def test_parameters_come_before_the_text() -> None:
    tlvs = {smpp34.TLV_RECEIPTED_MESSAGE_ID: b"2587\0", smpp34.TLV_MESSAGE_STATE: b"\x01"}
    assert read_delivery(deliver_sm(TEXT % "DELIVRD", tlvs)).receipt == PartReceipt("2587", None)


def test_an_id_stays_as_it_was_written() -> None:
    receipt = read_delivery(deliver_sm("id:0000012 stat:DELIVRD")).receipt
    assert receipt is not None
    assert receipt.message_id == "0000012"


def test_a_reply_of_a_citizen_is_no_receipt() -> None:
    assert read_delivery(deliver_sm("id:1 stat:DELIVRD", esm_class=0)).receipt is None


@pytest.mark.parametrize("body", [b"", b"\0\1\1", deliver_sm("id:1")[:-3], deliver_sm("stat:X")])
def test_what_cannot_be_read_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_delivery(body)


def test_a_status_that_only_this_smsc_knows_has_a_name() -> None:
    assert status_name(0x58) == "throttled"
    assert status_name(0x400) == "status_0x400"


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_are_a_value_error(body: bytes) -> None:
    with suppress(ValueError):
        delivery = read_delivery(body)
        assert delivery.receipt is None or "\0" not in delivery.receipt.message_id


@given(st.text(max_size=120), st.binary(max_size=40), st.integers(0, 255), st.integers(0, 255))
def test_any_receipt_that_is_a_pdu_is_read_or_is_a_value_error(
    text: str, option: bytes, esm_class: int, state: int
) -> None:
    tlvs = {smpp34.TLV_RECEIPTED_MESSAGE_ID: option, smpp34.TLV_MESSAGE_STATE: bytes((state,))}
    with suppress(ValueError):
        read_delivery(deliver_sm(text, tlvs, esm_class))


@pytest.mark.parametrize(
    ("coding", "octets", "text"),
    [
        (0, b"STOP", "STOP"),
        (3, b"stop", "stop"),
        (8, "停止".encode("utf-16-be"), "停止"),
        (8, b"\x50", "\ufffd"),
    ],
)
def test_what_a_citizen_answers_is_read(coding: int, octets: bytes, text: str) -> None:
    pdu = smpp34.DeliverSm("886912345678", "1999", octets, data_coding=coding)
    delivery = read_delivery(pdu.encode()[16:])
    assert (delivery.sender, delivery.text, delivery.receipt) == ("886912345678", text, None)


async def test_a_link_that_fell_silent_is_given_up() -> None:
    async def binds_and_falls_silent(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readexactly(16)
        writer.write(struct.pack("!IIII", 17, 0x8000_0009, 0, 1) + b"\0")
        await reader.read()
        writer.close()

    async def nothing(_: bytes) -> int:
        raise AssertionError

    server = await asyncio.start_server(binds_and_falls_silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    session = await SmppSession.open(
        "127.0.0.1", port, "casebus", "secret", nothing, 0.2, enquire_link_every_s=0.05
    )
    await until(session.closed.is_set)
    with pytest.raises(LinkLost):
        await session._request(0x15)
    await session.close()
    server.close()
    await server.wait_closed()
