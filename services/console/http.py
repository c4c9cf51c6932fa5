"""The operators' page and its JSON: what is stuck, where, and where everything is."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from catalogue import Catalogue
from services.console import store
from services.console.settings import ConsoleSettings
from services.console.texts import TEXTS
from shared.runtime.postgres import Pool

_PAGES = Path(__file__).parent / "pages"
# Below these a lag is the ordinary movement of things, and nobody is bothered with it.
_WARN_RECORDS = 10
_WARN_SECONDS = 30.0


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

    @app.get("/", response_class=HTMLResponse)
    async def home(
        lang: Annotated[str, Query(pattern="^(zh-TW|en)$")] = "zh-TW",
    ) -> HTMLResponse:
        page = pages.get_template("home.html.jinja")
        return HTMLResponse(
            page.render(
                lang=lang,
                t=TEXTS[lang],
                links=settings.links,
                agencies=catalogue.agencies,
                **await collect(),
            )
        )

    @app.get("/api/lag")
    async def lag() -> dict[str, Any]:
        found = await collect()
        return {name: found[name] for name in ("sampled_at", "groups", "relays", "parked")}

    @app.get("/style.css")
    async def style() -> Response:
        return Response((_PAGES / "style.css").read_text(), media_type="text/css")
