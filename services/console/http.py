"""The operators' pages and JSON: what is stuck, where everything is, and the releases of rules."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import AfterValidator

from catalogue import Catalogue
from services.console import shadow, store
from services.console.domain import in_force
from services.console.history import measured, picture
from services.console.notices import notices, silence
from services.console.releases import all_releases
from services.console.settings import ConsoleSettings
from services.console.states import STATES
from services.console.stuck import oldest_transaction, stuck
from services.console.texts import TEXTS
from shared.runtime.postgres import Pool

_PAGES = Path(__file__).parent / "pages"
_CITY = ZoneInfo("Asia/Taipei")
# What a page shows of a list; the command line shows all of it.
_MOST = 100
# After this a measurement says nothing of now.
_FRESH_S = 30.0


def _language(wanted: str) -> str:
    """One that there are pages in: what else a browser asks for gets the city's own."""
    return wanted if wanted in TEXTS else "en" if wanted.startswith("en") else "zh-TW"


def _most_urgent(partition: dict[str, Any]) -> tuple[int, float, int]:
    """Sorts the worst and the oldest first; an age that is not known counts as old."""
    seconds = partition["seconds"]
    age = float("inf") if seconds is None else seconds
    return -STATES.index(partition["state"]), -age, -partition["records"]


Lang = Annotated[str, AfterValidator(_language)]


def add_routes(app: FastAPI, settings: ConsoleSettings, catalogue: Catalogue, pool: Pool) -> None:
    pages = Environment(loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined)

    async def collect() -> dict[str, Any]:
        seen = picture(await measured(pool))
        groups = []
        for total in seen.totals:
            behind = [
                one
                for one in seen.groups
                if one["group"] == total["group"] and (one["records"] or one["state"] != "OK")
            ]
            groups.append(total | {"partitions": sorted(behind, key=_most_urgent)})
        late = any(relay["state"] != "OK" for relay in seen.relays)
        return {
            "sampled_at": seen.sampled_at,
            "groups": sorted(groups, key=lambda one: str(one["group"])),
            "relays": seen.relays,
            "transaction": await oldest_transaction(pool) if late else None,
            **await stuck(pool),
        }

    async def released() -> dict[str, Any]:
        releases = await all_releases(pool)
        return {
            "releases": releases,
            "in_force": in_force(releases, datetime.now(_CITY).date()),
        }

    @app.get("/", response_class=HTMLResponse)
    async def home(lang: Lang = "zh-TW") -> HTMLResponse:
        page = pages.get_template("home.html.jinja")
        return HTMLResponse(
            page.render(
                lang=lang,
                t=TEXTS[lang],
                links=settings.links,
                agencies=catalogue.agencies,
                now=datetime.now(UTC),
                fresh_s=max(_FRESH_S, 3 * settings.sample_every_s),
                city=_CITY,
                **await collect(),
                **await store.overview(pool),
                silence=await silence(pool),
                **await released(),
            )
        )

    @app.get("/rules", response_class=HTMLResponse)
    async def rules(lang: Lang = "zh-TW") -> HTMLResponse:
        found = await released()
        page = pages.get_template("rules.html.jinja")
        return HTMLResponse(
            page.render(
                lang=lang,
                t=TEXTS[lang],
                city=_CITY,
                most=_MOST,
                agencies=catalogue.agencies,
                services=catalogue.services,
                trials=[
                    (release, await shadow.trial(pool, release.number))
                    for release in found["releases"]
                    if release.state == "shadow"
                ],
                **found,
            )
        )

    @app.get("/notices", response_class=HTMLResponse)
    async def heard(lang: Lang = "zh-TW") -> HTMLResponse:
        page = pages.get_template("notices.html.jinja")
        found = await notices(pool, _MOST)
        return HTMLResponse(page.render(lang=lang, t=TEXTS[lang], city=_CITY, **found))

    @app.get("/api/lag")
    async def lag() -> dict[str, Any]:
        return await collect()

    @app.get("/style.css")
    async def style() -> Response:
        return Response((_PAGES / "style.css").read_text(), media_type="text/css")
