"""Derives the city's rules from its catalogue: `python -m catalogue.build_rules` writes them.

The tables are data that rule owners edit; this says where their first form came from. What
the rules may ask stands in ruleset.yaml, which is written by hand.
"""

import csv
import io
import sys
from collections.abc import Iterable

from catalogue.building import assume, deadline, examples, joint_review, lead
from catalogue.loader import CITY, Catalogue, CatalogueError, load_catalogue

FOLDER = CITY / "rules"
TABLE = FOLDER / "lead.csv"
# For each table: the inputs that it asks about, and its other columns.
_COLUMNS = {
    "lead": (
        "service district side_of_aiguo newborn park_m2 side_of_zhongshan_n_road",
        "priority lead chain responsible basis note",
    ),
    "joint_review": (
        "service participants consents_hh_record consents_land_rec consents_birth "
        "consents_disability consents_use_permit consents_fire_cert",
        "agency task document basis note",
    ),
    "deadline": ("service newborn", "priority limit unit steps basis note"),
    "assume": (
        "service district side_of_aiguo participants park_m2 side_of_zhongshan_n_road",
        "basis note",
    ),
    "examples": (
        "service district side_of_aiguo newborn participants park_m2 side_of_zhongshan_n_road",
        "lead rule note",
    ),
}


def files(catalogue: Catalogue) -> dict[str, str]:
    """The CSV files of the rule set by name. Raises ValueError for data that cannot be read so."""
    leading = list(lead.rows(catalogue))
    beside = list(joint_review.rows(catalogue, leading))
    shorts = {district.zh: district.short for district in catalogue.districts.values()}
    tables = {
        "lead": leading,
        "joint_review": beside,
        "deadline": deadline.rows(catalogue),
        "assume": assume.rows(leading, beside, shorts),
        "examples": examples.rows(),
    }
    return {f"{name}.csv": _text(name, rows) for name, rows in tables.items()}


def _text(table: str, rows: Iterable[dict[str, str]]) -> str:
    """The whole file. Raises ValueError for a cell that has no column."""
    inputs, others = (names.split() for names in _COLUMNS[table])
    # In an example an input that is not given is missing; elsewhere it may be anything.
    left_out = "" if table == "examples" else "-"
    default = dict.fromkeys(inputs, left_out) | dict.fromkeys(others, "")
    out = io.StringIO()
    writer = csv.DictWriter(out, ("id", *inputs, *others), lineterminator="\n")
    writer.writeheader()
    writer.writerows(default | row for row in rows)
    return out.getvalue()


def main() -> None:
    try:
        for name, text in files(load_catalogue()).items():
            (FOLDER / name).write_text(text, encoding="utf-8")
    except (CatalogueError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
