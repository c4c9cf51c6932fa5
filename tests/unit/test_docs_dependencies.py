"""docs/dependencies.md gives a reason for every direct dependency."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs import rows, section

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
GROUPS: dict[str, list[str]] = {
    "Main": PROJECT["dependencies"],
    "Local": PROJECT["optional-dependencies"]["local"],
    "Dev": PROJECT["optional-dependencies"]["dev"],
}


@pytest.mark.parametrize("group", GROUPS)
def test_every_direct_dependency_has_a_reason_and_no_other(group: str) -> None:
    table = rows(section(PAGE, group))
    wanted = [re.split(r"[<>=!~;\[ ]", line)[0] for line in GROUPS[group]]

    assert sorted(name for name, _ in table) == sorted(wanted)
    assert all(len(why) > 20 for _, why in table)


def test_no_group_is_forgotten() -> None:
    assert set(PROJECT["optional-dependencies"]) == {"local", "dev"}
