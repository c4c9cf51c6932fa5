"""The HTTP gateway for SMS: a real server, lost connections among its faults."""

import asyncio
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from deploy.counterparts.behaviour import by_number
from deploy.counterparts.gateway import Gateway
from deploy.counterparts.phone import Phone
from services.notifier.channels import (
    ForgedReceiptError,
    GatewayProvider,
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    Receipt,
    TemporaryRefusal,
    receipt_of,
)
from services.notifier.http import add_receipts
from shared.runtime.web import new_app, serve
from tests.channels.deadline import until
from tests.city import eventually

CITIZEN = "+886912345678"
TOKEN = "token-of-the-gateway"


def outgoing(to: str = CITIZEN, text: str = "案件已受理") -> Outgoing:
    return Outgoing(uuid4(), to, "", text, "zh-TW")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[int]:
    port = free_port()
    task = asyncio.create_task(serve(app, "127.0.0.1", port))

    async def connects() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    await eventually(connects, bool)
    yield port
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def ready() -> dict[str, bool]:
    return {}


@asynccontextmanager
async def provider(url: str, receipts_url: str = "", token: str = TOKEN) -> AsyncIterator[Any]:
    found = GatewayProvider("gateway", url, token, "1999", receipts_url=receipts_url, timeout_s=0.5)
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def phone(tmp_path: Path) -> AsyncIterator[Phone]:
    phone = Phone(tmp_path / "sms.jsonl")
    yield phone
    phone.close()


@pytest.fixture
async def url(phone: Phone) -> AsyncIterator[str]:
    gateway = Gateway(phone, TOKEN, by_number, receipt_after_s=0.01)
    app = new_app("gateway", ready)
    gateway.add_routes(app)
    async with serving(app) as port:
        yield f"http://127.0.0.1:{port}/gateway"
        await gateway.stop()


async def test_a_message_arrives_and_its_receipt_comes_back(url: str, phone: Phone) -> None:
    kept: list[Receipt] = []

    async def keep(receipt: Receipt) -> None:
        kept.append(receipt)

    app = new_app("receipts", ready)
    add_receipts(app, {"gateway": TOKEN.encode()}, keep)
    async with serving(app) as port:
        receipts = f"http://127.0.0.1:{port}/receipts/gateway"
        async with provider(url, receipts) as gateway:
            message = outgoing(text="案件已受理😀" * 20)
            accepted = await gateway.send(message)
            await until(lambda: kept and not phone.without_receipt())
    assert [(one.to, one.text) for one in phone.all()] == [(CITIZEN, message.text)]
    (receipt,) = kept
    assert (receipt.provider, receipt.state) == ("gateway", "delivered")
    assert (receipt.message_id,) == accepted.message_ids
    assert receipt.notice_id == message.notice_id


async def test_a_message_that_is_sent_again_is_the_same_message(url: str, phone: Phone) -> None:
    message = outgoing()
    async with provider(url) as gateway:
        assert await gateway.send(message) == await gateway.send(message)
    assert len(phone.all()) == 1


@pytest.mark.parametrize(
    ("to", "refusal", "code"),
    [
        ("+886900000088", TemporaryRefusal, "sms.throttled"),
        ("+886900000020", TemporaryRefusal, "sms.gateway_busy"),
        ("+886900000011", PermanentRefusal, "sms.gateway_422"),
        ("+886900000000", OutcomeUnknown, "sms.no_answer"),
        ("+886227208889", PermanentRefusal, "sms.landline"),
    ],
)
async def test_what_became_of_a_send_is_told_apart(
    url: str, to: str, refusal: type[Exception], code: str
) -> None:
    async with provider(url) as gateway:
        with pytest.raises(refusal) as caught:
            await gateway.send(outgoing(to))
    assert str(caught.value) == code


async def test_a_wrong_token_is_our_fault_and_no_messages(url: str) -> None:
    async with provider(url, token="wrong") as gateway:
        with pytest.raises(TemporaryRefusal, match=r"sms\.gateway_sign_in"):
            await gateway.send(outgoing())


async def test_a_gateway_that_is_down_has_certainly_taken_nothing() -> None:
    async with provider(f"http://127.0.0.1:{free_port()}") as gateway:
        with pytest.raises(TemporaryRefusal, match=r"sms\.no_connection"):
            await gateway.send(outgoing())


@asynccontextmanager
async def raw(answer: Callable[[asyncio.StreamWriter], None]) -> AsyncIterator[str]:
    """A server that reads a request's head, and then does what `answer` does."""

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        answer(writer)
        writer.close()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nnull",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000,
    ],
)
async def test_an_answer_that_says_nothing_certain_leaves_it_unknown(answer: bytes) -> None:
    async with raw(lambda writer: writer.write(answer)) as url, provider(url) as gateway:
        with pytest.raises(OutcomeUnknown):
            await gateway.send(outgoing())


# --- receipts


def report(**changes: Any) -> bytes:
    body = {"id": "m-1", "reference": str(uuid4()), "state": "delivered"}
    return json.dumps(body | changes).encode()


def signature(body: bytes, token: str = TOKEN) -> str:
    return "sha256=" + hmac.digest(token.encode(), body, hashlib.sha256).hex()


def read(body: bytes, signed: str | None = None) -> Receipt | None:
    signed = signature(body) if signed is None else signed
    return receipt_of("gateway", body, signed, TOKEN.encode(), lambda: datetime.now(UTC))


def test_what_is_not_final_is_no_receipt() -> None:
    assert read(report(state="accepted")) is None


@pytest.mark.parametrize("signed", ["", "sha256=", "x", signature(report(), "another"), "é"])
def test_a_receipt_that_the_gateway_has_not_signed_is_forged(signed: str) -> None:
    with pytest.raises(ForgedReceiptError):
        read(report(), signed)


@given(st.binary(max_size=300))
def test_any_signed_bytes_are_a_receipt_or_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        read(body)


async def test_the_door_for_receipts_takes_the_gateways_only() -> None:
    from httpx import ASGITransport, AsyncClient

    kept: list[Receipt] = []

    async def keep(receipt: Receipt) -> None:
        kept.append(receipt)

    app = new_app("receipts", ready)
    add_receipts(app, {"gateway": TOKEN.encode()}, keep)
    client = AsyncClient(transport=ASGITransport(app), base_url="http://test")

    async def post(name: str, body: bytes, signed: str) -> int:
        answer: Response = await client.post(
            f"/receipts/{name}", content=body, headers={"X-Signature": signed}
        )
        return answer.status_code

    body = report()
    assert await post("gateway", body, signature(body)) == 204
    assert await post("gateway", body, "sha256=00") == 403
    assert await post("other", body, signature(body)) == 403
    assert await post("gateway", b"[]", signature(b"[]")) == 422
    large = b"x" * 20_000
    assert await post("gateway", large, signature(large)) == 413
    assert len(kept) == 1
    await client.aclose()
