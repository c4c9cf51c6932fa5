"""Working days, and the day on which a case is due."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue.calendar import Calendar, city_calendar
from catalogue.rows import LimitUnit

CALENDAR = city_calendar()
DAYS = st.dates(date(2024, 1, 1), date(2027, 10, 31))


@pytest.mark.parametrize(
    ("day", "limit", "due"),
    [
        (date(2025, 1, 23), 3, date(2025, 2, 4)),  # over the lunar new year
        (date(2025, 2, 7), 1, date(2025, 2, 8)),  # a Saturday on which the city makes up for it
        (date(2026, 11, 24), 1, date(2026, 11, 25)),
        (date(2026, 11, 27), 1, date(2026, 11, 30)),  # over a weekend
    ],
)
def test_a_limit_in_working_days_leaves_holidays_out_and_takes_make_up_days_in(
    day: date, limit: int, due: date
) -> None:
    assert CALENDAR.due_on(day, limit, "working_day") == due


def test_a_make_up_saturday_is_a_working_day_and_another_saturday_is_none() -> None:
    assert CALENDAR.is_working_day(date(2025, 2, 8))
    assert not CALENDAR.is_working_day(date(2025, 2, 15))


@pytest.mark.parametrize(
    ("year", "days"), [(2022, 250), (2023, 249), (2024, 251), (2025, 247), (2026, 245)]
)
def test_a_year_has_as_many_working_days_as_the_official_calendar_says(
    year: int, days: int
) -> None:
    every = (date(year, 1, 1) + timedelta(days=n) for n in range(366))

    assert sum(CALENDAR.is_working_day(day) for day in every if day.year == year) == days


@pytest.mark.parametrize(
    ("day", "due"),
    [
        (date(2025, 1, 10), date(2025, 3, 10)),
        (date(2025, 7, 31), date(2025, 9, 30)),  # September has no 31st
        (date(2025, 12, 31), date(2026, 3, 2)),  # 28 February is a holiday, a Saturday
        (date(2023, 12, 29), date(2024, 2, 29)),  # a leap year
        (date(2026, 11, 24), date(2027, 1, 25)),  # the 24th is a Sunday
    ],
)
def test_without_a_published_limit_two_months_count_and_the_months_end_is_kept(
    day: date, due: date
) -> None:
    assert CALENDAR.due_on(day, None, None) == due


def test_a_limit_in_calendar_days_counts_holidays_and_rolls_its_last_day_forward() -> None:
    assert CALENDAR.due_on(date(2026, 11, 24), 3, "calendar_day") == date(2026, 11, 27)
    assert CALENDAR.due_on(date(2026, 11, 24), 4, "calendar_day") == date(2026, 11, 30)


@pytest.mark.parametrize(
    ("day", "months", "due"),
    [
        (date(2025, 1, 10), 1, date(2025, 2, 10)),
        (date(2025, 10, 31), 1, date(2025, 12, 1)),  # 30 November is a Sunday
        (date(2026, 11, 24), 6, date(2027, 5, 24)),
        (date(2026, 11, 28), 0, date(2026, 11, 30)),  # a Saturday
    ],
)
def test_a_limit_in_months_ends_on_the_same_day_of_the_month_or_its_last_one(
    day: date, months: int, due: date
) -> None:
    assert CALENDAR.due_on(day, months, "month") == due


@pytest.mark.parametrize(("hours", "days"), [(0, 0), (23, 0), (24, 1), (71, 2), (72, 3)])
def test_a_limit_in_hours_ends_with_the_day_on_which_they_are_over(hours: int, days: int) -> None:
    due = date(2026, 11, 23) + timedelta(days)

    assert CALENDAR.due_on(date(2026, 11, 23), hours, "hour") == due


@pytest.mark.parametrize("unit", ["hour", "at_once"])
def test_at_once_ends_with_the_day_or_the_next_working_day(unit: LimitUnit) -> None:
    assert CALENDAR.due_on(date(2026, 11, 24), 0, unit) == date(2026, 11, 24)
    assert CALENDAR.due_on(date(2026, 11, 28), 0, unit) == date(2026, 11, 30)


def test_a_day_on_which_the_offices_were_closed_is_left_out_and_changes_the_version() -> None:
    typhoon = Calendar({date(2026, 11, 25): "typhoon"})

    assert typhoon.due_on(date(2026, 11, 24), 1, "working_day") == date(2026, 11, 26)
    assert typhoon.first_working_day_from(date(2026, 11, 25)) == date(2026, 11, 26)
    assert typhoon.version != CALENDAR.version


@given(DAYS, st.integers(1, 60))
def test_between_receipt_and_due_day_lie_as_many_working_days_as_the_limit(
    day: date, limit: int
) -> None:
    due = CALENDAR.due_on(day, limit, "working_day")
    after = (day + timedelta(days=n) for n in range(1, (due - day).days + 1))

    assert CALENDAR.is_working_day(due)
    assert sum(map(CALENDAR.is_working_day, after)) == limit


UNITS = ["working_day", "calendar_day", "month", "hour", "at_once", None]


@given(DAYS, st.sampled_from(UNITS), st.integers(0, 60))
def test_no_case_is_due_on_a_holiday_or_before_it_came(
    day: date, unit: LimitUnit | None, limit: int
) -> None:
    due = CALENDAR.due_on(day, limit, unit)

    assert CALENDAR.is_working_day(due)
    assert due >= day
