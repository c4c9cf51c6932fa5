"""The settings of the counterparts. They know no broker: they stand for what is outside."""

import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]
S = TypeVar("S", bound="CounterpartSettings")


class CounterpartSettings(BaseSettings):
    """`port` is the page's; `data_dir` keeps what arrived."""

    model_config = SettingsConfigDict(env_prefix="CASEBUS_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: Port
    data_dir: Path
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class MailboxSettings(CounterpartSettings):
    smtp_port: Port


class PhoneSettings(CounterpartSettings):
    """`smpp_password` has 8 letters at most, as SMPP 3.4 demands."""

    smpp_port: Port
    smpp_system_id: Annotated[str, Field(min_length=1, max_length=15)] = "casebus"
    smpp_password: Annotated[SecretStr, Field(min_length=1, max_length=8)]


def load(model: type[S]) -> S:
    """The settings of this process. Ends it with one clear message when some are missing."""
    try:
        return model()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = "CASEBUS_" + "_".join(str(part) for part in problem["loc"]).upper()
            print(f"casebus: {name}: {problem['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
