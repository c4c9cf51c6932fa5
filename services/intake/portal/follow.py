"""Follow a case: with its number and password, then by a signed link that ends by itself."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.datastructures import UploadFile

from catalogue import Catalogue
from catalogue.calendar import Calendar
from catalogue.forms import MOST_DOCUMENTS
from services.intake import following
from services.intake.applying import UnreachableError, channel_of
from services.intake.drafts import cleaned
from services.intake.draftstore import PostgresDrafts
from services.intake.gate import Gate, LinkLimit, TooOftenError
from services.intake.identity import CITY, InvalidValue, parse_case_number
from services.intake.inspection import Inspector
from services.intake.portal import messages, views
from services.intake.portal.apply import in_language
from services.intake.portal.posted import Large, Small
from services.intake.portal.site import Site
from services.intake.store import PostgresApplications
from services.intake.texts import Language, languages
from services.intake.uploads import Upload, UploadError
from shared.contract import topics
from shared.contract.events import (
    ApplicationPreferencesRequested,
    ApplicationSupplemented,
    ApplicationWithdrawn,
    Event,
    derived_id,
)
from shared.contract.wire import encode
from shared.runtime.vault import NoKeyError
from shared.runtime.web import address_of

_VALID_S = 2 * 3600
_LONGEST_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Files:
    """What the pages of a case need."""

    site: Site
    catalogue: Catalogue
    calendar: Calendar
    drafts: PostgresDrafts
    inspector: Inspector
    secret: bytes
    gate: Gate
    links: LinkLimit
    applications: PostgresApplications
    document_link: Callable[[UUID, str], str]
    now: Callable[[], datetime]
    ring: Callable[[], None]


def add_routes(app: FastAPI, files: Files) -> None:
    for language in languages().values():
        _Pages(files, language).add(app)


class _Pages:
    """The pages of one language."""

    def __init__(self, files: Files, language: Language) -> None:
        self._files = files
        self._language = language
        self._signer = URLSafeTimedSerializer(files.secret, salt="casebus-follow")

    def add(self, app: FastAPI) -> None:
        home = f"/{self._language.tag}/case"
        for method, path, page in (
            ("GET", "", self.door),
            ("POST", "", self.enter),
            ("GET", "/{token}", self.case),
            ("POST", "/{token}/supplement", self.supplement),
            ("POST", "/{token}/withdraw", self.withdraw),
            ("POST", "/{token}/preferences", self.preferences),
        ):
            app.add_api_route(home + path, page, methods=[method], include_in_schema=False)

    async def door(self, number: str = "") -> Response:
        return self._door(number[:40])

    def _door(self, number: str, error: str = "", status: int = 200) -> Response:
        return self._files.site.page(
            "door.jinja", self._language, "/case", status, number=number, error=error
        )

    async def enter(self, request: Request, given: Small) -> Response:
        """Whether the number exists or the password is wrong: the answer, and the time that it
        takes, are the same."""
        typed, password = (str(given.get(name) or "").strip() for name in ("number", "password"))
        try:
            number = parse_case_number(typed)
        except InvalidValue as error:
            said = f"{error.message_en} / {error.message_zh}"
            return self._door(typed[:40], in_language(said, self._language), 422)
        return await self._entered(number, password, address_of(request))

    async def _entered(self, number: str, password: str, address: str) -> Response:
        try:
            found = await self._files.gate.enter(number, password, address)
        except TooOftenError:
            return self._door(number, self._language.text(messages.TOO_OFTEN), 429)
        if found is None:
            return self._door(number, self._language.text(messages.NOT_YOURS), 403)
        return RedirectResponse(f"/{self._language.tag}/case/{self._signer.dumps(number)}", 303)

    async def case(self, token: str, notice: str = "") -> Response:
        case = await self._of(token)
        if case is None:
            return self._door("", self._language.text(messages.COME_AGAIN), 403)
        return self._case(token, case, notice=messages.NOTICES.get(notice, ""))

    def _case(
        self,
        token: str,
        case: following.Case,
        status: int = 200,
        notice: str = "",
        error: str = "",
        text: str = "",
    ) -> Response:
        files, language = self._files, self._language
        agency = files.catalogue.agencies.get(case.agency or "")
        told = files.catalogue.statuses.get(case.status)
        return files.site.page(
            "case.jinja",
            language,
            f"/case/{token}",
            status,
            case=case,
            token=token,
            line=views.line(case.service, files.catalogue, language),
            agency=language.pick(agency.zh, agency.en) if agency else "",
            status_name=language.pick(told.zh, told.en) if told else case.status,
            history=[views.told(step, files.catalogue, language) for step in case.steps],
            limit=views.limit(case.service, language),
            notice=language.text(notice) if notice else "",
            error=error,
            text=text,
            once=uuid4().hex,
            longest=_LONGEST_TEXT,
        )

    async def supplement(self, token: str, request: Request, given: Large) -> Response:
        """Answer what the agency asks for, or add what it should have."""
        case = await self._of(token)
        if case is None:
            return self._door("", self._language.text(messages.COME_AGAIN), 403)
        text = cleaned(str(given.get("text") or ""))
        if case.ended:
            return self._case(token, case, 409, error=self._language.text(messages.ENDED))
        if len(text) > _LONGEST_TEXT:
            said = self._language.text(messages.TOO_LONG, n=len(text), most=_LONGEST_TEXT)
            return self._case(token, case, 422, error=said, text=text)
        # All are looked into before one is kept.
        uploads: list[Upload] = []
        for name, value in given.multi_items():
            if name != "document" or not isinstance(value, UploadFile) or not value.filename:
                continue
            try:
                if len(uploads) == MOST_DOCUMENTS:
                    raise UploadError("upload.too_many")
                content = await value.read()
                client = address_of(request)
                uploads.append(await self._files.inspector.inspect(value.filename, content, client))
            except UploadError as error:
                said = in_language(messages.upload(error.code, error.values), self._language)
                said = f"{value.filename}: {said}"
                return self._case(token, case, 422, error=said, text=text)
        documents = [await self._kept(case.case_id, upload) for upload in uploads]
        if not text and not documents:
            return self._case(token, case, 422, error=self._language.text(messages.NOTHING))
        said_now = json.dumps({"text": text, "documents": documents}, ensure_ascii=False)
        # Sent twice it is the same; something else from the same page is not.
        said_once = f"{given.get('once')} {hashlib.sha256(said_now.encode()).hexdigest()}"
        event_id = derived_id(case.case_id, f"supplement {said_once}")
        now = self._files.now()
        try:
            event = ApplicationSupplemented(
                id=event_id,
                source="intake",
                time=now,
                case_id=case.case_id,
                number=case.number,
                service=case.service.code,
                sealed=await self._files.drafts.seal(case.case_id, said_now.encode()),
            )
            detail: dict[str, object] = {"documents": len(documents)}
            await self._ask(case, event, "added", detail)
        except NoKeyError:
            # Its key was destroyed: nothing can be added to it.
            return self._case(token, case, 409, error=self._language.text(messages.ENDED))
        return self._to_case(token, "added")

    async def _kept(self, case_id: UUID, upload: Upload) -> dict[str, object]:
        kept = await self._files.drafts.attach(case_id, "supplement", upload)
        return kept.told(self._files.document_link(case_id, kept.digest))

    async def withdraw(self, token: str, given: Small) -> Response:
        case = await self._of(token)
        if case is None:
            return self._door("", self._language.text(messages.COME_AGAIN), 403)
        if given.get("sure") != "yes":
            return self._case(token, case, 422, error=self._language.text(messages.SURE))
        if not case.may_withdraw:
            return self._case(token, case, 409, error=self._language.text(messages.TOO_LATE))
        now = self._files.now()
        event = ApplicationWithdrawn(
            id=derived_id(case.case_id, "withdrawn"),
            source="intake",
            time=now,
            case_id=case.case_id,
            number=case.number,
            service=case.service.code,
        )
        await self._ask(case, event, "withdrawn", {})
        return self._to_case(token, "withdrawn")

    async def preferences(self, token: str, request: Request) -> Response:
        """Send the link to the case's own address, once a day: who looks at the case need not be
        who is written to."""
        case = await self._of(token)
        if case is None:
            return self._door("", self._language.text(messages.COME_AGAIN), 403)
        if case.ended:
            return self._case(token, case, 409, error=self._language.text(messages.ENDED))
        files, now = self._files, self._files.now()
        try:
            said = (await files.drafts.application(case.case_id, "preferences"))["contact"]
            email, phone = said.get("email"), said.get("phone")
            channel = channel_of(email, phone)
            if not await files.links.may(email or phone, address_of(request)):
                text = self._language.text(messages.TOO_MANY_LINKS)
                return self._case(token, case, 429, error=text)
            event = ApplicationPreferencesRequested(
                id=derived_id(case.case_id, f"preferences {now.astimezone(CITY).date()}"),
                source="intake",
                time=now,
                case_id=case.case_id,
                number=case.number,
                service=case.service.code,
                channel=channel,
                proven=await files.applications.is_proven(case.case_id),
            )
            asked = await self._ask(case, event, "preferences", {})
        except UnreachableError:
            return self._case(token, case, 422, error=self._language.text(messages.NO_WAY))
        except NoKeyError:
            # Nobody can be written to.
            return self._case(token, case, 409, error=self._language.text(messages.ENDED))
        if asked:
            await files.links.sent(email or phone, address_of(request))
        return self._to_case(token, "link" if asked else "link_already")

    async def _ask(
        self, case: following.Case, event: Event, kind: str, detail: dict[str, object]
    ) -> bool:
        """Tell the city and show it as a step of the case; False when that was done already."""
        out = encode(topics.APPLICATIONS, event)
        applications, at = self._files.applications, event.time
        asked = await applications.ask(case.case_id, event.id, kind, at, detail, out)
        self._files.ring()
        return asked

    def _to_case(self, token: str, notice: str) -> Response:
        return RedirectResponse(f"/{self._language.tag}/case/{token}?notice={notice}", 303)

    async def _of(self, token: str) -> following.Case | None:
        """The case of a signed link; None when it is forged or too old."""
        try:
            number: Any = self._signer.loads(token, max_age=_VALID_S)
        except (BadSignature, ValueError):
            return None
        found = await self._files.applications.by_number(number)
        if found is None:
            return None
        steps = await self._files.applications.steps(found[0])
        case_id, code, received_at = found
        service = self._files.catalogue.services.get(code)
        if service is None:
            return None  # the catalogue has lost it
        return following.case_of(case_id, number, service, received_at, steps, self._files.calendar)
