"""The notifier's settings."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from services.notifier.domain import parse_quiet
from shared.runtime.settings import SealedSettings

_SCHEMES = {"sms": ("smpp", "http", "https"), "mail": ("smtp", "smtps")}


class ProviderSettings(BaseModel):
    """Who carries messages: smpp://ACCOUNT:PASSWORD@HOST:PORT, https://:TOKEN@HOST/PATH (a gateway,
    docs/gateway.md), smtp://HOST:PORT or smtps://USER:PASSWORD@HOST:PORT.

    `weight` is its share of the messages, `rate_per_s` how many parts it takes (of all
    dispatchers), `price_twd` what a part costs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
    url: SecretStr
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    rate_per_s: Annotated[float | None, Field(gt=0, le=100_000)] = None
    price_twd: Annotated[Decimal | None, Field(ge=0, le=1000)] = None

    @field_validator("url")
    @classmethod
    def _can_be_reached(cls, value: SecretStr) -> SecretStr:
        # Never with the address itself: a password stands in it.
        try:
            url = urlsplit(value.get_secret_value())
            host, _ = url.hostname, url.port
        except ValueError:
            raise ValueError("the url cannot be read: is its port a number?") from None
        if not host:
            raise ValueError("the url names no host")
        if url.scheme.startswith("http") and not url.password:
            raise ValueError(
                "a gateway needs a token, https://:TOKEN@HOST: receipts are signed by it"
            )
        if url.scheme == "smpp" and not 0 < len(unquote(url.password or "")) <= 8:
            raise ValueError(
                "smpp://ACCOUNT:PASSWORD@HOST needs a password of 8 characters at most"
            )
        return value


Providers = Annotated[tuple[ProviderSettings, ...], Field(min_length=1, max_length=8)]


def _quiet(text: str) -> str:
    if text == "city":
        raise ValueError('say which: "none", or two full hours such as "21-8"')
    parse_quiet(text)
    return text


class NotifierSettings(SealedSettings):
    """`track_url` is what messages name, `public_url` where this service's pages are for citizens.

    `collapse_s`: how long a notice waits for a newer one that says it too. Bounces come by SMTP
    to `bounce_port` for the domain `bounce_domain`; without one, mails have no bounce address.
    `receipts_url` is where gateways bring receipts.
    """

    sms_providers: Providers
    mail_providers: Providers
    mail_from: str = "noreply@casebus.example"
    sms_from: str = "1999"
    track_url: str = "http://127.0.0.1:8081"
    public_url: str = "http://127.0.0.1:8084"
    receipts_url: str = ""
    quiet_hours: Annotated[str, AfterValidator(_quiet)] = "21-8"
    collapse_s: Annotated[float, Field(ge=0, le=600)] = 3.0
    bounce_domain: str = ""
    bounce_host: str = "127.0.0.1"
    bounce_port: Annotated[int, Field(ge=0, le=65535)] = 0
    dkim_selector: str = ""
    dkim_key_file: Path | None = None
    forget_after_days: Annotated[int, Field(ge=1, le=3660)] = 30
    sms_at_once: Annotated[int, Field(ge=1, le=1000)] = 128
    mail_at_once: Annotated[int, Field(ge=1, le=1000)] = 32

    @model_validator(mode="after")
    def _key_has_a_name(self) -> Self:
        if (self.dkim_key_file is None) != (not self.dkim_selector):
            raise ValueError("give both, CASEBUS_DKIM_KEY_FILE and CASEBUS_DKIM_SELECTOR, or none")
        return self

    @field_validator("sms_providers", "mail_providers")
    @classmethod
    def _fit(cls, value: Providers, info: object) -> Providers:
        channel = str(getattr(info, "field_name", "")).removesuffix("_providers")
        names = [one.name for one in value]
        if len(set(names)) < len(names):
            raise ValueError("two providers have one name")
        for one in value:
            scheme = one.url.get_secret_value().partition("://")[0]
            if scheme not in _SCHEMES[channel]:
                raise ValueError(
                    f"{one.name}: its url begins with none of "
                    + ", ".join(f"{name}://" for name in _SCHEMES[channel])
                )
        return value
