"""What cannot happen, because intake asks for it; catalogue/facts.py reads this table.

Each row has a list of services or `-`, a district or `-`, and one `missing`.
"""

from collections.abc import Iterable, Iterator

# Without a value for these, no office of a split district would be found.
_SPLITS = ("side_of_aiguo", "park_m2", "side_of_zhongshan_n_road")
_BASIS = "the form asks for it"


def rows(
    lead: Iterable[dict[str, str]],
    joint_review: Iterable[dict[str, str]],
    shorts: dict[str, str],
) -> Iterator[dict[str, str]]:
    """`lead` and `joint_review`: the rows of those tables; `shorts`: code by district."""
    yield {
        "id": "A-district",
        "service": "-",
        "district": "missing",
        "basis": _BASIS,
        "note": "the applicant's, unless the case lies elsewhere",
    }
    split: dict[tuple[str, str], set[str]] = {}
    for row in lead:
        for name in _SPLITS:
            if name in row:
                split.setdefault((row["district"], name), set()).add(row["service"])
    for (district, name), services in split.items():
        yield {
            "id": f"A-{shorts[district]}-{name}",
            "service": ";".join(sorted(services)),
            "district": district,
            name: "missing",
            "basis": _BASIS,
            "note": "the district is split",
        }
    # Nobody would be asked for a review of a crowd whose size nobody gave.
    crowds = {row["service"] for row in joint_review if "participants" in row}
    yield {
        "id": "A-participants",
        "service": ";".join(sorted(crowds)),
        "participants": "missing",
        "basis": _BASIS,
        "note": "a review depends on it",
    }
