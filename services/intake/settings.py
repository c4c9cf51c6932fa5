"""Intake's settings."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from shared.runtime.settings import SealedSettings


class IntakeSettings(SealedSettings):
    """Passwords of cases derive from `citizen_secret`; the portal is reached at `portal_url`."""

    citizen_secret: Annotated[SecretStr, Field(min_length=32)]
    counter_secret: SecretStr = SecretStr("")
    portal_url: Annotated[str, Field(pattern=r"^https?://[^/]+[^?#]*$")] = "http://127.0.0.1:8081"
    draft_days: Annotated[int, Field(ge=1, le=366)] = 30
    duplicate_days: Annotated[int, Field(ge=0, le=3660)] = 30
    body_limit_bytes: Annotated[int, Field(ge=1024, le=512 * 1024)] = 128 * 1024

    @field_validator("counter_secret")
    @classmethod
    def _is_long_enough(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < 32:
            raise ValueError("must have 32 characters or more, or be empty: no counter then")
        return value
