"""Settings from the environment (CASEBUS_...), read once in main; secrets have no default."""

import sys
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

S = TypeVar("S", bound=BaseSettings)


class Settings(BaseSettings):
    """What every process needs: a broker, and a port for its pages or at least its health."""

    model_config = SettingsConfigDict(env_prefix="CASEBUS_", frozen=True, extra="ignore")

    kafka: str
    kafka_security: Literal["PLAINTEXT", "SASL_PLAINTEXT", "SASL_SSL"] = "SASL_SSL"
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_ca_file: str | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class StoreSettings(Settings):
    """A service that owns a schema in PostgreSQL. `postgres` is the URI of its own role."""

    postgres: SecretStr
    pool_max: Annotated[int, Field(ge=6, le=100)] = 10
    outbox_keep_days: Annotated[int, Field(ge=1, le=3660)] = 30


class SealedSettings(StoreSettings):
    """A service that may open or create sealed data."""

    master_key: SecretStr

    @field_validator("master_key")
    @classmethod
    def _is_32_bytes(cls, value: SecretStr) -> SecretStr:
        from base64 import b64decode

        try:
            raw = b64decode(value.get_secret_value(), validate=True)
        except ValueError:
            raw = b""
        if len(raw) != 32:
            raise ValueError("must be 32 random bytes in base64 (openssl rand -base64 32)")
        return value


def load(model: type[S]) -> S:
    """The settings of this process. Ends it with one clear message when some are missing."""
    try:
        return model()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = "CASEBUS_" + "_".join(str(part) for part in problem["loc"]).upper()
            print(f"casebus: {name}: {problem['msg']}", file=sys.stderr)
        print(
            "casebus: set these in the environment (docs/operations.md lists them), "
            "or start everything on this machine with `casebus up`",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except SettingsError as error:
        print(f"casebus: {error}", file=sys.stderr)
        raise SystemExit(2) from None
