"""Cases of which the right answer is known without the tables, for `casebus rules check`."""

from collections.abc import Iterator, Mapping

TRIAGE = "TRIAGE"
# (facts, the agency that leads, the row that decides, why it is told)
Example = tuple[Mapping[str, str], str, str, str]


def _case(service: str, district: str = "", **facts: str) -> dict[str, str]:
    return {"service": f"SVC-{service}", "district": district, **facts}


_PARK = {"participants": "200"}
_EXAMPLES: tuple[Example, ...] = (
    (_case("001", "大安區"), "IPC", "SVC-001", "one agency for the whole city"),
    (_case("002", "信義區"), "DO-XY", "SVC-002.XY", "district office first, then DOSW"),
    (_case("047", "大同區"), "HRO-DT", "SVC-047.DT", "household registration"),
    (
        _case("019", "大安區", newborn="yes"),
        "HRO-DA",
        "SVC-019.DA",
        "child allowance with the registration of the birth",
    ),
    (
        _case("019", "大安區", newborn="no"),
        "DO-DA",
        "SVC-019.DA.NO",
        "child allowance, birth registered before",
    ),
    (_case("019", "大安區"), "HRO-DA", "SVC-019.DA", "child allowance, not said"),
    (_case("056", "文山區"), "LO-GT", "SVC-056.WS", "Guting land office"),
    (_case("056", "南港區"), "LO-SS", "SVC-056.NG", "Songshan land office"),
    (_case("056", "內湖區"), "LO-ZS", "SVC-056.NH", "Zhongshan land office"),
    (_case("056", "北投區"), "LO-SL", "SVC-056.BT", "Shilin land office"),
    (_case("061", "中正區", side_of_aiguo="north"), "LO-JC", "SVC-061.ZZ.N", "split district"),
    (_case("061", "中正區", side_of_aiguo="south"), "LO-GT", "SVC-061.ZZ.S", "split district"),
    (_case("061", "中正區"), TRIAGE, "", "split district, and nobody said which side"),
    (_case("025", "萬華區", **_PARK), "PO-QN", "SVC-025.WH", "Youth Park office"),
    (_case("025", "文山區", **_PARK), "PO-NG", "SVC-025.WS", "Nangang Park office"),
    (_case("025", "松山區", **_PARK), "PO-YS", "SVC-025.SS", "Yuanshan Park office"),
    (_case("025", "內湖區", **_PARK), "PO-HH", "SVC-025.NH", "Floriculture Experiment Center"),
    (
        _case("025", "士林區", park_m2="10000", side_of_zhongshan_n_road="northwest", **_PARK),
        "PO-YM",
        "SVC-025.SL.NW",
        "one hectare, north-west of the line",
    ),
    (
        _case("025", "士林區", park_m2="10000", side_of_zhongshan_n_road="southeast", **_PARK),
        "PO-YY",
        "SVC-025.SL.SE",
        "one hectare, south-east of the line",
    ),
    (
        _case("025", "士林區", park_m2="9999", side_of_zhongshan_n_road="northwest", **_PARK),
        "PO-YY",
        "SVC-025.SL.SMALL",
        "a neighbourhood park, on either side",
    ),
    (
        _case("026", "中山區", participants="6000"),
        "HEO",
        "SVC-026",
        "beside it the sports department and the traffic police",
    ),
    (_case("073", "信義區"), "CMO", "SVC-073", "decided at once, after road use and police"),
    (_case("032", "士林區"), TRIAGE, "SVC-032", "nobody knows whose it is"),
)


def rows() -> Iterator[dict[str, str]]:
    for number, (facts, lead, rule, note) in enumerate(_EXAMPLES, start=1):
        yield {"id": f"EX-{number:02d}", **facts, "lead": lead, "rule": rule, "note": note}
