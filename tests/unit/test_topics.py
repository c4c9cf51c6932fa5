"""Every topic of the city: none is forgotten, none is there twice."""

import pytest

from catalogue import load_catalogue
from shared.contract import topics

AGENCIES = ("DOSW", "TRIAGE", "LO-DA")


def _names(own_system: tuple[str, ...] = ("DOSW",)) -> list[str]:
    return [spec.name for spec in topics.all_topics(AGENCIES, own_system)]


def test_every_agency_has_a_topic_for_its_cases() -> None:
    assert {f"agency.{code}.cases" for code in AGENCIES} <= set(_names())


def test_only_an_agency_with_a_system_of_its_own_has_a_topic_for_updates() -> None:
    found = {name for name in _names() if name.endswith(".updates")}

    assert found == {"agency.DOSW.updates"}


def test_no_topic_is_there_twice_in_the_whole_city() -> None:
    agencies = load_catalogue().agencies
    names = [spec.name for spec in topics.all_topics(list(agencies), list(agencies))]

    assert len(names) == len(set(names))


def test_every_topic_that_is_consumed_has_its_dead_letters() -> None:
    consumed = [
        name for name in _names() if not name.endswith(".dead") and name != topics.POSITIONS
    ]

    assert {topics.dead(name) for name in consumed} <= set(_names())


@pytest.mark.parametrize(
    ("topic", "dead"),
    [
        ("applications.events", "applications.events.dead"),
        ("agency.DOSW.cases", "agency.cases.dead"),
        ("agency.DOSW.updates", "agency.updates.dead"),
    ],
)
def test_agencies_share_their_dead_letters_and_others_have_their_own(topic: str, dead: str) -> None:
    assert topics.dead(topic) == dead


def test_only_the_releases_of_rules_are_compacted() -> None:
    specs = topics.all_topics(AGENCIES, ())

    assert [spec.name for spec in specs if spec.compacted] == [topics.RULES]


def test_the_two_streams_of_the_whole_city_are_wide() -> None:
    specs = topics.all_topics(AGENCIES, ())

    assert {s.name for s in specs if s.width == "wide"} == {topics.APPLICATIONS, topics.CASES}


def test_triage_and_the_control_unit_are_agencies_of_the_catalogue() -> None:
    assert {topics.TRIAGE, topics.CONTROL_UNIT} <= set(load_catalogue().agencies)
