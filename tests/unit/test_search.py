"""What citizens type, and what they find; by itself and among services that nobody offers."""

import pytest

from benchmarks.portal import questions
from catalogue import Catalogue, load_catalogue
from catalogue.generated import SIZES, generated
from services.intake.portal.search import Index

CITY = load_catalogue()
ASKED = questions()


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
