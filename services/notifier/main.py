"""The wiring of the notifier: its ledger, its dispatcher, its pages, its bounces and its relay."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from catalogue import load_catalogue
from services.notifier import http, worker
from services.notifier.batching import Batcher
from services.notifier.channels import BounceServer, Receipt, Reply
from services.notifier.consents import Consents
from services.notifier.dispatcher import Dispatcher
from services.notifier.domain import parse_quiet
from services.notifier.handlers import Sender
from services.notifier.links import Links
from services.notifier.messages import Messages
from services.notifier.providers import (
    bounces_of,
    gateway_tokens,
    price_of,
    route_of,
    secret_of,
)
from services.notifier.routes import Routes
from services.notifier.settings import NotifierSettings
from services.notifier.store import SCHEMA, PostgresOutcomes, PostgresTokens
from shared.runtime.outbox import Bell
from shared.runtime.postgres import answers, open_pool
from shared.runtime.process import run_parts
from shared.runtime.relay import Relay
from shared.runtime.settings import load
from shared.runtime.vault import Vault
from shared.runtime.web import new_app, serve

PARTS = ("web", "worker", "dispatcher", "receipts", "relay")


async def run(only: tuple[str, ...] = PARTS) -> None:
    settings = load(NotifierSettings)
    catalogue = load_catalogue()
    pool = await open_pool(settings, "notifier")
    bell = Bell(pool, SCHEMA)
    relay = Relay(settings, pool, SCHEMA)
    vault = Vault(settings.master_key)
    links = Links(secret_of(settings.master_key, "links"), settings.public_url)
    consents = Consents(pool, vault, secret_of(settings.master_key, "addresses"))
    outcomes = PostgresOutcomes(pool)
    messages = Messages.load(catalogue=catalogue)

    async def check() -> dict[str, bool]:
        return {"postgres": await answers(pool)}

    app = new_app("casebus notifier", check)
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "http": lambda: serve(app, settings.host, settings.port),
        "bell": bell.run,
    }
    if "web" in only:
        city = parse_quiet(settings.quiet_hours)
        price = price_of(settings)
        http.add_routes(app, consents, links, messages, price, city, _now)
    if "worker" in only:
        parts["worker"] = lambda: worker.take(settings, pool, catalogue, bell.ring)
    if "receipts" in only:
        batcher: Batcher[Receipt] = Batcher("receipts", outcomes.receipts)

        async def keep(receipt: Receipt) -> None:
            await batcher.put(receipt)
            bell.ring()

        http.add_receipts(app, gateway_tokens(settings), keep)
        parts["receipts"] = batcher.run
        if (bounces := bounces_of(settings)) is not None:
            server = BounceServer(
                settings.bounce_host, settings.bounce_port, bounces, "bounces", keep
            )
            parts["bounces"] = server.run
    if "dispatcher" in only:

        async def on_receipt(receipt: Receipt) -> None:
            await dispatcher.on_receipt(receipt)

        async def on_reply(reply: Reply) -> None:
            await dispatcher.on_reply(reply)

        tokens = PostgresTokens(pool)
        sender = Sender(
            routes={
                channel: Routes(
                    [route_of(settings, one, on_receipt, on_reply) for one in providers],
                    at_once,
                    tokens.take,
                    asyncio.get_running_loop().time,
                    _now,
                    random.random,
                )
                for channel, providers, at_once in (
                    ("sms", settings.sms_providers, settings.sms_at_once),
                    ("mail", settings.mail_providers, settings.mail_at_once),
                )
            },
            messages=messages,
            links=links,
            track_url=settings.track_url,
            quiet=parse_quiet(settings.quiet_hours),
            now=_now,
            random=random.random,
        )
        # A ledger from an older copy does not know what was sent since: it would be sent again.
        dispatcher = Dispatcher(
            settings.forget_after_days,
            pool,
            vault,
            sender,
            outcomes,
            consents,
            bell.ring,
            relay.until_it_fits,
        )
        parts["dispatcher"] = dispatcher.run
    if "relay" in only:
        parts["relay"] = relay.run
    await run_parts({name: part() for name, part in parts.items()})


def _now() -> datetime:
    return datetime.now(UTC)
