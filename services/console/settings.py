"""The console's settings."""

from shared.runtime.settings import StoreSettings


class ConsoleSettings(StoreSettings):
    """`links` are the addresses of everything, by name, for the first page."""

    links: dict[str, str] = {}
    sample_every_s: float = 5.0
