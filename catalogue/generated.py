"""A made-up city of any size: the city's own services, and services that nobody offers.

For scale tests, benchmarks and shows. The paper's city had 774 case types with information
online, 580 forms, 120 applications online and 127 with certificates waived (kpis.csv, K01-K04).
Every made-up row says `generated` as its evidence, and the portal says so to whoever reads it.
"""

import csv
import io
import random
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from catalogue.build_rules import files
from catalogue.loader import Catalogue, load_catalogue
from catalogue.rows import Listing, Row, Service

EVIDENCE = "generated"


@dataclass(frozen=True, slots=True)
class Size:
    """How many services are listed, have a form, are online, and waive a certificate."""

    listed: int
    forms: int
    online: int
    waived: int


SIZES: Mapping[str, Size] = {
    "paper": Size(774, 580, 120, 127),
    "large": Size(10_000, 7_500, 1_600, 1_650),
}

# What it is about: Chinese, English, the agency, an audience, a life event.
_ABOUT = (
    ("路燈", "street lamp", "PSLO", "RESIDENT", "HOME"),
    ("招牌廣告", "shop sign", "CMO", "BUSINESS", "RUNNING_A_BUSINESS"),
    ("騎樓", "arcade", "CMO", "BUSINESS", "RUNNING_A_BUSINESS"),
    ("屋頂綠化", "roof garden", "PSLO", "RESIDENT", "HOME"),
    ("社區園圃", "community garden", "PSLO", "ORGANISATION", "LEISURE"),
    ("游泳池", "swimming pool", "SPORTS", "BUSINESS", "RUNNING_A_BUSINESS"),
    ("運動場館", "sports hall", "SPORTS", "ORGANISATION", "EVENT_VENUE"),
    ("路跑活動", "road run", "SPORTS", "ORGANISATION", "EVENT_VENUE"),
    ("校園場地", "school ground", "DOE", "ORGANISATION", "EVENT_VENUE"),
    ("課後照顧", "after-school care", "DOE", "FAMILY", "SCHOOL"),
    ("國中學區", "junior high school district", "DOE", "FAMILY", "SCHOOL"),
    ("幼兒園", "kindergarten", "DOE", "FAMILY", "SCHOOL"),
    ("托嬰中心", "infant centre", "DOSW", "FAMILY", "BIRTH"),
    ("居家照顧", "home care", "DOSW", "SENIOR", "CARE"),
    ("送餐服務", "meals at home", "DOSW", "SENIOR", "CARE"),
    ("輔具", "assistive device", "DOSW", "DISABILITY", "CARE"),
    ("復康巴士", "rehabilitation bus", "DOT", "DISABILITY", "CARE"),
    ("計程車", "taxi", "DOT", "BUSINESS", "WORK"),
    ("停車場", "car park", "DOT", "BUSINESS", "RUNNING_A_BUSINESS"),
    ("自行車道", "cycle path", "DOT", "RESIDENT", "LEISURE"),
    ("職業訓練", "job training", "DOL", "RESIDENT", "WORK"),
    ("勞工教育", "labour education", "DOL", "ORGANISATION", "WORK"),
    ("青年創業", "young founder", "DOED", "BUSINESS", "RUNNING_A_BUSINESS"),
    ("工廠排水", "factory drain", "DEP", "BUSINESS", "RUNNING_A_BUSINESS"),
    ("噪音管制", "noise control", "DEP", "RESIDENT", "HOME"),
    ("資源回收站", "recycling point", "DEP", "ORGANISATION", "HOME"),
    ("餐飲衛生", "kitchen hygiene", "DOH", "BUSINESS", "RUNNING_A_BUSINESS"),
    ("疫苗接種", "vaccination", "DOH", "FAMILY", "CARE"),
    ("醫事人員", "medical staff", "DOH", "BUSINESS", "WORK"),
    ("防火避難", "fire escape", "TFD", "BUSINESS", "RUNNING_A_BUSINESS"),
    ("消防設備", "fire equipment", "TFD", "BUSINESS", "RUNNING_A_BUSINESS"),
    ("文化資產", "heritage building", "CULT", "ORGANISATION", "HOME"),
    ("公共藝術", "public art", "CULT", "ORGANISATION", "EVENT_VENUE"),
    ("導遊人員", "tour guide", "TPEDOIT", "BUSINESS", "WORK"),
    ("民宿", "guest house", "TPEDOIT", "BUSINESS", "RUNNING_A_BUSINESS"),
    ("容積移轉", "floor area transfer", "UDD", "BUSINESS", "HOME"),
    ("都市更新", "urban renewal", "UDD", "RESIDENT", "HOME"),
    ("租金補貼", "rent allowance", "UDD", "RESIDENT", "HOME"),
    ("地籍圖", "cadastral map", "LAND", "RESIDENT", "HOME"),
    ("宗教團體", "religious body", "CA", "ORGANISATION", "EVENT_VENUE"),
)
_WHAT = (
    ("設置許可", "installation permit"),
    ("變更申請", "change request"),
    ("補助申請", "grant"),
    ("登記", "registration"),
    ("證明書核發", "certificate"),
    ("年度檢查", "yearly inspection"),
    ("展延申請", "extension"),
    ("停用申報", "notice of closing"),
    ("資格認定", "qualification"),
    ("使用申請", "use"),
    ("費用減免", "fee reduction"),
    ("案件查詢", "case enquiry"),
    ("抽籤登記", "draw"),
    ("輔導申請", "counselling"),
    ("轉讓核備", "transfer approval"),
    ("複審", "second review"),
    ("評鑑", "evaluation"),
    ("認養", "adoption"),
    ("退費申請", "refund"),
    ("公告閱覽", "public reading"),
)
_WHERE = (
    ("", ""),
    ("東區", "east side"),
    ("西區", "west side"),
    ("南區", "south side"),
    ("北區", "north side"),
    ("河岸", "riverside"),
    ("山坡地", "hillside"),
    ("車站周邊", "station area"),
    ("老舊社區", "old quarter"),
    ("工業區", "industrial zone"),
    ("學校周邊", "school area"),
    ("市場", "market area"),
    ("地下街", "underground mall"),
    ("夜間", "night time"),
)
_WAIVABLE = ("household record", "land record", "disability record", "building record")


