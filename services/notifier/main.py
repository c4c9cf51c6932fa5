"""The wiring of the notifier: its ledger, its dispatcher with the channels, and its relay."""

from collections.abc import Awaitable, Callable

from catalogue import load_catalogue
from services.notifier import worker
from services.notifier.channels import Receipt, SmppChannel, SmtpChannel
from services.notifier.messages import Messages
from services.notifier.settings import NotifierSettings
from services.notifier.store import SCHEMA
from shared.runtime.outbox import Bell
from shared.runtime.postgres import answers, open_pool
from shared.runtime.process import run_parts
from shared.runtime.relay import Relay
from shared.runtime.settings import load
from shared.runtime.vault import Vault
from shared.runtime.web import new_app, serve

PARTS = ("worker", "dispatcher", "relay")


async def run(only: tuple[str, ...] = PARTS) -> None:
    settings = load(NotifierSettings)
    pool = await open_pool(settings, "notifier")
    bell = Bell(pool, SCHEMA)
    relay = Relay(settings, pool, SCHEMA)

    async def check() -> dict[str, bool]:
        return {"postgres": await answers(pool)}

    app = new_app("casebus notifier", check)
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "http": lambda: serve(app, settings.host, settings.port),
        "bell": bell.run,
    }
    if "worker" in only:
        parts["worker"] = lambda: worker.take(settings, pool, load_catalogue(), bell.ring)
    if "dispatcher" in only:

        async def on_receipt(receipt: Receipt) -> None:
            await dispatcher.on_receipt(receipt)

        sms_host, sms_port = _address(settings.smpp)
        mail_host, mail_port = _address(settings.smtp)
        sms = SmppChannel(
            sms_host,
            sms_port,
            settings.smpp_system_id,
            settings.smpp_password.get_secret_value(),
            settings.sms_from,
            on_receipt,
        )
        mail = SmtpChannel(mail_host, mail_port, settings.mail_from)
        channels = {"sms": sms, "mail": mail}
        vault = Vault(settings.master_key)
        # A ledger from an older copy does not know what was sent since: it would be sent again.
        dispatcher = worker.Dispatcher(
            settings, pool, vault, channels, Messages.load(), bell.ring, relay.until_it_fits
        )
        parts["dispatcher"] = dispatcher.run
    if "relay" in only:
        parts["relay"] = relay.run
    await run_parts({name: part() for name, part in parts.items()})


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)
