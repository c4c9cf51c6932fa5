"""The settings of the counterparts. They know no broker: they stand for what is outside."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]


class CounterpartSettings(BaseSettings):
    """`port` is the page's; `data_dir` keeps what arrived."""

    model_config = SettingsConfigDict(env_prefix="CASEBUS_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: Port
    data_dir: Path
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class MailboxSettings(CounterpartSettings):
    """`bounces` is where reports of what became of a mail go, host:port; empty: nowhere."""

    smtp_port: Port
    bounces: str = ""


class PhoneSettings(CounterpartSettings):
    """`smpp_password` has 8 letters at most, as SMPP 3.4 demands. `gateway_token` opens the HTTP
    gateway, and signs its receipts; empty: there is none."""

    smpp_port: Port
    smpp_system_id: Annotated[str, Field(min_length=1, max_length=15)] = "casebus"
    smpp_password: Annotated[SecretStr, Field(min_length=1, max_length=8)]
    gateway_token: SecretStr = SecretStr("")
