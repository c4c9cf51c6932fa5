"""An HTTP gateway for SMS (docs/gateway.md), with the phone of this machine behind it."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
from fastapi import FastAPI, Header, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from deploy.counterparts.behaviour import Behaviour, by_number
from deploy.counterparts.phone import Part, Phone

_REFUSALS = {
    Behaviour.THROTTLE: (429, "throttled"),
    Behaviour.QUEUE_FULL: (503, "busy"),
    Behaviour.REFUSE: (422, "no_such_number"),
}
GATEWAY_ID = "g-"
_SILENT_S = 3600.0
_SLOW_S = 2.0
_RECEIPT_AGAIN_AFTER_S = 0.5
_RECEIPT_TRIES = 600


class Wanted(BaseModel):
    """The body of POST /messages."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    reference: UUID
    to: str = Field(pattern=r"^\+[0-9]{8,15}$")
    sender: str = Field(alias="from", max_length=20)
    text: str = Field(min_length=1, max_length=2000)
    receipts_url: str = Field("", max_length=500)


class Gateway:
    """`token` lets in, and signs receipts, which are brought until somebody takes them."""

    def __init__(
        self,
        phone: Phone,
        token: str,
        behave: Callable[[Part], Behaviour] = by_number,
        receipt_after_s: float = 0.3,
    ) -> None:
        self._phone = phone
        self._token = token
        self._behave = behave
        self._receipt_after_s = receipt_after_s
        self._taken: dict[UUID, str] = {}
        self._client = httpx.AsyncClient(timeout=10, trust_env=False)
        self._tasks: set[asyncio.Task[None]] = set()

    def add_routes(self, app: FastAPI) -> None:
        @app.post("/gateway/messages", status_code=202)
        async def messages(
            body: Wanted, authorization: Annotated[str, Header(max_length=200)] = ""
        ) -> Response:
            wanted = f"Bearer {self._token}".encode()
            if not hmac.compare_digest(authorization.encode("utf-8", "replace"), wanted):
                return JSONResponse({"code": "sign_in"}, 401)
            return await self._take(body)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def _take(self, body: Wanted) -> Response:
        if known := self._taken.get(body.reference):
            return JSONResponse({"id": known}, 202)
        part = Part(
            f"{GATEWAY_ID}{uuid4().hex}",
            body.to[1:],
            body.sender,
            0,
            1,
            1,
            body.text,
            datetime.now(UTC),
        )
        behaviour = self._behave(part)
        if behaviour in _REFUSALS:
            status, code = _REFUSALS[behaviour]
            return JSONResponse({"code": code}, status)
        self._phone.take(part)
        self._taken[body.reference] = part.id
        if behaviour in (Behaviour.SILENT, Behaviour.CUT):
            await asyncio.sleep(_SILENT_S)
        if behaviour is Behaviour.SLOW:
            await asyncio.sleep(_SLOW_S)
        if body.receipts_url:
            state = "undeliverable" if behaviour is Behaviour.UNDELIVERABLE else "delivered"
            task = asyncio.create_task(self._bring(body, part, state))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return JSONResponse({"id": part.id}, 202)

    async def _bring(self, body: Wanted, part: Part, state: str) -> None:
        await asyncio.sleep(self._receipt_after_s)
        report: dict[str, Any] = {
            "id": part.id,
            "reference": str(body.reference),
            "state": state,
        }
        raw = json.dumps(report).encode()
        signature = "sha256=" + hmac.digest(self._token.encode(), raw, hashlib.sha256).hex()
        for _ in range(_RECEIPT_TRIES):
            try:
                answer = await self._client.post(
                    body.receipts_url, content=raw, headers={"X-Signature": signature}
                )
                if answer.is_success:
                    self._phone.receipted(part.id)
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(_RECEIPT_AGAIN_AFTER_S)
