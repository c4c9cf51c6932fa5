"""The operators' pages and JSON: what is stuck, where everything is, and the releases of rules."""

from datetime import datetime
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
from services.console.releases import all_releases
from services.console.settings import ConsoleSettings
from services.console.texts import TEXTS
from shared.runtime.postgres import Pool

_PAGES = Path(__file__).parent / "pages"
_CITY = ZoneInfo("Asia/Taipei")
# What a page shows of a list; the command line shows all of it.
_MOST = 100
# Below these a lag is the ordinary movement of things, and nobody is bothered with it.
_WARN_RECORDS = 10
_WARN_SECONDS = 30.0


def _language(wanted: str) -> str:
    """One that there are pages in: what else a browser asks for gets the city's own."""
    return wanted if wanted in TEXTS else "en" if wanted.startswith("en") else "zh-TW"


Lang = Annotated[str, AfterValidator(_language)]


def add_routes(app: FastAPI, settings: ConsoleSettings, catalogue: Catalogue, pool: Pool) -> None:
    pages = Environment(loader=FileSystemLoader(_PAGES), autoescape=True, undefined=StrictUndefined)

    async def collect() -> dict[str, Any]:
        samples = await store.latest_samples(pool)
        groups: dict[str, dict[str, Any]] = {}
        for sample in samples:
            one = groups.setdefault(
                sample["group_id"],
                {"group": sample["group_id"], "records": 0, "seconds": 0.0, "partitions": []},
            )
            one["records"] += sample["records"]
            one["seconds"] = max(one["seconds"], sample["seconds"])
            if sample["records"]:
                one["partitions"].append(sample)
        for one in groups.values():
            late = one["records"] >= _WARN_RECORDS and one["seconds"] >= _WARN_SECONDS
            one["state"] = "lagging" if late else "ok"
        return {
            "sampled_at": samples[0]["sampled_at"] if samples else None,
            "groups": sorted(groups.values(), key=lambda one: one["group"]),
            "relays": await store.latest_relay_samples(pool),
            **await store.overview(pool),
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
                **await collect(),
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

    @app.get("/api/lag")
    async def lag() -> dict[str, Any]:
        found = await collect()
        return {name: found[name] for name in ("sampled_at", "groups", "relays", "parked")}

    @app.get("/style.css")
    async def style() -> Response:
        return Response((_PAGES / "style.css").read_text(), media_type="text/css")
