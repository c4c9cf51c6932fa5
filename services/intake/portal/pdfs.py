"""Forms and receipts as PDF: the form empty, as far as it is typed, and what the city says."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import Response

from catalogue.forms import Field, Form
from services.intake.portal import views
from services.intake.portal.apply import Shop, draft_of
from services.intake.portal.counter import scanned
from services.intake.portal.finding import nowhere
from services.intake.portal.papers import FontError, Papers, Receipt
from services.intake.texts import Language, languages
from shared.runtime.vault import NoKeyError
from shared.runtime.web import ProblemError

log = structlog.get_logger()
# One after the other, and without holding the threads that all else needs meanwhile.
_THREAD = ThreadPoolExecutor(1, "papers")


def add_routes(app: FastAPI, shop: Shop) -> None:
    try:
        papers = Papers()
    except FontError as error:
        # All else works without.
        log.warning("papers.no_font", error=str(error))
        papers = None
    for language in languages().values():
        _Pages(shop, language, papers).add(app)


class _Pages:
    """The PDFs of one language."""

    def __init__(self, shop: Shop, language: Language, papers: Papers | None) -> None:
        self._shop = shop
        self._language = language
        self._papers = papers

    def add(self, app: FastAPI) -> None:
        home = f"/{self._language.tag}"
        for path, page in (
            ("/services/{code}/form.pdf", self.empty),
            ("/apply/{link}/form.pdf", self.filled),
            ("/apply/{link}/receipt.pdf", self.receipt),
        ):
            app.add_api_route(home + path, page, methods=["GET"], include_in_schema=False)

    async def empty(self, code: str) -> Response:
        if code not in self._shop.forms:
            return nowhere(self._shop.site, self._language, "/services")
        made = await self._form(code, {}, scanned(self._shop, self._language, code))
        return _pdf(made, f"{code}.pdf", "public, max-age=300")

    async def filled(self, link: str, request: Request) -> Response:
        """With a code that opens this very draft, so that nobody types it again."""
        draft = await draft_of(self._shop, link, request)
        if draft is None or draft.state == "received":
            return nowhere(self._shop.site, self._language, "/services")
        address = (
            f"{self._shop.site.url}/{self._language.tag}/apply/{self._shop.drafts.link(draft)}"
        )
        return _pdf(await self._form(draft.service, dict(draft.values), address), "form.pdf")

    async def receipt(self, link: str, request: Request) -> Response:
        draft = await draft_of(self._shop, link, request)
        if draft is None or draft.state != "received" or draft.number is None:
            return nowhere(self._shop.site, self._language, "/services")
        shop, language = self._shop, self._language
        try:
            at = await shop.received(draft.number)
            said = await shop.drafts.application(draft.case_id, "receipt")
        except NoKeyError:
            at, said = None, {}  # its key was destroyed
        if at is None:
            return nowhere(shop.site, language, "/services")
        service = shop.catalogue.services[draft.service]
        line = views.line(service, shop.catalogue, language)
        receipt = Receipt(
            number=draft.number,
            service=draft.service,
            title=line.name,
            agency=line.agency,
            received_at=at,
            due_on=shop.due(service, at),
            limit_words=views.limit(service, language),
            password=shop.password(draft),
            follow_url=f"{shop.site.url}/{language.tag}/case?number={draft.number}",
            answers=_answers(shop.forms[draft.service], said, language),
        )
        papers = self._ready()
        made = await _made(papers.receipt, receipt, language.tag)
        return _pdf(made, f"{draft.number}.pdf")

    async def _form(self, code: str, values: dict[str, str], reference: str) -> bytes:
        shop, language, papers = self._shop, self._language, self._ready()
        line = views.line(shop.catalogue.services[code], shop.catalogue, language)
        label = language.text(views.EVIDENCE["generated"]) if line.generated else ""
        return await _made(
            papers.form,
            shop.forms[code],
            line.name,
            line.agency,
            language.tag,
            values,
            reference,
            label,
        )

    def _ready(self) -> Papers:
        if self._papers is None:
            raise ProblemError(
                503, "no-font", "no PDF can be made here: the page to print is at .../form"
            )
        return self._papers


async def _made(make: Callable[..., bytes], *of: Any) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(_THREAD, make, *of)


def _answers(form: Form, said: dict[str, Any], language: Language) -> list[tuple[str, str]]:
    """What was answered, question by question."""
    found = []
    for one in form.fields():
        part, _, name = one.name.partition(".")
        value = said.get(part, {}).get(name) if isinstance(said.get(part), dict) else None
        if one.kind == "file":
            names = [doc["name"] for doc in said.get("documents", ()) if doc["field"] == one.name]
            value = language.listed(names)
        if value not in (None, ""):
            found.append((language.pick(one.zh, one.en), _in_words(one, value, language)))
    return found


def _in_words(one: Field, value: Any, language: Language) -> str:
    if isinstance(value, bool):
        return language.pick("是", "Yes") if value else language.pick("否", "No")
    for choice in one.choices:
        if choice.value == value:
            return language.pick(choice.zh, choice.en)
    return str(value)


def _pdf(content: bytes, name: str, cache: str = "no-store") -> Response:
    headers = {"Content-Disposition": f'inline; filename="{name}"', "Cache-Control": cache}
    return Response(content, media_type="application/pdf", headers=headers)
