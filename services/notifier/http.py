"""The notifier's pages: preferences by signed link, the texts, and the door for receipts."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Header, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import AfterValidator

from services.notifier.channels import ForgedReceiptError, Receipt, receipt_of
from services.notifier.domain import Quiet, parse_quiet
from services.notifier.links import Links
from services.notifier.messages import KEYS, LANGUAGES, Messages, sample
from services.notifier.preferences import Choices, Preferences, Shown
from services.notifier.texts import TEXTS
from shared.runtime.web import ProblemError

_PAGES = Path(__file__).parent / "pages"
_LARGEST_FORM = 4096
_LARGEST_RECEIPT = 16_384


def _language(wanted: str) -> str:
    return "en" if wanted.startswith("en") else "zh-TW"


Lang = Annotated[str, AfterValidator(_language)]


def add_routes(
    app: FastAPI,
    choices: Choices,
    links: Links,
    messages: Messages,
    price_twd: Decimal | None,
    city: Quiet,
    now: Callable[[], datetime],
) -> None:
    """Preferences, and the texts as they go out. Nobody signs in: the link is the key."""
    pages = Environment(loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined)

    def page(name: str, lang: str, status: int = 200, **values: Any) -> HTMLResponse:
        text = pages.get_template(name).render(lang=lang, t=TEXTS[lang], **values)
        return HTMLResponse(text, status)

    def unknown(lang: str) -> HTMLResponse:
        return page("unknown.html.jinja", lang, 404, both=TEXTS)

    async def found(token: str) -> tuple[int, Shown] | None:
        """Whose link it is. Tries are not counted: nobody guesses 80 bits of a signature."""
        number = links.number(token)
        shown = None if number is None else await choices.of(number)
        return None if number is None or shown is None else (number, shown)

    @app.get("/p/{token}", response_class=HTMLResponse)
    async def preferences(token: str, lang: str = "", saved: str = "") -> HTMLResponse:
        known = await found(token)
        if known is None:
            return unknown(_language(lang))
        _, shown = known
        language = _language(lang) if lang else shown.preferences.language
        return page(
            "preferences.html.jinja",
            language,
            token=token,
            shown=shown,
            city=city,
            saved=bool(saved),
        )

    @app.post("/p/{token}")
    async def choose(request: Request, token: str, lang: Lang = "zh-TW") -> Response:
        known = await found(token)
        if known is None:
            return unknown(lang)
        number, shown = known
        form = await _form(request)
        wanted = _chosen(form, shown)
        if wanted is None:
            return page(
                "preferences.html.jinja", lang, 422, token=token, shown=shown, city=city, saved=None
            )
        await choices.choose(number, wanted, now())
        return RedirectResponse(f"/p/{token}?lang={lang}&saved=1", 303)

    @app.post("/p/{token}/unsubscribe")
    async def unsubscribe(request: Request, token: str) -> Response:
        known = await found(token)
        if known is None:
            return unknown("zh-TW")
        number, shown = known
        if (await _form(request)).get("List-Unsubscribe") != "One-Click":
            raise ProblemError(422, "one-click", "the body must be List-Unsubscribe=One-Click")
        await choices.choose(number, replace(shown.preferences, mail=False), now())
        return Response("no more mails go there\n", media_type="text/plain")

    @app.get("/p/{token}/unsubscribe")
    async def by_hand(token: str) -> Response:
        return RedirectResponse(f"/p/{token}", 303)

    @app.get("/preview", response_class=HTMLResponse)
    async def preview(lang: Lang = "zh-TW") -> HTMLResponse:
        shown = [
            (
                key,
                language,
                messages.render(key, language, "sms", sample(language)),
                messages.render(key, language, "mail", sample(language)),
            )
            for key in KEYS
            for language in LANGUAGES
        ]
        return page("preview.html.jinja", lang, shown=shown, price=price_twd)

    @app.get("/style.css")
    async def style() -> Response:
        return Response((_PAGES / "style.css").read_text(), media_type="text/css")


def add_receipts(
    app: FastAPI, tokens: Mapping[str, bytes], keep: Callable[[Receipt], Awaitable[None]]
) -> None:
    """Where gateways bring receipts; `tokens` sign them, by provider."""

    @app.post("/receipts/{provider}")
    async def receipt(
        request: Request, provider: str, x_signature: Annotated[str, Header(max_length=200)] = ""
    ) -> Response:
        body = await _body(request, _LARGEST_RECEIPT)
        token = tokens.get(provider)
        try:
            if token is None:
                raise ForgedReceiptError
            found = receipt_of(provider, body, x_signature, token)
        except ForgedReceiptError:
            raise ProblemError(403, "signature", "no provider has signed this") from None
        except ValueError:
            raise ProblemError(422, "unreadable", "the receipt cannot be read") from None
        if found is not None:
            await keep(found)
        return Response(status_code=204)


def _chosen(form: Mapping[str, str], shown: Shown) -> Preferences | None:
    """What the form says; None when no such form was sent."""
    if form.get("all") == "stop":
        return replace(shown.preferences, sms=False, mail=False)
    quiet = form.get("quiet", "city")
    try:
        if quiet == "own":
            hours = parse_quiet(f"{form.get('from', '')}-{form.get('until', '')}")
        elif quiet in ("city", "none"):
            hours = parse_quiet(quiet)
        else:
            return None
    except ValueError:
        return None
    language = form.get("language", "")
    if language not in LANGUAGES:
        return None
    return Preferences(
        # What a citizen has no address for is not theirs to choose here.
        sms=form.get("sms") == "on" if shown.phone else shown.preferences.sms,
        mail=form.get("mail") == "on" if shown.email else shown.preferences.mail,
        language="en" if language == "en" else "zh-TW",
        quiet=hours,
    )


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, of repeated ones the last."""
    raw = await _body(request, _LARGEST_FORM)
    try:
        fields = parse_qs(raw.decode("ascii"), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise ProblemError(400, "form", "this is no form of this page") from None
    return {name: values[-1] for name, values in fields.items()}


async def _body(request: Request, most: int) -> bytes:
    raw = b""
    async for part in request.stream():
        raw += part
        if len(raw) > most:
            raise ProblemError(413, "body-too-large", f"the body is larger than {most} bytes")
    return raw
