"""Where a relay stands: after a row, by the transaction first and the sequence second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime.relay import Position, group

NUMBERS = st.integers(0, 2**63 - 1)
POSITIONS = st.builds(Position, NUMBERS, NUMBERS)


@given(POSITIONS, POSITIONS)
def test_positions_are_ordered_by_transaction_first_and_sequence_second(
    one: Position, other: Position
) -> None:
    assert (one < other) == ((one.xid, one.seq) < (other.xid, other.seq))


def test_numbers_are_compared_as_numbers_and_not_as_text() -> None:
    assert Position(9, 0) < Position(10, 0)
    assert Position(1, 9) < Position(1, 10)


def test_a_late_transaction_with_an_early_sequence_comes_after() -> None:
    assert Position(101, 1) > Position(100, 2)


@given(POSITIONS)
def test_a_position_is_read_as_it_was_written(position: Position) -> None:
    assert Position.parse(str(position)) == position


def test_a_position_says_of_which_cluster_and_event_it_is() -> None:
    for position in (Position(7, 8, "4711", "an:event"), Position(7, 8, "4711"), Position(7, 8)):
        found = Position.parse(position.metadata)
        assert (found, found.cluster, found.event) == (position, position.cluster, position.event)


@given(POSITIONS)
def test_the_first_position_is_before_all_rows(position: Position) -> None:
    assert Position(0, 0) <= position


@pytest.mark.parametrize("text", ["", "7", "7:", "a:b", "7:b:1:"])
def test_a_position_that_cannot_be_read_is_no_position(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Position.parse(text)


def test_each_outbox_has_a_position_of_its_own() -> None:
    assert group("intake") != group("backoffice")
