"""The wiring of the router."""

from collections.abc import Awaitable, Callable, Mapping

from services.router import worker
from services.router.settings import RouterSettings
from shared.runtime.process import run_parts
from shared.runtime.settings import load
from shared.runtime.web import new_app, serve

PARTS = ("worker",)


async def run(only: tuple[str, ...] = PARTS) -> None:
    settings = load(RouterSettings)
    releases = worker.Releases(settings)
    engine = worker.engine(settings, releases)

    async def check() -> dict[str, bool]:
        return {
            "rules": releases.any_live,
            "partitions": engine.partitions > 0,
            "positions": not engine.lost,
        }

    parts: Mapping[str, Callable[[], Awaitable[None]]] = {
        "releases": releases.follow,
        "engine": lambda: engine.run(releases.ready),
        "health": lambda: serve(new_app("casebus router", check), settings.host, settings.port),
    }
    await run_parts({name: part() for name, part in parts.items()})
