"""Signed links: short, and nobody makes one up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.links import Links

LINKS = Links(b"secret" * 5, "https://notices.example/")
NUMBERS = st.integers(0, 2**50)


@given(NUMBERS)
def test_a_link_tells_its_number_in_any_case_of_letters(number: int) -> None:
    token = LINKS.token(number)
    assert (
        LINKS.number(token) == LINKS.number(token.upper()) == LINKS.number(f" {token}\n") == number
    )
    assert len(token) <= 12 + 1 + 16


@given(st.text(max_size=60))
def test_no_other_text_is_a_link(text: str) -> None:
    assert LINKS.number(text) is None


@given(NUMBERS, NUMBERS)
def test_a_signature_is_of_one_number_only(number: int, other: int) -> None:
    name, signature = LINKS.token(other)[:-17], LINKS.token(number)[-16:]
    assert (LINKS.number(f"{name}-{signature}") is None) == (number != other)


def test_a_number_has_one_name() -> None:
    token = LINKS.token(7)
    assert LINKS.number("a" + token) is None


def test_another_secret_makes_other_links() -> None:
    assert Links(b"another" * 5, "https://notices.example").number(LINKS.token(7)) is None


@pytest.mark.parametrize("number", [0, 1, 31, 32, 10**9])
def test_addresses_begin_where_citizens_reach_the_pages(number: int) -> None:
    assert LINKS.preferences(number) == f"https://notices.example/p/{LINKS.token(number)}"
    assert LINKS.unsubscribe(number).startswith(LINKS.preferences(number) + "/")
    assert len(LINKS.preferences(number)) < 60
