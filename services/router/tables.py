"""A folder of rule tables, as a rule owner keeps them, read for a release."""

import csv
from pathlib import Path
from typing import Any

import yaml


def read_tables(folder: Path) -> tuple[str, dict[str, Any]]:
    """The rule set's id and its tables (rows as dicts of text). Raises OSError, KeyError,
    ValueError (not UTF-8)."""
    header = yaml.safe_load((folder / "lead.yaml").read_text("utf-8"))
    with (folder / "lead.csv").open(encoding="utf-8", newline="") as lines:
        return header["ruleset"], {"lead": list(csv.DictReader(lines))}
