"""The router's settings: a broker and a port for its health. It has no database."""

from shared.runtime.settings import Settings


class RouterSettings(Settings):
    pass
