"""Apply: a form that is saved as it is typed, looked at once more, sent, and confirmed.

Nobody signs in: the address of a draft is its key. Nothing that was typed is refused; what is
wrong is said beside it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.datastructures import FormData, UploadFile

from catalogue import Catalogue, Service
from catalogue.forms import MOST_DOCUMENTS, Form
from services.intake import drafts
from services.intake.applying import Desk, UnreachableError
from services.intake.domain import Checked, FieldError
from services.intake.drafts import Channel, Draft
from services.intake.draftstore import PostgresDrafts
from services.intake.gate import LinkLimit
from services.intake.handlers import Duplicate
from services.intake.inspection import Inspector
from services.intake.portal import messages, views
from services.intake.portal.finding import nowhere
from services.intake.portal.posted import Large, Small
from services.intake.portal.site import Site
from services.intake.texts import Language, languages
from services.intake.uploads import UploadError
from shared.runtime.web import address_of


@dataclass(frozen=True, slots=True)
class Shop:
    """What the pages of a form need. `due` is the day on which a case received now is due;
    `received` tells when an application came in, by its number."""

    site: Site
    catalogue: Catalogue
    forms: Mapping[str, Form]
    drafts: PostgresDrafts
    desk: Desk
    links: LinkLimit
    inspector: Inspector
    now: Callable[[], datetime]
    due: Callable[[Service, datetime], date]
    ring: Callable[[], None]
    received: Callable[[str], Awaitable[datetime | None]]
    password: Callable[[Draft], str]
    # Whether this request comes from the clerk of that name.
    is_clerk: Callable[[Request, str], bool]
    # What became of the message with the link, when something is known.
    link_failed: Callable[[UUID], Awaitable[bool]]


def add_routes(app: FastAPI, shop: Shop) -> None:
    for language in languages().values():
        Pages(shop, language).add(app)


class Pages:
    """The pages of one language."""

    def __init__(self, shop: Shop, language: Language) -> None:
        self._shop = shop
        self._language = language

    def add(self, app: FastAPI) -> None:
        home = f"/{self._language.tag}"
        for method, path, page in (
            ("GET", "/services/{code}/apply", self.before),
            ("POST", "/services/{code}/apply", self.begin),
            ("GET", "/services/{code}/form", self.sheet),
            ("GET", "/apply/{link}", self.form),
            ("POST", "/apply/{link}", self.save),
            ("POST", "/apply/{link}/check", self.check),
            ("GET", "/apply/{link}/review", self.review),
            ("POST", "/apply/{link}/review", self.send),
            ("GET", "/apply/{link}/sent", self.sent),
            ("GET", "/apply/{link}/done", self.done),
            ("GET", "/apply/{link}/documents/{digest}", self.document),
            ("GET", "/confirm/{link}", self.confirm),
            ("POST", "/confirm/{link}", self.confirmed),
            ("GET", "/confirm/{link}/done", self.confirmed_already),
        ):
            app.add_api_route(home + path, page, methods=[method], include_in_schema=False)

    def _page(self, name: str, path: str, status: int = 200, **values: Any) -> Response:
        return self._shop.site.page(name, self._language, path, status, **values)

    def _to(self, path: str) -> Response:
        return RedirectResponse(f"/{self._language.tag}{path}", 303)

    # Before

    async def before(self, code: str) -> Response:
        """What it takes, and a button: who only looks leaves no draft behind."""
        service = self._shop.catalogue.services.get(code)
        if service is None:
            return nowhere(self._shop.site, self._language, "/services")
        shown = views.whole(service, self._shop.forms[code], self._shop.catalogue, self._language)
        if not shown.line.online:
            return self._to(f"/services/{code}")
        return self._page("before.jinja", f"/services/{code}/apply", shown=shown)

    async def begin(self, code: str) -> Response:
        service = self._shop.catalogue.services.get(code)
        if service is None or not views.is_online(service):
            return nowhere(self._shop.site, self._language, "/services")
        draft = await self.begun(code, "online", "", {"contact.language": self._language.tag})
        return self._to(f"/apply/{self._shop.drafts.link(draft)}")

    async def begun(
        self, code: str, channel: Channel, filed_by: str, values: Mapping[str, str]
    ) -> Draft:
        draft = Draft(uuid4(), code, channel, filed_by, self._language.tag, values)
        return await self._shop.drafts.begin(draft, self._shop.now())

    async def sheet(self, code: str) -> Response:
        """The form, to print and fill in by hand."""
        service = self._shop.catalogue.services.get(code)
        if service is None:
            return nowhere(self._shop.site, self._language, "/services")
        form = self._shop.forms[code]
        shown = views.whole(service, form, self._shop.catalogue, self._language)
        path = f"/services/{code}/form"
        return self._page("sheet.jinja", path, shown=shown, form=form, public=True)

    # The form

    async def form(self, link: str, request: Request, notice: str = "") -> Response:
        draft = await self._found(link, request)
        if draft is None:
            return self._gone()
        if draft.state != "open":
            return self._to(f"/apply/{link}/{'sent' if draft.state == 'sent' else 'done'}")
        return self._form(draft, [], notice=messages.NOTICES.get(notice, ""))

    async def save(self, link: str, request: Request, given: Large) -> Response:
        """Keep all that was typed and chosen; then go where the button says."""
        draft = await self._found(link, request)
        if draft is not None and draft.state == "received":
            return self._to(f"/apply/{link}/done")
        if draft is None:
            return await self._begun_anew(given)
        form = self._shop.forms[draft.service]
        mine = replace(
            draft,
            values={**draft.values, **_typed(form, given)},
            language=self._language.tag,
        )
        # What was typed first: a document that takes too long must not take it along.
        saved = await self._saved(mine) if _revision(given) == draft.revision else None
        if saved is None:
            # Two windows: nothing is written over; both are shown.
            current = await self._found(link, request) or draft
            return self._form(
                mine, [], 409, other=current.values, saved=current, files=_files(given)
            )
        with_documents, errors = await self._with_documents(saved, form, given, address_of(request))
        if with_documents != saved:
            kept = await self._saved(with_documents)
            if kept is None:
                current = await self._found(link, request) or draft
                return self._form(mine, [], 409, other=current.values, saved=current)
            saved = kept
            await self._shop.drafts.keep_only(saved)
        action = given.get("do")
        if errors:
            return self._form(saved, errors, 422)
        if action == "review":
            _, errors = drafts.verify(saved, form, self._shop.catalogue)
            return self._form(saved, errors, 422) if errors else self._to(f"/apply/{link}/review")
        return self._to(f"/apply/{link}?notice=saved")

    async def _begun_anew(self, given: FormData) -> Response:
        """The draft has expired while its form was open: what was typed goes into a new one."""
        code = given.get("service")
        form = self._shop.forms.get(code) if isinstance(code, str) else None
        if form is None:
            return self._gone()
        if not views.is_online(self._shop.catalogue.services[form.service]):
            return self._gone()
        draft = await self.begun(form.service, "online", "", _typed(form, given))
        return self._to(f"/apply/{self._shop.drafts.link(draft)}?notice=anew")

    async def _with_documents(
        self, draft: Draft, form: Form, given: FormData, client: str
    ) -> tuple[Draft, list[FieldError]]:
        """The draft with what was uploaded and without what was taken away."""
        errors: list[FieldError] = []
        documents = list(draft.documents)
        removed = given.get("remove")
        documents = [one for one in documents if one.digest != removed]
        for name, value in given.multi_items():
            if not isinstance(value, UploadFile) or not value.filename:
                continue
            if not any(one.name == name and one.kind == "file" for one in form.fields()):
                continue
            if len(documents) >= MOST_DOCUMENTS:
                errors.append(FieldError(name, messages.upload("upload.too_many", {})))
                break
            try:
                content = await value.read()
                upload = await self._shop.inspector.inspect(value.filename, content, client)
            except UploadError as error:
                errors.append(FieldError(name, messages.upload(error.code, error.values)))
            else:
                kept = await self._shop.drafts.attach(draft.case_id, name, upload)
                if (name, kept.digest) not in {(one.field, one.digest) for one in documents}:
                    documents.append(kept)
        return replace(draft, documents=tuple(documents)), errors

    async def check(self, link: str, request: Request, given: Small) -> Response:
        """What is wrong so far, by field; nothing is kept. For the script of the page."""
        draft = await self._found(link, request)
        if draft is None or draft.state != "open":
            return JSONResponse({})
        form = self._shop.forms[draft.service]
        mine = replace(draft, values=_typed(form, given))
        _, errors = drafts.verify(mine, form, self._shop.catalogue)
        return JSONResponse({error.field: self._said(error) for error in errors})

    def _form(
        self,
        draft: Draft,
        errors: list[FieldError],
        status: int = 200,
        notice: str = "",
        other: Mapping[str, str] | None = None,
        saved: Draft | None = None,
        files: bool = False,
    ) -> Response:
        form = self._shop.forms[draft.service]
        link = self._shop.drafts.link(draft)
        differing = {
            name: other.get(name, "")
            for name in {*(other or {}), *draft.values}
            if other is not None and other.get(name, "") != draft.values.get(name, "")
        }
        said = {error.field: self._said(error) for error in reversed(errors)}
        return self._page(
            "form.jinja",
            f"/apply/{link}",
            status,
            draft=draft,
            revision=(saved or draft).revision,
            form=form,
            shown=self._shown(draft),
            link=link,
            address=f"{self._shop.site.url}/{self._language.tag}/apply/{link}",
            errors=dict(reversed(said.items())),
            notice=self._language.text(notice) if notice else "",
            differing=differing,
            conflict=other is not None,
            files_lost=files,
            is_asked=drafts.is_asked,
        )

    # Review, sending, confirming

    async def review(self, link: str, request: Request) -> Response:
        draft = await self._found(link, request)
        if draft is None:
            return self._gone()
        if draft.state != "open":
            return self._to(f"/apply/{link}/{'sent' if draft.state == 'sent' else 'done'}")
        checked, errors = self._checked(draft)
        if checked is None:
            return self._form(draft, errors, 422)
        return await self._review(draft, checked)

    async def _review(
        self, draft: Draft, checked: Checked, status: int = 200, error: str = ""
    ) -> Response:
        link = self._shop.drafts.link(draft)
        form = self._shop.forms[draft.service]
        # A clerk may know; whoever else types an ID number is told once it is confirmed.
        found = await self._duplicates(draft, checked) if draft.filed_by else []
        return self._page(
            "review.jinja",
            f"/apply/{link}/review",
            status,
            draft=draft,
            form=form,
            shown=self._shown(draft),
            link=link,
            error=error,
            duplicates=found,
            is_asked=drafts.is_asked,
        )

    async def _duplicates(self, draft: Draft, checked: Checked) -> list[Duplicate]:
        return await self._shop.desk.duplicates(draft, checked, self._shop.now())

    async def send(self, link: str, request: Request, given: Small) -> Response:
        draft = await self._found(link, request)
        if draft is None:
            return self._gone()
        if draft.state == "received":
            return self._to(f"/apply/{link}/done")
        if draft.state == "sent":
            return self._to(f"/apply/{link}/sent")
        checked, errors = self._checked(draft)
        if checked is None:
            return self._form(draft, errors, 422)
        if _revision(given) != draft.revision:
            return await self._review(draft, checked, 409, messages.CHANGED)
        if given.get("agree") != "yes":
            return await self._review(draft, checked, 422, messages.AGREE)
        if draft.filed_by:
            # A clerk has seen who it is; there is nothing to confirm.
            await self._shop.desk.receive(draft, checked, self._shop.now())
            self._shop.ring()
            return self._to(f"/apply/{link}/done")
        try:
            if not await self._sent(draft, checked, request):
                return await self._review(draft, checked, 429, messages.TOO_MANY_LINKS)
        except UnreachableError:
            return await self._review(draft, checked, 422, messages.UNREACHABLE)
        self._shop.ring()
        return self._to(f"/apply/{link}/sent")

    async def _sent(self, draft: Draft, checked: Checked, request: Request) -> bool:
        """Whether it waits for its confirmation; not when too many links were asked for."""
        contact, links = checked.form.contact, self._shop.links
        there, here = contact.email or contact.phone or "", address_of(request)
        if not await links.may(there, here):
            return False
        if await self._shop.desk.send(draft, checked, self._shop.now()):
            await links.sent(there, here)
        return True

    async def _failed(self, case_id: UUID) -> bool:
        return await self._shop.link_failed(case_id)

    async def sent(self, link: str, request: Request) -> Response:
        draft = await self._found(link, request)
        if draft is None:
            return self._gone()
        if draft.state != "sent":
            return self._to(f"/apply/{link}" + ("/done" if draft.state == "received" else ""))
        email = draft.values.get("contact.email", "")
        return self._page(
            "sent.jinja",
            f"/apply/{link}/sent",
            draft=draft,
            link=link,
            shown=self._shown(draft),
            failed=await self._failed(draft.case_id),
            email=email,
            phone=draft.values.get("contact.phone", ""),
        )

    async def confirm(self, link: str) -> Response:
        """A page with a button: programs that look into mails follow links, but press nothing."""
        draft = await self._confirmable(link)
        if draft is None:
            return self._gone()
        if draft.state == "received":
            return self._to(f"/confirm/{link}/done")
        checked, _ = self._checked(draft)
        found = await self._duplicates(draft, checked) if checked else []
        return self._page(
            "confirm.jinja",
            f"/confirm/{link}",
            200 if checked else 409,
            sound=checked is not None,
            link=link,
            shown=self._shown(draft),
            # Only of those that name the address that was proven by this link.
            duplicates=[one for one in found if one.known],
        )

    async def confirmed(self, link: str) -> Response:
        draft = await self._confirmable(link)
        if draft is None:
            return self._gone()
        if draft.state == "sent":
            checked, _ = self._checked(draft)
            if checked is None:
                # The service or its rules have changed since it was sent.
                return await self.confirm(link)
            await self._shop.desk.receive(draft, checked, self._shop.now())
            self._shop.ring()
        return self._to(f"/confirm/{link}/done")

    async def confirmed_already(self, link: str) -> Response:
        """Number and password for whom the link was sent to; not what was typed."""
        draft = await self._confirmable(link)
        if draft is None or draft.state != "received":
            return self._gone()
        return await self._done(draft, f"/confirm/{link}/done", "")

    async def done(self, link: str, request: Request) -> Response:
        draft = await self._found(link, request)
        if draft is None:
            return self._gone()
        if draft.state != "received":
            return self._to(f"/apply/{link}")
        return await self._done(draft, f"/apply/{link}/done", link)

    async def _done(self, draft: Draft, path: str, link: str) -> Response:
        """`link` leads to the receipt with all that was typed; empty: it is not for them."""
        number = draft.number or ""
        at = await self._shop.received(number)
        service = self._shop.catalogue.services[draft.service]
        return self._page(
            "done.jinja",
            path,
            number=number,
            link=link,
            shown=self._shown(draft),
            received_at=at,
            due_on=self._shop.due(service, at) if at else None,
            password=self._shop.password(draft),
        )

    async def document(self, link: str, digest: str, request: Request) -> Response:
        draft = await self._found(link, request)
        one = (
            next((one for one in draft.documents if one.digest == digest), None) if draft else None
        )
        if draft is None or one is None:
            return self._gone()
        found = await self._shop.drafts.document(draft.case_id, digest, "citizen")
        return self._gone() if found is None else attachment(one.name, *found)

    def _checked(self, draft: Draft) -> tuple[Checked | None, list[FieldError]]:
        return drafts.verify(draft, self._shop.forms[draft.service], self._shop.catalogue)

    def _shown(self, draft: Draft) -> views.Whole:
        service = self._shop.catalogue.services[draft.service]
        form = self._shop.forms[draft.service]
        return views.whole(service, form, self._shop.catalogue, self._language)

    async def _found(self, link: str, request: Request) -> Draft | None:
        return await draft_of(self._shop, link, request)

    async def _confirmable(self, link: str) -> Draft | None:
        found = await self._shop.drafts.find_confirmation(link, self._shop.now())
        return found if found is not None and found.service in self._shop.forms else None

    async def _saved(self, draft: Draft) -> Draft | None:
        return await self._shop.drafts.save(draft, self._shop.now())

    def _gone(self) -> Response:
        return self._page("gone.jinja", "/services", 404)

    def _said(self, error: FieldError) -> str:
        return in_language(error.detail, self._language)


async def draft_of(shop: Shop, link: str, request: Request) -> Draft | None:
    """By its own link; of a draft that a clerk has begun only for that clerk. A service that the
    catalogue has lost takes its drafts along."""
    found = await shop.drafts.find(link, shop.now())
    if found is None or found.service not in shop.forms:
        return None
    return None if found.filed_by and not shop.is_clerk(request, found.filed_by) else found


def in_language(detail: str, language: Language) -> str:
    """Of "English / Chinese" the one half."""
    en, _, zh = detail.partition(" / ")
    return language.pick(zh or en, en[:1].upper() + en[1:])


def attachment(name: str, media_type: str, content: bytes) -> Response:
    """A document to be saved, never to be shown as a page of this site."""
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return Response(content, media_type=media_type, headers=headers)


def _typed(form: Form, given: FormData) -> dict[str, str]:
    texts = {name: value for name, value in given.items() if isinstance(value, str)}
    found = drafts.typed(form, texts)
    # A box without a tick is not sent at all.
    for one in form.fields():
        if one.kind == "yes_no" and one.name not in found and "revision" in given:
            found[one.name] = ""
    return found


def _files(given: FormData) -> bool:
    """Whether a file was chosen."""
    return any(isinstance(one, UploadFile) and one.filename for one in given.values())


def _revision(given: FormData) -> int:
    said = given.get("revision")
    plain = isinstance(said, str) and said.isascii() and said.isdigit() and len(said) < 10
    return int(str(said)) if plain else 0
