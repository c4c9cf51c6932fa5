"""What every page of the portal shares: templates, languages, headers, the style."""

import hashlib
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from catalogue import Catalogue
from services.intake.texts import FOLDER, Language, languages
from shared.runtime.web import CSP

_FILES = {"style.css": "text/css", "portal.js": "text/javascript"}
_CSP = f"{CSP}; script-src 'self'; connect-src 'self'"
_MINUTES_5 = "public, max-age=300"
_DAY = "public, max-age=86400"


class Site:
    """`url` is where citizens reach the portal, without a slash at its end."""

    def __init__(self, url: str, catalogue: Catalogue) -> None:
        self.url = url.rstrip("/")
        self._pages = Environment(
            loader=FileSystemLoader(FOLDER / "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._files = {name: (FOLDER / "pages" / name).read_bytes() for name in _FILES}
        digest = hashlib.sha256(b"".join(self._files.values())).hexdigest()[:8]
        made_up = any(one.evidence == "generated" for one in catalogue.services.values())
        self._pages.globals |= {"version": digest, "languages": languages(), "made_up": made_up}

    def page(
        self,
        name: str,
        language: Language,
        path: str,
        status: int = 200,
        public: bool = False,
        **values: Any,
    ) -> HTMLResponse:
        """A page; `path` is its address without the language. `public`: nobody's own."""
        text = self._pages.get_template(name).render(
            language=language, _=language.text, path=path, public=public, **values
        )
        headers = {"Content-Security-Policy": _CSP, "Content-Language": language.tag}
        if public and status == 200:
            headers["Cache-Control"] = _MINUTES_5
        return HTMLResponse(text, status, headers)

    def add_files(self, app: FastAPI) -> None:
        for name, media_type in _FILES.items():
            self._add_file(app, name, media_type)

    def _add_file(self, app: FastAPI, name: str, media_type: str) -> None:
        @app.get(f"/{name}", include_in_schema=False)
        async def file() -> Response:
            headers = {"Cache-Control": _DAY}
            return Response(self._files[name], media_type=media_type, headers=headers)


def preferred(request: Request, known: Mapping[str, Language]) -> Language:
    """The language that a browser asks for first; the city's own when it asks for neither."""
    best, weight = next(iter(known.values())), 0.0
    for part in request.headers.get("accept-language", "").split(","):
        tag, _, quality = part.strip().partition(";q=")
        try:
            wish = float(quality) if quality else 1.0
        except ValueError:
            continue
        for one in known.values():
            if tag[:2].lower() == one.tag[:2] and wish > weight:
                best, weight = one, wish
    return best
