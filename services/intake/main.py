"""The wiring of intake: its API, its relay and its projection."""

from collections.abc import Awaitable, Callable

from catalogue import load_catalogue
from catalogue.facts import load_facts
from services.intake import http, worker
from services.intake.settings import IntakeSettings
from services.intake.store import SCHEMA, PostgresApplications
from shared.runtime.outbox import Bell
from shared.runtime.postgres import answers, open_pool
from shared.runtime.process import run_parts
from shared.runtime.relay import Relay
from shared.runtime.settings import load
from shared.runtime.vault import Vault
from shared.runtime.web import new_app, serve

PARTS = ("web", "relay", "worker")


async def run(only: tuple[str, ...] = PARTS) -> None:
    settings = load(IntakeSettings)
    pool = await open_pool(settings, "intake")
    bell = Bell(pool, SCHEMA)

    async def check() -> dict[str, bool]:
        return {"postgres": await answers(pool)}

    app = new_app("casebus intake", check)
    if "web" in only:
        load_facts()  # Kept from here: a broken table stops the start, not an application.
        http.add_routes(
            app,
            settings,
            load_catalogue(),
            PostgresApplications(pool),
            Vault(settings.master_key),
            bell.ring,
        )
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "http": lambda: serve(app, settings.host, settings.port),
        "bell": bell.run,
    }
    if "relay" in only:
        parts["relay"] = Relay(settings, pool, SCHEMA).run
    if "worker" in only:
        parts["worker"] = lambda: worker.follow(settings, pool, bell.ring)
    await run_parts({name: part() for name, part in parts.items()})
