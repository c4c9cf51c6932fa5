"""Find a service: by words, by what has happened, by whom it is for, by agency."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from catalogue import Catalogue, Service
from catalogue.forms import Form
from catalogue.generated import counts
from services.intake.portal import views
from services.intake.portal.search import Index
from services.intake.portal.site import Site, preferred
from services.intake.texts import Language, languages
from shared.runtime import metrics
from shared.runtime.web import ProblemError, problems

_ON_A_PAGE = 20


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody looks for; empty parts do not count."""

    q: str = ""
    event: str = ""
    audience: str = ""
    agency: str = ""
    online: str = ""

    def query(self, **changes: object) -> str:
        said = {name: getattr(self, name) for name in self.__slots__} | changes
        return urlencode({name: value for name, value in said.items() if value})


class Finder:
    """The catalogue, as citizens look through it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._index = Index(catalogue)
        self._all = [code for code, one in catalogue.services.items() if one.open]
        self.counts = counts(catalogue.services.values())
        having = {catalogue.services[code].agency for code in self._all}
        self._having = [one for code, one in catalogue.agencies.items() if code in having]

    def find(self, wish: Wish) -> list[Service]:
        """The services that fit all parts of the wish, the best first."""
        if wish.q.strip():
            codes = [hit.code for hit in self._index.search(wish.q)]
            metrics.SEARCHES.labels("found" if codes else "nothing").inc()
        else:
            codes = self._all
        return [one for code in codes if self._fits(one := self.catalogue.services[code], wish)]

    def _fits(self, service: Service, wish: Wish) -> bool:
        listing = self.catalogue.listings[service.code]
        return (
            (not wish.event or wish.event in listing.life_events)
            and (not wish.audience or wish.audience in listing.audiences)
            and (not wish.agency or wish.agency == service.agency)
            and (not wish.online or views.is_online(service))
        )

    def topics(self, kind: str, language: Language) -> list[tuple[str, str]]:
        """(code, name) of the topics of a kind."""
        return [
            (one.code, language.pick(one.zh, one.en))
            for one in self.catalogue.topics.values()
            if one.kind == kind
        ]

    def agencies(self, language: Language) -> list[tuple[str, str]]:
        """(code, name) of the agencies that have a service."""
        return [(one.code, language.pick(one.zh, one.en)) for one in self._having]


def add_routes(app: FastAPI, site: Site, catalogue: Catalogue, forms: Mapping[str, Form]) -> None:
    finder = Finder(catalogue)
    for language in languages().values():
        _add_pages(app, site, finder, forms, language)

    @app.get("/", include_in_schema=False)
    async def entrance(request: Request) -> Response:
        language = preferred(request, languages())
        headers = {"Vary": "Accept-Language"}
        return RedirectResponse(f"/{language.tag}/", 302, headers=headers)

    @app.get("/api/services/{code}/form", responses=problems(404))
    async def form(code: str) -> dict[str, Any]:
        """The form of a service as data: JSON Schema, layout, version."""
        found = forms.get(code)
        if found is None:
            raise ProblemError(404, "service-not-found", "there is no such service / 查無此服務")
        return {
            "service": code,
            "version": found.version,
            "schema": found.schema,
            "layout": found.layout,
        }

    @app.get("/robots.txt", include_in_schema=False)
    async def robots() -> Response:
        rules = [
            f"Disallow: /{tag}/{part}"
            for tag in languages()
            for part in ("apply", "case", "confirm", "counter")
        ]
        lines = [
            "User-agent: *",
            *rules,
            "Disallow: /api/",
            "Disallow: /documents/",
            f"Sitemap: {site.url}/sitemap.xml",
        ]
        return Response("\n".join(lines) + "\n", media_type="text/plain")

    @app.get("/sitemap.xml", include_in_schema=False)
    async def sitemap() -> Response:
        """Every page of the catalogue that is no invention, in both languages."""
        paths = ["/", "/services"] + [
            f"/services/{code}"
            for code, one in catalogue.services.items()
            if one.open and one.evidence != "generated"
        ]
        return Response(_sitemap(site.url, paths), media_type="application/xml")


def _add_pages(
    app: FastAPI, site: Site, finder: Finder, forms: Mapping[str, Form], language: Language
) -> None:
    catalogue, home = finder.catalogue, f"/{language.tag}"

    @app.get(home, include_in_schema=False)
    async def without_slash() -> Response:
        return RedirectResponse(f"{home}/", 308)

    @app.get(f"{home}/", include_in_schema=False)
    async def start() -> Response:
        return site.page(
            "home.jinja",
            language,
            "/",
            public=True,
            counts=finder.counts,
            events=finder.topics("life_event", language),
            audiences=finder.topics("audience", language),
        )

    @app.get(f"{home}/services", include_in_schema=False)
    async def services(
        q: str = "",
        event: str = "",
        audience: str = "",
        agency: str = "",
        online: str = "",
        page: str = "1",
    ) -> Response:
        wish = Wish(q[:200], event, audience, agency, online)
        found = finder.find(wish)
        pages = max(1, -(-len(found) // _ON_A_PAGE))
        at = min(
            max(1, int(page) if page.isascii() and page.isdigit() and len(page) < 6 else 1), pages
        )
        shown = found[(at - 1) * _ON_A_PAGE : at * _ON_A_PAGE]
        return site.page(
            "services.jinja",
            language,
            f"/services?{wish.query()}",
            public=True,
            wish=wish,
            lines=[views.line(one, catalogue, language) for one in shown],
            total=len(found),
            at=at,
            pages=pages,
            events=finder.topics("life_event", language),
            audiences=finder.topics("audience", language),
            agencies=finder.agencies(language),
        )

    @app.get(home + "/services/{code}", include_in_schema=False)
    async def service(code: str) -> Response:
        one = catalogue.services.get(code)
        if one is None:
            return nowhere(site, language, f"/services/{code}")
        shown = views.whole(one, forms[code], catalogue, language)
        path = f"/services/{code}"
        city = language.text("Taipei City Government")
        return site.page(
            "service.jinja",
            language,
            path,
            public=True,
            shown=shown,
            evidence=views.EVIDENCE,
            stages=views.STAGES,
            structured=views.structured(shown, language, f"{site.url}{home}{path}", city),
        )


def add_nowhere(app: FastAPI, site: Site) -> None:
    """For every address below a language that is none. Added last."""
    for language in languages().values():
        _add_nowhere(app, site, language)


def _add_nowhere(app: FastAPI, site: Site, language: Language) -> None:
    @app.get(f"/{language.tag}/{{rest:path}}", include_in_schema=False)
    async def unknown(rest: str) -> Response:
        return nowhere(site, language, "/")


def nowhere(site: Site, language: Language, path: str) -> Response:
    """The page for an address that leads nowhere: with a way to look for what was meant."""
    return site.page("nowhere.jinja", language, path, 404)


def _sitemap(url: str, paths: list[str]) -> str:
    tags = list(languages())
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" '
        'xmlns:xhtml="http://www.w3.org/1999/xhtml">',
    ]
    for path in paths:
        others = "".join(
            f'<xhtml:link rel="alternate" hreflang="{tag}" href="{escape(f"{url}/{tag}{path}")}"/>'
            for tag in tags
        )
        lines += [f"<url><loc>{escape(f'{url}/{tag}{path}')}</loc>{others}</url>" for tag in tags]
    return "\n".join([*lines, "</urlset>"])
