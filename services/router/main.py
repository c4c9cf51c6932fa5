"""The wiring of the router."""

from collections.abc import Awaitable, Callable, Mapping

from catalogue import load_catalogue
from services.router import worker
from services.router.rules import Names
from services.router.settings import RouterSettings
from shared.runtime.process import run_parts
from shared.runtime.settings import load
from shared.runtime.web import new_app, serve

PARTS = ("worker",)


def city_names() -> Names:
    """What the city's catalogue knows, for rules to be verified against."""
    city = load_catalogue()
    return Names(frozenset(city.services), frozenset(city.agencies), frozenset(city.districts))


async def run(only: tuple[str, ...] = PARTS) -> None:
    settings = load(RouterSettings)
    releases = worker.Releases(settings, city_names())
    engine = worker.engine(settings, releases)

    async def check() -> dict[str, bool]:
        return {"rules": releases.any_live, "partitions": engine.partitions > 0}

    parts: Mapping[str, Callable[[], Awaitable[None]]] = {
        "releases": releases.follow,
        "engine": lambda: engine.run(releases.ready),
        "health": lambda: serve(new_app("casebus router", check), settings.host, settings.port),
    }
    await run_parts({name: part() for name, part in parts.items()})
