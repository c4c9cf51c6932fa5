"""What all suites share: one city for those that only add cases to it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.city import City


@pytest.fixture(scope="session")
def city() -> Iterator[City]:
    """The whole city, started once; tests add cases and leave each other's alone.

    Not in pytest's folder: every later run of pytest closes that to others, and as root PostgreSQL
    runs as another user.
    """
    with tempfile.TemporaryDirectory(prefix="casebus-city-") as folder:
        found = City.start(Path(folder) / "data")
        yield found
        took_s = found.stop()
        assert took_s < 10, f"stopping took {took_s:.1f} s"
