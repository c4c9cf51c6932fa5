"""What all suites share: one city for those that only add cases to it."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.city import ROOT, City

_WITHOUT_A_CITY = ("unit", "rules", "model")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Those that need no city come first, and those that have one of their own last: once one
    runs, it takes its share of the machine to the end. What only waits for minutes is left to
    `make test-faults`."""
    if os.environ.get("CASEBUS_FAULTS") != "full":
        slow = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]

    def turn(item: pytest.Item) -> int:
        suite = item.path.relative_to(ROOT / "tests").parts[0]
        return 0 if suite in _WITHOUT_A_CITY else 2 if suite == "faults" else 1

    items.sort(key=turn)


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
