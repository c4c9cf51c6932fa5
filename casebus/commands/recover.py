"""`casebus recover`: where a position does not fit any more, go on without loss or repetition."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import asyncpg
import typer
from aiokafka.errors import KafkaError

from casebus.running import end, service_settings
from services.intake import recovery as intake
from services.notifier import recovery as notifier
from services.router import recovery as router
from shared.runtime.migrations import SERVICES
from shared.runtime.postgres import TRANSIENT, Pool, open_pool
from shared.runtime.recovery import MissingTopicError, recover_outbox
from shared.runtime.relay import FENCED
from shared.runtime.settings import Settings, StoreSettings

_ROUTER = "router"
_ENTER_AGAIN: dict[str, Callable[[Settings, Pool, Callable[[str], None]], Awaitable[object]]] = {
    "intake": intake.enter_again,
    "notifier": notifier.enter_again,
}


def recover(
    service: Annotated[str, typer.Argument(help=f"{', '.join(SERVICES)} or {_ROUTER}.")],
    everything: Annotated[
        bool,
        typer.Option(
            help="The router: look through all it ever routed; for a lost topic of an agency."
        ),
    ] = False,
) -> None:
    """Bring the position of a service into line with what Kafka has. It may run meanwhile.

    Runs with the service's own settings, on many machines in its own container.
    """
    if service not in (*SERVICES, _ROUTER):
        end(f"{service!r} has neither outbox nor position; one of {', '.join(SERVICES)}, {_ROUTER}")
    if everything and service != _ROUTER:
        end("--everything is for the router only; an outbox is always compared as a whole")
    try:
        if service == _ROUTER:
            asyncio.run(_recover_router(service_settings(_ROUTER), everything))
        else:
            asyncio.run(_recover_outbox(service_settings(service), service))
    except MissingTopicError as error:
        end(str(error))
    except FENCED:
        end(f"{service} started just then and took over; nothing was changed: run it again")
    except asyncpg.LockNotAvailableError:
        end(
            f"somebody has held the outbox of {service} for 20 s, nothing was changed: "
            "`casebus lag` shows the oldest transaction; then run it again"
        )
    except (KafkaError, asyncpg.PostgresError, *TRANSIENT) as error:
        end(f"a store does not answer as it should, nothing was changed: {error!r}")


async def _recover_outbox(settings: Settings, service: str) -> None:
    assert isinstance(settings, StoreSettings)
    pool = await open_pool(settings, f"recover-{service}")
    try:
        if enter_again := _ENTER_AGAIN.get(service):
            await enter_again(settings, pool, print)
        found = await recover_outbox(settings, pool, service, print)
    finally:
        await pool.close()
    print(
        f"{service}: {found.in_kafka} rows were in Kafka already, {found.to_send} are sent from "
        f"now on; {found.unknown} records there have no row any more"
    )


async def _recover_router(settings: Settings, everything: bool) -> None:
    found = await router.recover(settings, print, everything=everything)
    print(f"router: {found}")
