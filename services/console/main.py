"""The wiring of the console: its pages, its measurements and its relay."""

from collections.abc import Awaitable, Callable

from catalogue import load_catalogue
from services.console import http, letters, worker
from services.console.releases import SCHEMA
from services.console.settings import ConsoleSettings
from shared.runtime.outbox import Bell
from shared.runtime.postgres import answers, open_pool
from shared.runtime.process import run_parts
from shared.runtime.relay import Relay
from shared.runtime.settings import load
from shared.runtime.web import new_app, serve

PARTS = ("web", "worker", "relay")


async def run(only: tuple[str, ...] = PARTS) -> None:
    settings = load(ConsoleSettings)
    catalogue = load_catalogue()
    pool = await open_pool(settings, "console")
    bell = Bell(pool, SCHEMA)

    async def check() -> dict[str, bool]:
        return {"postgres": await answers(pool)}

    app = new_app("casebus console", check)
    if "web" in only:
        http.add_routes(app, settings, catalogue, pool)
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "http": lambda: serve(app, settings.host, settings.port),
        "bell": bell.run,
    }
    if "worker" in only:
        parts["letters"] = lambda: letters.run(settings, pool, bell.ring)
        parts["sampler"] = worker.Sampler(settings, pool, catalogue).run
        parts["counts"] = lambda: worker.count(settings, pool, bell.ring)
        parts["shadow"] = lambda: worker.count_shadow(settings, pool, bell.ring)
    if "relay" in only:
        parts["relay"] = Relay(settings, pool, SCHEMA).run
    await run_parts({name: part() for name, part in parts.items()})
