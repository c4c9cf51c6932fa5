"""The back office's settings."""

from typing import Annotated

from pydantic import Field, SecretStr

from shared.runtime.settings import SealedSettings


class BackofficeSettings(SealedSettings):
    """`clerk_secret` signs the tokens of clerks."""

    clerk_secret: Annotated[SecretStr, Field(min_length=32)]
