"""What every process serves: health, metrics, errors as problem+json, strict headers."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Annotated, Any, cast

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.runtime.postgres import TRANSIENT

log = structlog.get_logger()
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# No route takes more, but where a service says so; of applications intake takes less still.
BODY_LIMIT_BYTES = 512 * 1024
Check = Callable[[], Awaitable[dict[str, bool]]]
# A moment as isoformat() writes it, in the schema of an answer.
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class ProblemError(Exception):
    """An answer by RFC 9457. `code` is stable; `errors` name the fields, one by one."""

    def __init__(
        self, status: int, code: str, detail: str, errors: list[dict[str, str]] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors or []

    def response(self) -> Response:
        body: dict[str, Any] = {
            "type": f"urn:casebus:problem:{self.code}",
            "title": self.code.replace("-", " ").replace(".", " "),
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = self.errors
        # A field's name comes from whoever asks, and may be what no UTF-8 can hold.
        raw = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        return Response(raw, self.status, media_type="application/problem+json")


class _Field(BaseModel):
    field: str
    detail: str


class _Problem(BaseModel):
    """An error, by RFC 9457: `type` is stable, `detail` says how to mend it, `errors` where."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[_Field] = []


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a model, without references: it can stand anywhere in an OpenAPI."""
    whole = model.model_json_schema()
    parts = whole.pop("$defs", {})

    def inlined(part: Any) -> Any:
        match part:
            case {"$ref": str(name)}:
                return inlined(parts[name.rpartition("/")[2]])
            case dict():
                return {key: inlined(value) for key, value in part.items()}
            case list():
                return [inlined(value) for value in part]
        return part

    found: dict[str, Any] = inlined(whole)
    return found


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI of a route: these answers are problems."""
    content = {"application/problem+json": {"schema": schema_of(_Problem)}}
    return {one: {"description": HTTPStatus(one).phrase, "content": content} for one in statuses}


_AGAIN = ProblemError(503, "try-again", "nothing was changed; try again in a moment")


def address_of(request: Request) -> str:
    """Whom the request comes from, on the network: of IPv6 the /64, which is one household's."""
    host = request.client.host if request.client else ""
    try:
        found = ip_address(host)
    except ValueError:
        return host
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Network((found, 64), strict=False))
    return host


def _route(scope: Scope) -> str:
    """Which route it is; the path itself may be somebody's key, and stays out of logs."""
    return str(getattr(scope.get("route"), "path", ""))


class _Edge:
    """Around every request: strict headers on each answer, a limit to bodies, a sentence
    instead of a traceback when something fails; HEAD is answered as GET, without the body."""

    def __init__(self, app: ASGIApp, body_limit: int) -> None:
        self._app = app
        self._body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size, started = 0, False
        only_head = scope["method"] == "HEAD"
        if only_head:
            scope = {**scope, "method": "GET"}

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._body_limit:
                raise HTTPException(413, f"the body is larger than {self._body_limit} bytes")
            return message

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            elif only_head:
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(scope, limited, with_headers)
        except ClientDisconnect:
            return  # nobody is there any more to be answered
        except Exception as error:
            if started:
                raise
            log.error(
                "http.failed", route=_route(scope), error=type(error).__name__, exc_info=error
            )
            detail = "something went wrong here; nothing was changed, try again in a moment"
            await ProblemError(500, "internal", detail).response()(scope, receive, with_headers)


def new_app(title: str, check: Check, body_limit: int = BODY_LIMIT_BYTES) -> FastAPI:
    """An application with /health (200 when each part of `check` is ready) and /metrics.

    No route takes a body of more than `body_limit` bytes.
    """
    app = FastAPI(title=title, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(_Edge, body_limit=body_limit)

    @app.exception_handler(ProblemError)
    async def problem(_: Request, error: ProblemError) -> Response:
        return error.response()

    async def away(request: Request, error: Exception) -> Response:
        """The database is away: whoever asks is told to come again."""
        if isinstance(error, ValueError):
            raise error  # asyncpg's DataError: it is there, and was asked nonsense
        reason = str(error)[:200] if isinstance(error, OSError) else ""
        name = type(error).__name__
        log.warning("http.try_again", route=_route(request.scope), error=name, reason=reason)
        # As a page, where the service tells problems in pages.
        answer: Any = app.exception_handlers[ProblemError](request, _AGAIN)
        return cast(Response, await answer)

    for kind in TRANSIENT:
        app.exception_handler(kind)(away)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        code = "body-too-large" if error.status_code == 413 else f"http-{error.status_code}"
        response = ProblemError(error.status_code, code, str(error.detail)).response()
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return ProblemError(422, "invalid", "some fields cannot be read", fields(error)).response()

    @app.get("/health", include_in_schema=False)
    async def health() -> Response:
        parts = await check()
        ready = all(parts.values())
        return JSONResponse({"ready": ready, "parts": parts}, 200 if ready else 503)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        """None: a browser asks for one on its own, and would complain that it is missing."""
        return Response(status_code=204, headers={"Cache-Control": "max-age=86400"})

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app


def fields(error: Any) -> list[dict[str, str]]:
    """Pydantic's errors as {"field", "detail"}; the input itself is left out (it is personal)."""
    found = []
    for item in error.errors():
        where = [str(part) for part in item["loc"] if part not in ("body", "query", "path")]
        found.append({"field": ".".join(where), "detail": item["msg"]})
    return found


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """Signals are the process's business; see runtime/process.py."""


async def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until cancelled; requests under way are finished first (3 s at most)."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        # Longer than a proxy before us keeps its connections: who closes first loses a request.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=3,
        lifespan="off",
        server_header=False,
    )
    server = _Server(config)
    task = asyncio.create_task(server._serve())
    try:
        await asyncio.shield(task)
    finally:
        server.should_exit = True
        await task
