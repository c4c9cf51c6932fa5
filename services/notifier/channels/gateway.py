"""Text messages through an HTTP gateway; docs/gateway.md has the contract in full.

    POST {url}/messages   {"reference", "to", "from", "text", "receipts_url"}  ->  202 {"id"}

The reference is the notice's id, and the Idempotency-Key too. Receipts come to `receipts_url`,
signed with the token.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from uuid import UUID

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.notifier.channels.port import (
    Accepted,
    OutcomeUnknown,
    Outgoing,
    PermanentRefusal,
    Provider,
    Receipt,
    TemporaryRefusal,
)
from services.notifier.channels.sms import destination_problem

_LONGEST_ANSWER = 65_536
# What certainly was not written, or not wholly.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_FOR_GOOD = frozenset({400, 404, 409, 410, 413, 422})
_FOR_NOW: Mapping[int, str] = {
    401: "sms.gateway_sign_in",
    403: "sms.gateway_sign_in",
    429: "sms.throttled",
    503: "sms.gateway_busy",
}
_FINAL = frozenset({"delivered", "expired", "deleted", "undeliverable", "rejected", "unknown"})


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: str = Field(min_length=1, max_length=200)


class _Report(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: str = Field(min_length=1, max_length=200)
    reference: UUID
    state: str = Field(max_length=40)
    code: str = Field("", max_length=40)


class GatewayProvider(Provider):
    """`token` signs us in, and signs the gateway's receipts."""

    def __init__(
        self,
        name: str,
        url: str,
        token: str,
        sender: str,
        *,
        receipts_url: str = "",
        timeout_s: float = 10.0,
        at_once: int = 128,
    ) -> None:
        self.name = name
        self._url = f"{url.rstrip('/')}/messages"
        self._token = token
        self._sender = sender
        self._receipts_url = receipts_url
        self._timeout_s = timeout_s
        self._at_once = at_once
        self._client: httpx.AsyncClient | None = None

    async def start(self) -> None:
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=self._timeout_s,
            limits=httpx.Limits(max_connections=self._at_once),
            follow_redirects=False,
            trust_env=False,
        )

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def send(self, message: Outgoing) -> Accepted:
        if problem := destination_problem(message.to):
            raise PermanentRefusal(problem)
        if self._client is None:
            raise TemporaryRefusal("sms.no_connection")
        body = {
            "reference": str(message.notice_id),
            "to": message.to,
            "from": self._sender,
            "text": message.text,
            "receipts_url": self._receipts_url,
        }
        headers = {"Idempotency-Key": str(message.notice_id)}
        try:
            async with self._client.stream("POST", self._url, json=body, headers=headers) as answer:
                status = answer.status_code
                content = b""
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > _LONGEST_ANSWER:
                        break
        except _NOT_SENT:
            raise TemporaryRefusal("sms.no_connection") from None
        except httpx.HTTPError:
            raise OutcomeUnknown("sms.no_answer") from None
        return _judged(status, content)


def _judged(status: int, content: bytes) -> Accepted:
    if status in _FOR_NOW:
        raise TemporaryRefusal(_FOR_NOW[status])
    if status in _FOR_GOOD:
        raise PermanentRefusal(f"sms.gateway_{status}")
    if not 200 <= status < 300:
        # A proxy may have passed it on before it failed.
        raise OutcomeUnknown(f"sms.gateway_{status}")
    try:
        return Accepted((_Answer.model_validate_json(content).id,))
    except ValidationError:
        raise OutcomeUnknown("sms.gateway_answer") from None


class ForgedReceiptError(ValueError):
    """The receipt is not the gateway's."""


def receipt_of(
    provider: str,
    body: bytes,
    signature: str,
    token: bytes,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Receipt | None:
    """The receipt in a gateway's request; None when its state is not final.

    `signature` is its header X-Signature, `sha256=` and the HMAC of the body in hex. Raises
    ForgedReceiptError, and ValueError when it cannot be read.
    """
    wanted = "sha256=" + hmac.digest(token, body, hashlib.sha256).hex()
    if not hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace")):
        raise ForgedReceiptError("the signature does not fit")
    try:
        report = _Report.model_validate_json(body)
    except ValidationError:
        raise ValueError("the receipt cannot be read") from None
    if report.state not in _FINAL:
        return None
    code = report.code if report.code.isalnum() else ""
    return Receipt(provider, report.id, report.state, now(), report.reference, code)
