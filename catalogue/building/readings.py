"""What the sentences in the city's data mean to its rules.

A condition, a review or a certificate stands in the data as its source put it. Here each such
sentence is read once; one that nobody has read yet is an error, never a row without condition.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
Cells = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a district: what to append to a row's id, and the conditions of the part."""

    suffix: str
    cells: Cells


@dataclass(frozen=True, slots=True)
class Review:
    """An agency that reviews beside the lead, when `cells` hold."""

    agency: str
    cells: Cells
    note: str


def read(meanings: Mapping[str, T], sentence: str, where: str) -> T:
    """The meaning of a sentence. Raises ValueError that names `where` it stands."""
    try:
        return meanings[sentence]
    except KeyError:
        raise ValueError(
            f"{where}: {sentence!r} is not known; say in catalogue/building/readings.py what it "
            "means to the rules"
        ) from None


_WHOLE = (Part("", {}),)
_HECTARE_M2 = 10_000

# jurisdiction.csv, condition
CONDITIONS: Mapping[str, tuple[Part, ...]] = {
    "": _WHOLE,
    # These two say where else one may hand in, not who answers for the case.
    "any office for most items": _WHOLE,
    "household in the district; counter receipt possible in any district, then transfer within "
    "2 days": _WHOLE,
    "north of Aiguo E./W. Rd": (Part(".N", {"side_of_aiguo": "north"}),),
    "south of Aiguo E./W. Rd": (Part(".S", {"side_of_aiguo": "south"}),),
    "parks >=1 ha west of Zhongshan N. Rd sec.5, north of Waishuangxi": (
        Part(
            ".NW",
            {"park_m2": f">={_HECTARE_M2}", "side_of_zhongshan_n_road": "northwest"},
        ),
    ),
    "parks >=1 ha east/south of that line, and neighbourhood parks": (
        Part(
            ".SE",
            {"park_m2": f">={_HECTARE_M2}", "side_of_zhongshan_n_road": "southeast"},
        ),
        Part(".SMALL", {"park_m2": f"<{_HECTARE_M2}"}),
    ),
}

_TRAFFIC_PLAN = Review("TRAF", {"participants": ">5000"}, "traffic plan")

# services.csv, split_review; no review where the text speaks of others than the city's agencies
SPLIT_REVIEWS: Mapping[str, tuple[Review, ...]] = {
    "": (),
    "traffic plan when >5000 people": (_TRAFFIC_PLAN,),
    "SPORTS first for runs of 3000+": (
        Review(
            "SPORTS",
            {"participants": ">=3000"},
            "the page says so of runs; the form does not tell them from other events",
        ),
    ),
    "other agencies (water, height, trees, geology)": (
        # Height is a matter of air navigation, which is the state's.
        Review("TWD", {}, "water; the agency is general knowledge"),
        Review("CULT", {}, "protected trees; the agency is general knowledge"),
        Review("GEO", {}, "geology; the agency is general knowledge"),
    ),
    "zoning and building pre-check": (
        Review("UDD", {}, "zoning"),
        Review("CMO", {}, "building"),
    ),
    "road use permit, then police, then CMO": (
        Review("TRAF", {}, "road use permit (SVC-074), the first"),
        Review("TCPD", {}, "police, after the road use permit"),
    ),
    # The agencies of a chain follow the lead; they do not stand beside it.
    "district first review; DOSW second review when not eligible": (),
    "school or district collects; IPC second review": (),
    "HRO 1 day -> DO 24 days (newborn) or DO 25 days; DOSW tax query about 25 days "
    "(twice a month)": (),
    # Within the agency itself, or nobody is named.
    "committee": (),
    "committee of 5-9": (),
    "first review, second review": (),
    "site inspection half a day": (),
    "visit when needed; referral": (),
    "licensing agency first for listed lines": (),
    "受理所 receives for 管轄所": (),
    # Outside the city government.
    "dental association review": (),
    "senior service centre assessment": (),
    "court or military query extends the time": (),
    "referred to the ministry when law is doubtful": (),
    "licensed engineer and contractor": (),
}

# services.csv, documents: papers that another agency reviews. All others mean no review.
PAPERS_TO_REVIEW: Mapping[str, Review] = {"traffic plan >5000": _TRAFFIC_PLAN}

# services.csv, waivable: the document of documents.csv that is meant, if it is one of them
WAIVABLE: Mapping[str, str | None] = {
    "household record": "HH_RECORD",
    "household transcript or ID copy: one of them (queryable)": "HH_RECORD",
    "kinship (household record)": "HH_RECORD",
    "land record": "LAND_REC",
    "land and building record (not for people registered outside the city: then transcript "
    "within 1 month)": "LAND_REC",
    "building transcript class 2 (asked, so candidate for query)": "LAND_REC",
    "cadastral record": "LAND_REC",
    "birth registration (not asked for in class 1)": "BIRTH",
    "disability record": "DISABILITY",
    "building record": "USE_PERMIT",
    "house tax or building record (G)": "USE_PERMIT",
    "use permit stub (city holds it)": "USE_PERMIT",
    "fire certificate could be queried (G)": "FIRE_CERT",
    "tax rate (queried; paper only on dispute)": "TAX_INCOME",
    "tax data by authorisation (queried from the finance data centre)": "TAX_INCOME",
    "labour insurance data with consent": "LABOUR_INS",
    "incorporation (agencies and schools exempt)": "BIZ_REG",
    "business registration": "BIZ_REG",
    "business registration (looked up on the authority website)": "BIZ_REG",
    "business record": "BIZ_REG",
    "pet registry data must match (queried)": "PET",
    "vehicle record": "VEHICLE",
    "driving and vehicle record": "VEHICLE",
    "identity by MyData (since 2023-04-11)": None,
    # Comes unasked, is the agency's own, or says of no document which.
    "birth or court notices arrive by inter-agency report": None,
    "registration with the bureau (own data)": None,
    "practitioner licence": None,
    "eligibility (city data)": None,
    "certificates and transcripts (page: 免書證、免謄本)": None,
    "building permit": None,
    "fire safety record": None,
}

# documents.csv, data_holder: the agency of the city that answers a query, if it is one
HOLDERS: Mapping[str, str | None] = {
    "Ministry of the Interior household system; city copy": "CA",
    "household office": "CA",
    "land offices": "LAND",
    "social welfare system": "DOSW",
    "construction office": "CMO",
    "fire department": "TFD",
    # Outside the city; the officer looks the commerce authorities' up on their website.
    "commerce authorities": None,
    "finance data centre": None,
    "Bureau of Labor Insurance": None,
    "immigration agency": None,
    "national pet registry": None,
    "highway authority": None,
}
