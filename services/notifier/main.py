"""The wiring of the notifier: its ledger, its dispatcher, its pages, its bounces and its relay."""

import asyncio
import random
from base64 import b64decode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from catalogue import load_catalogue
from services.notifier import http, worker
from services.notifier.batching import Batcher
from services.notifier.channels import (
    BounceAddress,
    BounceServer,
    GatewayProvider,
    OnReceipt,
    OnReply,
    Provider,
    Receipt,
    Reply,
    Signer,
    SmppProvider,
    SmtpProvider,
)
from services.notifier.consents import Consents
from services.notifier.dispatcher import Dispatcher
from services.notifier.domain import parse_quiet
from services.notifier.handlers import Sender
from services.notifier.links import Links
from services.notifier.messages import Messages
from services.notifier.routes import Route, Routes
from services.notifier.settings import NotifierSettings, ProviderSettings
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
    links = Links(_secret(settings, "links"), settings.public_url)
    consents = Consents(pool, vault, _secret(settings, "addresses"))
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
        http.add_routes(app, consents, links, messages, _price(settings), city, _now)
    if "worker" in only:
        parts["worker"] = lambda: worker.take(settings, pool, catalogue, bell.ring)
    if "receipts" in only:
        batcher: Batcher[Receipt] = Batcher("receipts", outcomes.receipts)

        async def keep(receipt: Receipt) -> None:
            await batcher.put(receipt)
            bell.ring()

        http.add_receipts(app, _gateway_secrets(settings), keep)
        parts["receipts"] = batcher.run
        if (bounces := _bounces(settings)) is not None:
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
                    [_route(settings, one, on_receipt, on_reply) for one in providers],
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


def _route(
    settings: NotifierSettings, one: ProviderSettings, on_receipt: OnReceipt, on_reply: OnReply
) -> Route:
    return Route(_provider(settings, one, on_receipt, on_reply), one.weight, one.rate_per_s)


def _provider(
    settings: NotifierSettings, one: ProviderSettings, on_receipt: OnReceipt, on_reply: OnReply
) -> Provider:
    url = urlsplit(one.url.get_secret_value())
    host, user = url.hostname or "", unquote(url.username or "")
    password = unquote(url.password or "")
    match url.scheme:
        case "smpp":
            return SmppProvider(
                one.name,
                host,
                url.port or 2775,
                user,
                password,
                settings.sms_from,
                on_receipt,
                on_reply,
                window=settings.sms_at_once,
            )
        case "http" | "https":
            address = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
            receipts = settings.receipts_url and f"{settings.receipts_url}/{one.name}"
            return GatewayProvider(
                one.name, address, password, settings.sms_from, receipts_url=receipts
            )
    return SmtpProvider(
        one.name,
        host,
        url.port or (465 if url.scheme == "smtps" else 25),
        settings.mail_from,
        user=user,
        password=password,
        tls="tls" if url.scheme == "smtps" else "starttls-if-offered",
        bounces=_bounces(settings),
        signer=_signer(settings),
    )


def _bounces(settings: NotifierSettings) -> BounceAddress | None:
    if not settings.bounce_domain:
        return None
    return BounceAddress(settings.bounce_domain, _secret(settings, "bounces"))


def _signer(settings: NotifierSettings) -> Signer | None:
    if settings.dkim_key_file is None:
        return None
    domain = settings.mail_from.rpartition("@")[2]
    return Signer(domain, settings.dkim_selector, settings.dkim_key_file.read_bytes())


def _gateway_secrets(settings: NotifierSettings) -> dict[str, bytes]:
    """By provider, what its receipts are signed with."""
    return {
        one.name: unquote(urlsplit(one.url.get_secret_value()).password or "").encode()
        for one in settings.sms_providers
        if one.url.get_secret_value().startswith("http")
    }


def _price(settings: NotifierSettings) -> Decimal | None:
    """What a part costs at most; None when no provider says."""
    prices = [one.price_twd for one in settings.sms_providers if one.price_twd is not None]
    return max(prices, default=None)


def _secret(settings: NotifierSettings, purpose: str) -> bytes:
    """A secret of its own for each purpose, from the city's master key (RFC 5869)."""
    derive = HKDF(SHA256(), 32, salt=None, info=f"casebus notifier {purpose}".encode())
    return derive.derive(b64decode(settings.master_key.get_secret_value()))


def _now() -> datetime:
    return datetime.now(UTC)
