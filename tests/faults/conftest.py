"""The city that these tests break: nobody else should see what is done to it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.city import City
from tests.faults.load import BROKERS


@pytest.fixture(scope="session")
def city() -> Iterator[City]:
    """One for all faults: each test counts what the earlier ones have done too.

    Not in pytest's folder: as root PostgreSQL runs as another user, and every later run of
    pytest closes that folder to others, while a server that was killed must come in again.
    """
    with tempfile.TemporaryDirectory(prefix="casebus-faults-") as folder:
        found = City.start(Path(folder) / "data", "--brokers", str(BROKERS))
        yield found
        found.stop()


@pytest.fixture(scope="session")
def poison() -> set[str]:
    """Where tests have written what cannot be handled: TOPIC:PARTITION:OFFSET."""
    return set()
