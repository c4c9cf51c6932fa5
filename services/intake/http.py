"""Intake's API: apply, and follow a case."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from catalogue import Catalogue
from services.intake import domain, handlers
from services.intake.gate import Gate, TooOftenError
from services.intake.identity import InvalidValue, parse_case_number
from services.intake.settings import IntakeSettings
from shared.runtime import metrics
from shared.runtime.postgres import TRANSIENT
from shared.runtime.web import Moment, ProblemError, address_of, fields, problems, schema_of

# A case that does not exist and a wrong password get the same answer.
_NOT_YOURS = ProblemError(404, "case-not-found", "no case has this number and password / 查無案件")
_TOO_OFTEN = ProblemError(
    429,
    "too-many-guesses",
    "too many wrong passwords: wait a quarter of an hour where they were of one case, an hour "
    "where they were of many / 密碼錯誤次數過多，請稍後再試",
)


class Receipt(BaseModel):
    """What is received, and how it is followed."""

    number: str
    password: str
    received_at: Moment
    follow: str


class _Step(BaseModel):
    """One line of the history; by its kind it has more."""

    model_config = ConfigDict(extra="allow")
    at: Moment
    kind: str
    agency: str | None
    status: str | None


class Followed(BaseModel):
    """A case as its citizen sees it."""

    number: str
    service: str
    service_name: dict[str, str]
    received_at: Moment
    agency: str | None
    status: str
    steps: list[_Step]


def add_routes(
    app: FastAPI,
    settings: IntakeSettings,
    catalogue: Catalogue,
    applications: handlers.Applications,
    keys: handlers.Keys,
    traces: domain.Traces,
    gate: Gate,
    ring: Callable[[], None],
) -> None:
    secret = settings.citizen_secret.get_secret_value().encode()

    @app.post(
        "/api/applications",
        status_code=202,
        response_model=Receipt,
        responses=problems(400, 409, 413, 422, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": schema_of(domain.ApplicationForm)}},
            }
        },
    )
    async def apply(
        request: Request,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
        traceparent: Annotated[str | None, Header(max_length=100)] = None,
    ) -> Response:
        """Apply once: the same Idempotency-Key with the same body is answered the same."""
        with metrics.SUBMIT_SECONDS.time():
            try:
                raw = await _body(request, settings.body_limit_bytes)
                checked = _checked(raw, catalogue)
                received = await handlers.submit(
                    checked, raw, idempotency_key, applications, keys, traces, _now, traceparent
                )
            except ProblemError:
                metrics.APPLICATIONS.labels("refused").inc()
                raise
            except handlers.BodyDiffersError:
                metrics.APPLICATIONS.labels("refused").inc()
                raise ProblemError(
                    409,
                    "idempotency-key-reused",
                    "this Idempotency-Key came before with another body; send a new key for a "
                    "new application, or the same body to hear the same answer",
                ) from None
            except TRANSIENT:
                metrics.APPLICATIONS.labels("unavailable").inc()
                raise ProblemError(
                    503,
                    "try-again",
                    "nothing was received; send the same again in a moment, with the same "
                    "Idempotency-Key",
                ) from None
        ring()
        metrics.APPLICATIONS.labels("accepted").inc()
        return JSONResponse(
            {
                "number": received.number,
                "password": domain.password(secret, received.case_id),
                "received_at": received.received_at.isoformat(),
                "follow": f"/api/cases/{received.number}",
            },
            202,
        )

    @app.get(
        "/api/cases/{number}", response_model=Followed, responses=problems(400, 404, 422, 429, 503)
    )
    async def follow(
        number: str, request: Request, x_case_password: Annotated[str, Header(max_length=100)] = ""
    ) -> dict[str, Any]:
        """A case and its history, with its password."""
        try:
            number = parse_case_number(number)
        except InvalidValue as error:
            raise ProblemError(
                400,
                "case-number",
                f"{error.message_en} / {error.message_zh}",
                [{"field": "number", "detail": error.reason_code}],
            ) from None
        try:
            found = await gate.enter(number, x_case_password, address_of(request))
        except TooOftenError:
            raise _TOO_OFTEN from None
        if found is None:
            raise _NOT_YOURS
        case_id, service, received_at = found
        steps = await applications.steps(case_id)
        agencies = [step.agency for step in steps if step.agency]
        statuses = [step.status for step in steps if step.kind == "status"]
        return {
            "number": number,
            "service": service,
            "service_name": {
                "zh-TW": catalogue.services[service].name_zh,
                "en": catalogue.services[service].name_en,
            },
            "received_at": received_at.isoformat(),
            "agency": agencies[-1] if agencies else None,
            "status": statuses[-1] if statuses else ("ASSIGNED" if agencies else "RECEIVED"),
            "steps": [
                {
                    "at": step.happened_at.isoformat(),
                    "kind": step.kind,
                    "agency": step.agency,
                    "status": step.status,
                    **step.detail,
                }
                for step in steps
            ],
        }


def _now() -> datetime:
    return datetime.now(UTC)


async def _body(request: Request, limit: int) -> bytes:
    """The body, read no further than the limit."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise ProblemError(
                413, "body-too-large", f"the body is larger than {limit} bytes; send less"
            )
        parts.append(part)
    return b"".join(parts)


def _checked(raw: bytes, catalogue: Catalogue) -> domain.Checked:
    try:
        body = from_json(raw)
    except ValueError as error:
        raise ProblemError(400, "not-json", f"the body is no JSON: {error}") from None
    if not _plain(body):
        raise ProblemError(
            400,
            "not-json",
            "the body holds NaN, an infinite number or a NUL character; leave it out",
        )
    try:
        form = domain.ApplicationForm.model_validate(body)
    except ValidationError as error:
        raise ProblemError(422, "invalid", "some fields cannot be read", fields(error)) from None
    checked, errors = domain.check(form, catalogue)
    if checked is None:
        raise ProblemError(
            422,
            "invalid",
            "some fields are wrong; mend them and send again",
            [{"field": error.field, "detail": error.detail} for error in errors],
        )
    return checked


def _plain(part: object) -> bool:
    """Whether every text and number in this JSON means the same everywhere it is read."""
    match part:
        case str():
            return "\x00" not in part
        case float():
            return math.isfinite(part)
        case list():
            return all(map(_plain, part))
        case dict():
            return all(map(_plain, part.keys())) and all(map(_plain, part.values()))
    return True
