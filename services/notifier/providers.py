"""Who carries messages, made from the settings; and the secrets that derive from the master key."""

import sys
from base64 import b64decode
from decimal import Decimal
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from services.notifier.channels import (
    BounceAddress,
    GatewayProvider,
    OnReceipt,
    OnReply,
    Provider,
    Signer,
    SmppProvider,
    SmtpProvider,
)
from services.notifier.routes import Route
from services.notifier.settings import NotifierSettings, ProviderSettings


def route_of(
    settings: NotifierSettings, one: ProviderSettings, on_receipt: OnReceipt, on_reply: OnReply
) -> Route:
    """A provider as the settings name it."""
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
        bounces=bounces_of(settings),
        signer=_signer(settings),
    )


def bounces_of(settings: NotifierSettings) -> BounceAddress | None:
    """Where mail comes back to, when it does."""
    if not settings.bounce_domain:
        return None
    return BounceAddress(settings.bounce_domain, secret_of(settings.master_key, "bounces"))


def _signer(settings: NotifierSettings) -> Signer | None:
    if settings.dkim_key_file is None:
        return None
    domain = settings.mail_from.rpartition("@")[2]
    try:
        key = settings.dkim_key_file.read_bytes()
        return Signer(domain, settings.dkim_selector, key)
    except (OSError, ValueError) as error:
        print(f"casebus: CASEBUS_DKIM_KEY_FILE: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def gateway_tokens(settings: NotifierSettings) -> dict[str, bytes]:
    """By provider, what its receipts are signed with."""
    return {
        one.name: unquote(urlsplit(one.url.get_secret_value()).password or "").encode()
        for one in settings.sms_providers
        if one.url.get_secret_value().startswith("http")
    }


def price_of(settings: NotifierSettings) -> Decimal | None:
    """What a part costs at most; None when no provider says."""
    prices = [one.price_twd for one in settings.sms_providers if one.price_twd is not None]
    return max(prices, default=None)


def secret_of(master_key: SecretStr, purpose: str) -> bytes:
    """A secret of its own for each purpose, from the city's master key (RFC 5869)."""
    derive = HKDF(SHA256(), 32, salt=None, info=f"casebus notifier {purpose}".encode())
    return derive.derive(b64decode(master_key.get_secret_value()))
