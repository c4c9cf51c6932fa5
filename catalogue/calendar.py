"""Working days of the city, and the day on which a case is due.

The official calendar comes from the package `holidays` (make-up working days included); days on
which offices were closed at short notice (typhoons) stand in data/closures.csv. The calendar
changes: `version` is kept beside each due date that was told to somebody.
"""

import csv
from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from importlib.metadata import version
from pathlib import Path

import holidays

from catalogue.loader import CITY
from catalogue.rows import LimitUnit

_ONE_DAY = timedelta(days=1)
# Administrative Procedure Act, art. 51: two months where no limit was published.
_DEFAULT_MONTHS = 2


class Calendar:
    """The city's working days. `closures` maps a day to why the offices were closed."""

    def __init__(self, closures: Mapping[date, str]) -> None:
        self._holidays = holidays.country_holidays("TW")
        self._in_chinese = holidays.country_holidays("TW", language="zh_TW")
        self._closures = closures
        self.version = f"holidays-{version('holidays')}+{len(closures)}"

    def is_working_day(self, day: date) -> bool:
        return day not in self._closures and bool(self._holidays.is_working_day(day))

    def name_of(self, day: date) -> tuple[str, str]:
        """Of a holiday or a closure its name in Chinese and in English; empty on other days."""
        if (closed := self._closures.get(day)) is not None:
            return closed, closed
        return str(self._in_chinese.get(day) or ""), str(self._holidays.get(day) or "")

    def add_working_days(self, day: date, n: int) -> date:
        """The n-th working day after `day`; `day` itself is not counted."""
        while n > 0:
            day += _ONE_DAY
            n -= self.is_working_day(day)
        return day

    def first_working_day_from(self, day: date) -> date:
        while not self.is_working_day(day):
            day += _ONE_DAY
        return day

    def due_on(self, received: date, limit: int | None, unit: LimitUnit | None) -> date:
        """The last day for a case received on `received`; the clock starts the day after.

        Working days leave holidays out. Calendar days and months count them, and roll a last day
        that is none of work forward. Hours end with their day and "at once" with that of
        receipt, or the next working day.
        """
        if limit is None or unit is None:
            return self.first_working_day_from(_months_later(received, _DEFAULT_MONTHS))
        match unit:
            case "working_day":
                return self.first_working_day_from(self.add_working_days(received, limit))
            case "calendar_day":
                return self.first_working_day_from(received + timedelta(days=limit))
            case "month":
                return self.first_working_day_from(_months_later(received, limit))
            case "hour":
                return self.first_working_day_from(received + timedelta(days=limit // 24))
            case "at_once":
                return self.first_working_day_from(received)


def _months_later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    for last in range(day.day, 27, -1):
        try:
            return date(year, month + 1, last)
        except ValueError:
            continue
    return date(year, month + 1, day.day)


@cache
def city_calendar(folder: Path = CITY / "data") -> Calendar:
    """The calendar with the closures of `folder`/closures.csv (columns date, reason)."""
    with (folder / "closures.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return Calendar({date.fromisoformat(row["date"]): row["reason"] for row in rows})
