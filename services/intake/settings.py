"""Intake's settings."""

from typing import Annotated

from pydantic import Field, SecretStr

from shared.runtime.settings import SealedSettings


class IntakeSettings(SealedSettings):
    """`citizen_secret` is what the passwords of cases are derived from."""

    citizen_secret: Annotated[SecretStr, Field(min_length=32)]
    body_limit_bytes: Annotated[int, Field(ge=1024, le=512 * 1024)] = 128 * 1024
