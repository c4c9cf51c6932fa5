"""The back office's API: an agency's inbox, a case, and the commands of clerks."""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal
from uuid import uuid4

import structlog
from fastapi import Depends, FastAPI, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from catalogue import Catalogue
from services.backoffice import store
from services.backoffice.clerks import Clerk, clerk_of
from services.backoffice.domain import Case, Change, Command
from services.backoffice.handlers import WorkingDay, on_command
from services.backoffice.settings import BackofficeSettings
from shared.contract.errors import PermanentError, TransientError
from shared.contract.events import JointReview
from shared.runtime.postgres import Pool
from shared.runtime.vault import NoKeyError, Vault
from shared.runtime.web import Moment, ProblemError, problems

log = structlog.get_logger()
_TRIES = 5
_NUMBER = re.compile(r"[0-9-]{1,40}")
_STATUS = {"case.unknown": 404, "case.not_yours": 403, "command.not_now": 409}


class CommandBody(BaseModel):
    """The body of POST /api/cases/{number}/COMMAND; what each command needs it says itself."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    reason: str = Field("", max_length=1000)
    items: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field([], max_length=30)
    outcome: Literal["APPROVED", "REJECTED"] | None = None
    proposed: str | None = Field(None, max_length=20)
    correct_by: date | None = None


class CaseLine(BaseModel):
    """A case without what the citizen wrote."""

    number: str
    service: str
    service_name: str
    agency: str
    responsible: str
    status: str
    step: int
    chain: list[str]
    received_at: Moment
    assigned_at: Moment
    due_on: date
    joint_review: list[JointReview]
    duplicates: list[str]


class Inbox(BaseModel):
    agency: str
    cases: list[CaseLine]


class WholeCase(CaseLine):
    """With what the citizen wrote and added, what routing saw, and what has happened."""

    facts: dict[str, Any]
    application: dict[str, Any]
    supplements: list[dict[str, Any]]
    history: list[dict[str, Any]]


class ChangedCase(CaseLine):
    """`passed` are the statuses on the way."""

    passed: list[str]


def add_routes(
    app: FastAPI,
    settings: BackofficeSettings,
    catalogue: Catalogue,
    pool: Pool,
    vault: Vault,
    working_day: WorkingDay,
    ring: Callable[[], None],
) -> None:
    secret = settings.clerk_secret.get_secret_value()

    bearer = HTTPBearer(auto_error=False, description="`casebus clerk-token AGENCY` makes one")

    def clerk(sent: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> Clerk:
        found = None if sent is None else clerk_of(secret, sent.credentials)
        if found is None:
            raise ProblemError(
                401,
                "clerk-token",
                "send 'Authorization: Bearer TOKEN'; `casebus clerk-token AGENCY` makes one",
            )
        return found

    Speaker = Annotated[Clerk, Depends(clerk)]  # noqa: N806 - a type, named like one

    async def case_of(number: str, speaker: Clerk) -> Case:
        case = await store.by_number(pool, number) if _NUMBER.fullmatch(number) else None
        # Another agency's case looks like none: who has it is not this clerk's business.
        if case is None or case.agency != speaker.agency:
            raise ProblemError(404, "case-not-found", f"your agency has no case {number}")
        return case

    @app.get("/api/inbox", response_model=Inbox, responses=problems(401, 422, 503))
    async def inbox(
        speaker: Speaker,
        status: Annotated[str | None, Query(pattern="^[A-Z_]{1,40}$")] = None,
        with_closed: bool = False,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> dict[str, Any]:
        found = await store.inbox(pool, speaker.agency, status, with_closed, limit)
        return {"agency": speaker.agency, "cases": [_line(case, catalogue) for case in found]}

    @app.get(
        "/api/cases/{number}",
        response_model=WholeCase,
        responses=problems(401, 404, 410, 422, 503),
    )
    async def read(number: str, speaker: Speaker) -> dict[str, Any]:
        """The whole case, with what the citizen wrote: this opening is written down."""
        case = await case_of(number, speaker)
        async with pool.acquire() as connection:
            try:
                key = await vault.open(connection, case.case_id, f"read by {speaker.agency}")
            except NoKeyError as error:
                raise ProblemError(410, "case-destroyed", str(error)) from None
        log.info("case.opened", case_id=str(case.case_id), agency=speaker.agency)
        return {
            **_line(case, catalogue),
            "facts": case.facts,
            "application": json.loads(key.unseal(case.sealed)),
            "supplements": [
                {"at": at.isoformat(), **json.loads(key.unseal(sealed))}
                for at, sealed in await store.supplements(pool, case.case_id)
            ],
            "history": await store.history(pool, case.case_id),
        }

    async def carry_out(case: Case, wanted: Command) -> Change:
        """Again when somebody else was quicker: their change has to be told first."""
        command_id = uuid4()
        for _ in range(_TRIES):
            try:
                async with pool.acquire() as connection, connection.transaction():
                    cases = store.PostgresCases(connection)
                    return await on_command(
                        case.case_id, wanted, command_id, cases, working_day, _now()
                    )
            except TransientError as error:
                log.info("command.again", case_id=str(case.case_id), error=str(error))
        raise ProblemError(503, "try-again", "the case is being changed; try again")

    def add_command(path: str, name: Any) -> None:
        @app.post(
            f"/api/cases/{{number}}/{path}",
            name=path,
            response_model=ChangedCase,
            responses=problems(400, 401, 403, 404, 409, 422, 503),
        )
        async def command(
            number: str, speaker: Speaker, body: CommandBody | None = None
        ) -> dict[str, Any]:
            case = await case_of(number, speaker)
            given = body or CommandBody()
            if given.proposed is not None and given.proposed not in catalogue.agencies:
                raise ProblemError(422, "invalid", f"there is no agency {given.proposed!r}")
            wanted = Command(
                name=name,
                agency=speaker.agency,
                by=f"clerk:{speaker.name}",
                reason=given.reason,
                items=tuple(given.items),
                outcome=given.outcome,
                proposed=given.proposed,
                correct_by=given.correct_by,
            )
            try:
                change = await carry_out(case, wanted)
            except PermanentError as error:
                status = _STATUS.get(error.code, 422)
                raise ProblemError(status, error.code.replace("_", "-"), str(error)) from None
            ring()
            return {**_line(change.case, catalogue), "passed": change.path}

    for path, name in (
        ("accept", "accept"),
        ("request-correction", "request_correction"),
        ("complete", "complete"),
        ("return", "return"),
    ):
        add_command(path, name)


def _now() -> datetime:
    return datetime.now(UTC)


def _line(case: Case, catalogue: Catalogue) -> dict[str, Any]:
    service = catalogue.services.get(case.service)
    return {
        "number": case.number,
        "service": case.service,
        "service_name": service.name_zh if service else case.service,
        "agency": case.agency,
        "responsible": case.responsible,
        "status": case.status,
        "step": case.step,
        "chain": case.chain,
        "received_at": case.received_at.isoformat(),
        "assigned_at": case.assigned_at.isoformat(),
        "due_on": case.due_on.isoformat(),
        "joint_review": case.joint_review,
        "duplicates": case.duplicates,
    }
