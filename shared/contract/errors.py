"""The two kinds of failure, and nothing else.

A handler raises `TransientError` when trying again may help (a database that is down) and
`PermanentError` when it cannot (an event that breaks the contract). The consume loop retries
the first in place and parks the second; see docs/flow.md.
"""


class TransientError(Exception):
    """Something is down; the same event is tried again, in place, with backoff."""


class PermanentError(Exception):
    """This event can never be handled as it is; it goes to the dead-letter topic.

    `code` is a stable, dotted name (`event.not_json`) that dashboards and operators group by.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: Exception) -> str:
    """The code under which a record is set aside that failed with `error`."""
    return error.code if isinstance(error, PermanentError) else "handler.failed"
