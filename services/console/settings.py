"""The console's settings."""

from pydantic import Field

from shared.runtime.settings import StoreSettings


class ConsoleSettings(StoreSettings):
    """`links` are the addresses of everything, by name, for the first page."""

    links: dict[str, str] = Field(default_factory=dict)
    sample_every_s: float = 5.0
