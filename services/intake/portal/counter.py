"""The counter and the phone: a clerk fills in the citizen's form, the same one.

A clerk signs in with a token (`casebus counter-token`), which their browser keeps for a day. The
code on a paper form leads here: one scan, and its form is open.
"""

import segno
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from services.intake.clerks import VALID_S, Tokens
from services.intake.drafts import Channel
from services.intake.portal import messages, views
from services.intake.portal.apply import Pages, Shop
from services.intake.portal.finding import nowhere
from services.intake.portal.posted import Small
from services.intake.texts import Language, languages

_COOKIE = "counter"


def is_clerk(tokens: Tokens, request: Request, name: str) -> bool:
    """Whether the browser that asks is that clerk's."""
    return tokens.name(request.cookies.get(_COOKIE, "")) == name


def add_routes(app: FastAPI, shop: Shop, tokens: Tokens) -> None:
    for language in languages().values():
        _add(app, shop, tokens, language)


def scanned(shop: Shop, language: Language, code: str) -> str:
    """What the code on the paper form of a service says."""
    return f"{shop.site.url}/{language.tag}/counter?service={code}"


def _add(app: FastAPI, shop: Shop, tokens: Tokens, language: Language) -> None:
    home = f"/{language.tag}"
    pages = Pages(shop, language)

    def desk(code: str, name: str | None, error: str = "", status: int = 200) -> Response:
        service = shop.catalogue.services.get(code)
        return shop.site.page(
            "counter.jinja",
            language,
            f"/counter?service={code}",
            status,
            code=code,
            line=views.line(service, shop.catalogue, language) if service else None,
            clerk=name,
            error=language.text(error) if error else "",
        )

    @app.get(f"{home}/counter", include_in_schema=False)
    async def counter(request: Request, service: str = "") -> Response:
        return desk(service[:20], tokens.name(request.cookies.get(_COOKIE, "")))

    @app.post(f"{home}/counter", include_in_schema=False)
    async def work(request: Request, given: Small) -> Response:
        token = str(given.get("token") or request.cookies.get(_COOKIE, ""))
        code = str(given.get("service") or "").strip().upper()[:20]
        name = tokens.name(token)
        if name is None:
            return desk(code, None, messages.NO_CLERK, 403)
        service = shop.catalogue.services.get(code)
        if service is None or not service.open:
            answer = desk(code, name, messages.NO_SERVICE if code else "", 422 if code else 200)
        else:
            channel: Channel = "phone" if given.get("channel") == "phone" else "counter"
            begun = await pages.begun(code, channel, name, {"contact.language": "zh-TW"})
            answer = RedirectResponse(f"{home}/apply/{shop.drafts.link(begun)}", 303)
        answer.set_cookie(
            _COOKIE,
            token,
            max_age=VALID_S,
            httponly=True,
            samesite="strict",
            secure=shop.site.url.startswith("https:"),
        )
        return answer

    @app.get(home + "/services/{code}/qr.svg", include_in_schema=False)
    async def code_of(code: str) -> Response:
        if code not in shop.catalogue.services:
            return nowhere(shop.site, language, "/services")
        drawn = segno.make(scanned(shop, language, code), error="m")
        svg = drawn.svg_inline(border=2, dark="#000", light="#fff", omitsize=True)
        svg = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        return Response(svg, media_type="image/svg+xml")
