"""The wiring of the back office: its API, its inbox and its relay."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from zoneinfo import ZoneInfo

from catalogue import load_catalogue
from catalogue.calendar import city_calendar
from services.backoffice import http, worker
from services.backoffice.domain import check_paths
from services.backoffice.settings import BackofficeSettings
from services.backoffice.store import SCHEMA
from shared.contract.events import LimitUnit
from shared.runtime.outbox import Bell
from shared.runtime.postgres import answers, open_pool
from shared.runtime.process import run_parts
from shared.runtime.relay import Relay
from shared.runtime.settings import load
from shared.runtime.vault import Vault
from shared.runtime.web import new_app, serve

PARTS = ("web", "worker", "relay")
_CITY = ZoneInfo("Asia/Taipei")


async def run(only: tuple[str, ...] = PARTS) -> None:
    settings = load(BackofficeSettings)
    catalogue = load_catalogue()
    calendar = city_calendar()
    check_paths(catalogue.transitions)
    pool = await open_pool(settings, "backoffice")
    bell = Bell(pool, SCHEMA)

    async def check() -> dict[str, bool]:
        return {"postgres": await answers(pool)}

    def due(received_at: datetime, limit: int | None, unit: LimitUnit | None) -> date:
        return calendar.due_on(received_at.astimezone(_CITY).date(), limit, unit)

    working_day = calendar.first_working_day_from
    app = new_app("casebus backoffice", check)
    if "web" in only:
        vault = Vault(settings.master_key)
        http.add_routes(app, settings, catalogue, pool, vault, working_day, bell.ring)
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "http": lambda: serve(app, settings.host, settings.port),
        "bell": bell.run,
    }
    if "worker" in only:
        parts["worker"] = lambda: worker.take(
            settings, pool, catalogue, due, working_day, bell.ring
        )
    if "relay" in only:
        parts["relay"] = Relay(settings, pool, SCHEMA).run
    await run_parts({name: part() for name, part in parts.items()})
