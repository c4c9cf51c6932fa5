"""What citizens type, and what they find; by itself and among services that nobody offers."""

import pytest

from catalogue import Catalogue, load_catalogue
from catalogue.generated import SIZES, generated
from services.intake.portal.search import Index

CITY = load_catalogue()
# What is typed, and the services that answer it.
QUESTIONS = """
育兒津貼 | SVC-019
生小孩補助 | SVC-005 SVC-019
我要怎麼申請育兒津貼? | SVC-019
育兒金貼 | SVC-019
child allowance | SVC-019 SVC-007
Baby benefit | SVC-019
結婚 | SVC-053
get married | SVC-053
身分證不見了 | SVC-041
身份證遺失 | SVC-041
lost my id card | SVC-041
户口名簿 | SVC-042
戶口名薄 | SVC-042
戶籍騰本 | SVC-047
household transcrpt | SVC-047 SVC-048
台北通 | SVC-022
臺北通 | SVC-022
公園辦活動 | SVC-025
借公園 | SVC-025
河濱公園 | SVC-026
marathon | SVC-026
開藥局 | SVC-033
phramacy | SVC-033
建照 | SVC-029
building permit | SVC-029
颱風淹水 | SVC-030
flood | SVC-030
水費過戶 | SVC-035
停水 | SVC-036
動物園 | SVC-016
zoo | SVC-016
貓空纜車 | SVC-015
gondola | SVC-015
良民證 | SVC-063
criminal record | SVC-063
police certificat | SVC-063
土地鑑界 | SVC-056
土地監界 | SVC-056
土地鉴界 | SVC-056
boundary survey | SVC-056
街頭藝人 | SVC-122
street performer | SVC-122
busker | SVC-122
室內裝修 | SVC-112
denture | SVC-003
假牙 | SVC-003
狂犬病 | SVC-097
rabies | SVC-097
結紮 | SVC-080
neutering | SVC-080
離婚 | SVC-054
divorce | SVC-054
勞資糾紛 | SVC-083
labour dispute | SVC-083
ＳＶＣ－０２５ | SVC-025
201907290170 | SVC-029
地價稅自用住宅 | SVC-108
disabled parking | SVC-111
身障停車證 | SVC-111
補習班 | SVC-118
cram school | SVC-118
葬禮 | SVC-086
funeral | SVC-086
兵役延期 | SVC-034 SVC-091
低收入戶 | SVC-021 SVC-002 SVC-005
健保費補助 老人 | SVC-008
"""
ASKED = [
    (text.strip(), frozenset(codes.split()))
    for text, _, codes in (line.partition("|") for line in QUESTIONS.strip().splitlines())
]


@pytest.fixture(scope="module", params=["own", "paper"])
def index(request: pytest.FixtureRequest) -> Index:
    return Index(CITY if request.param == "own" else generated(SIZES["paper"], 7))


@pytest.mark.parametrize(("text", "codes"), ASKED, ids=[text for text, _ in ASKED])
def test_what_was_meant_is_among_the_first_three(
    index: Index, text: str, codes: frozenset[str]
) -> None:
    assert codes & {hit.code for hit in index.search(text)[:3]}


def test_nearly_always_what_was_meant_stands_first() -> None:
    index = Index(CITY)
    first = [bool(hits and hits[0].code in codes) for text, codes in ASKED
             for hits in [index.search(text)]]  # fmt: skip

    assert sum(first) >= len(ASKED) - 2


@pytest.mark.parametrize("text", ["", "   ", "?!", "xqzzyk", "𠮷𠮷", "\x00", '"', "* OR *", "((("])
def test_what_fits_nothing_finds_nothing_and_breaks_nothing(text: str) -> None:
    assert Index(CITY).search(text) == []


def test_a_question_of_any_length_is_answered() -> None:
    assert Index(CITY).search("育兒津貼 " + "很長的問題" * 10_000)[0].code == "SVC-019"


def test_one_character_finds_names_that_hold_it() -> None:
    found = [CITY.services[hit.code].name_zh for hit in Index(CITY).search("婚")]

    assert found
    assert any("婚" in name for name in found)


def test_an_agency_finds_its_services() -> None:
    found = {CITY.services[hit.code].agency for hit in Index(CITY).search("動物保護處")[:2]}

    assert found == {"TCAPO"}


def test_the_better_hit_stands_first_and_far_worse_ones_are_left_out() -> None:
    hits = Index(CITY).search("育兒津貼")

    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[-1].score >= 0.3 * hits[0].score
    assert len(hits) < 30


def test_words_that_all_services_share_still_find_some() -> None:
    catalogue: Catalogue = generated(SIZES["paper"], 7)
    assert len(Index(catalogue).search("申請")) > 20
