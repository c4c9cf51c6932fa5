"""What all suites share: one city for those that only add cases to it."""

from collections.abc import Iterator

import pytest

from tests.city import City


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """The whole city, started once; tests add cases and leave each other's alone."""
    found = City.start(tmp_path_factory.mktemp("city") / "data")
    yield found
    took_s = found.stop()
    assert took_s < 10, f"stopping took {took_s:.1f} s"
