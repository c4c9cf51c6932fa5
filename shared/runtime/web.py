"""What every process serves: health, metrics, errors as problem+json, strict headers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
Check = Callable[[], Awaitable[dict[str, bool]]]


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

    def response(self) -> JSONResponse:
        body: dict[str, Any] = {
            "type": f"urn:casebus:problem:{self.code}",
            "title": self.code.replace("-", " ").replace(".", " "),
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = self.errors
        return JSONResponse(body, self.status, media_type="application/problem+json")


def new_app(title: str, check: Check) -> FastAPI:
    """An application with /health (200 when each part of `check` is ready) and /metrics."""
    app = FastAPI(title=title, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def headers(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        response.headers.setdefault("Content-Security-Policy", CSP)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.exception_handler(ProblemError)
    async def problem(_: Request, error: ProblemError) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        return ProblemError(
            error.status_code, f"http-{error.status_code}", str(error.detail)
        ).response()

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        # Uvicorn logs the traceback; whoever asked gets a sentence.
        detail = "something went wrong here; nothing was changed, try again in a moment"
        return ProblemError(500, "internal", detail).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return ProblemError(422, "invalid", "some fields cannot be read", fields(error)).response()

    @app.get("/health", include_in_schema=False)
    async def health() -> Response:
        parts = await check()
        ready = all(parts.values())
        return JSONResponse({"ready": ready, "parts": parts}, 200 if ready else 503)

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