def generated(size: Size, seed: int, own: Catalogue | None = None) -> Catalogue:
    """`own` (the city's own when None) with services added until `size` is reached.

    The same seed makes the same city. Raises ValueError when `own` alone is beyond `size` in
    some count, or when there are not enough names.
    """
    own = own or load_catalogue()
    missing = {
        name: getattr(size, name) - have for name, have in counts(own.services.values()).items()
    }
    if min(missing.values()) < 0:
        raise ValueError(f"the city's own services are more than {size}")
    dice = random.Random(seed)
    names = [(*where, *about, *what) for where, about, what in product(_WHERE, _ABOUT, _WHAT)]
    if len(names) < missing["listed"]:
        raise ValueError(f"there are names for {len(names)} services, not {missing['listed']}")
    dice.shuffle(names)
    stages = _stages(missing, dice)
    services, listings = dict(own.services), dict(own.listings)
    for number, (name, (stage, waives)) in enumerate(zip(names, stages, strict=False), start=1):
        service, listing = _made_up(f"GEN-{number:05}", name, stage, waives, dice)
        services[service.code] = service
        listings[listing.code] = listing
    return replace(own, services=services, listings=listings)


def counts(services: Iterable[Service]) -> dict[str, int]:
    """The fields of Size, counted over the services that are open."""
    found = [one for one in services if one.open]
    return {
        "listed": len(found),
        "forms": sum(one.stage >= 2 for one in found),
        "online": sum(one.stage >= 5 for one in found),
        "waived": sum(bool(one.waivable) for one in found),
    }


def _stages(missing: Mapping[str, int], dice: random.Random) -> list[tuple[int, bool]]:
    """A stage for each service, and whether it waives a certificate; stage 6 always does."""
    listed, forms, online = missing["listed"], missing["forms"], missing["online"]
    full = min(missing["waived"], online) // 2
    found = [(6, True)] * full + [(5, False)] * (online - full)
    rest = [dice.choice((2, 2, 3, 4)) for _ in range(forms - online)]
    waiving = missing["waived"] - full
    found += [(stage, at < waiving) for at, stage in enumerate(rest)]
    found += [(1, False)] * (listed - forms)
    dice.shuffle(found)
    return found


def _made_up(
    code: str, name: Sequence[str], stage: int, waives: bool, dice: random.Random
) -> tuple[Service, Listing]:
    where_zh, where_en, about_zh, about_en, agency, audience, event, what_zh, what_en = name
    english = " ".join(filter(None, (where_en, about_en, what_en)))
    service = Service(
        code=code,
        official_id="",
        name_zh=f"{where_zh}{about_zh}{what_zh}",
        name_en=english[0].upper() + english[1:],
        agency=agency,
        family="agency",
        accept_at=agency,
        limit=dice.choice((1, 3, 6, 10, 14, 30)),
        limit_unit="working_day",
        stage=stage,
        stage_source="",
        open=True,
        channels="online;counter" if stage >= 5 else "counter",
        fee_twd=dice.choice(("", "0", "100", "500")),
        documents="application;ID" if stage >= 2 else "application",
        waivable=dice.choice(_WAIVABLE) if waives else "",
        split_review="",
        evidence=EVIDENCE,
        source=EVIDENCE,
        note="made up for scale tests",
    )
    listing = Listing(
        code=code,
        audiences=audience,
        life_events=event,
        words_zh="",
        words_en="",
        basis_zh="",
        basis_en="",
        evidence=EVIDENCE,
    )
    return service, listing


def write(city: Catalogue, folder: Path, own: Path) -> None:
    """`city` as a folder that CASEBUS_CITY may name: data and rules; the rest is that of `own`.

    What stood in `folder` is replaced. Raises ValueError for data that make no rules.
    """
    made = folder.with_suffix(".new")
    shutil.rmtree(made, ignore_errors=True)
    shutil.copytree(own / "data", made / "data")
    shutil.copytree(own / "rules", made / "rules")
    for name, rows in (("services", city.services), ("listings", city.listings)):
        (made / "data" / f"{name}.csv").write_text(_csv(list(rows.values())), encoding="utf-8")
    for name, text in files(city).items():
        (made / "rules" / name).write_text(text, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    made.rename(folder)


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(type(rows[0]).model_fields)
    writer.writerows([_cell(value) for _, value in row] for row in rows)
    return out.getvalue()


def _cell(value: object) -> object:
    match value:
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ";".join(value)
    return "" if value is None else value
