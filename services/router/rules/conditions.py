"""The language of the cells: what a condition says, read from and written to text.

Integers and dates (as day numbers) are sets of closed intervals, everything else is a set of
values or what is left without them; both with or without the missing fact.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Literal

from services.router.rules.errors import shown, unseen
from services.router.rules.hints import INTEGER, date_hint, folded, number_hint

Type = Literal["text", "integer", "yes_no", "date"]
Value = str | bool | int
# The ends of an interval; None is open to that side. Dates are days as date.toordinal() counts.
Interval = tuple[int | None, int | None]
FIRST_DAY, LAST_DAY = 1, date.max.toordinal()

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NOT = re.compile(r"not\s*\((.*)\)", re.DOTALL)
_RANGE = re.compile(r"([\[(]?)(.*?)\.\.(.*?)([\])]?)", re.DOTALL)
_COMPARISON = re.compile(r"(<=|>=|<|>)(.*)", re.DOTALL)
_ITEM = re.compile(r'(?:"(?:[^"]|"")*"|[^;"])+|;')
_WORDS = ("-", "missing", "present")
_SEPARATORS = ("；", "、")
# What can hardly be meant as a text: －, Missing, NOT (a), ＜5, as it is when folded.
_LIKE_A_WORD = re.compile(r"(-)|(missing|present)|(not\s*\().*|([<>]).*", re.DOTALL)
_ALONE = "{!r} stands alone in a cell"
_NO_RANGE = "ranges are for integers and dates; quote it as a text"


class ConditionError(ValueError):
    """A cell that is no condition; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a cell matches.

    Ordered (integer, date): `intervals`, apart and in order. Else: `values`, or with `negated`
    every other value. `missing`: the missing fact as well.
    """

    text: str = field(compare=False)
    missing: bool
    values: frozenset[Value] = frozenset()
    negated: bool = False
    intervals: tuple[Interval, ...] = ()
    # The numbers that an ordered cell names, as they stand there.
    named: tuple[int, ...] = field(default=(), compare=False)

    @property
    def anything(self) -> bool:
        return self.missing and (self.intervals == _ALL or (self.negated and not self.values))

    def holds_value(self, value: Value) -> bool:
        """For values that are not ordered."""
        return (value in self.values) != self.negated

    def holds_number(self, number: int) -> bool:
        """For integers and dates."""
        return any(
            (low is None or low <= number) and (high is None or number <= high)
            for low, high in self.intervals
        )


_ALL: tuple[Interval, ...] = ((None, None),)


def ordered(kind: Type) -> bool:
    return kind in ("integer", "date")


@lru_cache(maxsize=1 << 16)
def read_condition(text: str, kind: Type) -> Condition:
    """The condition in a cell of an input of that type. Raises ConditionError."""
    try:
        return _read(text, kind)
    except ConditionError as error:
        plain = _plain(text, kind)
        if plain == text:
            raise
        try:
            _read(plain, kind)
        except ConditionError:
            raise error from None
        raise ConditionError(f"{error}; write {shown(plain)}") from None


def _read(text: str, kind: Type) -> Condition:
    if text == "-":
        return _everything(text, kind, missing=True)
    if text == "present":
        return _everything(text, kind, missing=False)
    if not text:
        raise ConditionError("is empty: write '-' for anything")
    if found := _NOT.fullmatch(text):
        items = _items(found[1])
        if "missing" in items:
            raise ConditionError("'missing' cannot stand inside not(...)")
        condition = _complement(text, kind, _union(text, kind, items))
    else:
        items = _items(text)
        rest = [item for item in items if item != "missing"]
        condition = _union(text, kind, rest, missing=len(rest) < len(items))
    if not _holds_anything(condition, kind):
        raise ConditionError("nothing can match this")
    return condition


def _plain(text: str, kind: Type) -> str:
    """The cell with half-width signs: what was probably meant."""
    if kind == "text":
        return text.replace("；", ";").replace("、", ";")
    return folded(text)


def _everything(text: str, kind: Type, *, missing: bool) -> Condition:
    if ordered(kind):
        return Condition(text, missing, intervals=_ALL)
    return Condition(text, missing, negated=True)


def _items(text: str) -> list[str]:
    """The parts between semicolons that stand outside of quotes."""
    if text.count('"') % 2:
        raise ConditionError("a quotation mark is left open")
    parts = _ITEM.findall(text)
    items = [part.strip() for part in parts if part != ";"]
    if len(parts) != 2 * len(items) - 1 or "" in items:
        raise ConditionError("an item is empty: two semicolons, or one at the end")
    return items


def _union(text: str, kind: Type, items: list[str], *, missing: bool = False) -> Condition:
    if ordered(kind):
        named: list[int] = []
        intervals = _merged([_interval(item, kind, named) for item in items])
        return Condition(text, missing, intervals=intervals, named=tuple(named))
    return Condition(text, missing, values=frozenset(read_value(item, kind) for item in items))


def _complement(text: str, kind: Type, inner: Condition) -> Condition:
    if not ordered(kind):
        return Condition(text, missing=False, values=inner.values, negated=True)
    gaps: list[Interval] = []
    start: int | None = None
    for low, high in inner.intervals:
        if low is not None:
            gaps.append((start, low - 1))
        if high is None:
            break
        start = high + 1
    else:
        gaps.append((start, None))
    return Condition(text, missing=False, intervals=tuple(gaps), named=inner.named)


def _holds_anything(condition: Condition, kind: Type) -> bool:
    if condition.missing or ordered(kind):
        return condition.missing or any(_possible(one, kind) for one in condition.intervals)
    if kind == "yes_no" and condition.negated:
        return len(condition.values) < 2
    return condition.negated or bool(condition.values)


def _possible(interval: Interval, kind: Type) -> bool:
    low, high = interval
    return kind != "date" or (
        (low is None or low <= LAST_DAY) and (high is None or high >= FIRST_DAY)
    )


def _merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The same numbers as intervals that are apart and in order."""
    found: list[Interval] = []
    for low, high in sorted(intervals, key=lambda one: (one[0] is not None, one[0] or 0)):
        if found:
            before, end = found[-1]
            if end is None:
                break
            if low is None or low <= end + 1:
                found[-1] = (before, None if high is None else max(end, high))
                continue
        found.append((low, high))
    return tuple(found)


def _interval(item: str, kind: Type, named: list[int]) -> Interval:
    """One item; the numbers that it names are added to `named`."""
    if found := _COMPARISON.fullmatch(item):
        sign, number = found[1], read_number(found[2].strip(), kind)
        named.append(number)
        match sign:
            case "<":
                return (None, number - 1)
            case "<=":
                return (None, number)
            case ">":
                return (number + 1, None)
            case _:
                return (number, None)
    if ".." in item and (found := _RANGE.fullmatch(item)):
        opening, first, last, closing = (part.strip() for part in found.groups())
        if bool(opening) != bool(closing):
            raise ConditionError(f"{shown(item)}: a range has both brackets or none, as [1..5)")
        low, high = read_number(first, kind), read_number(last, kind)
        named += [low, high]
        low += opening == "("
        high -= closing == ")"
        if low > high:
            raise ConditionError(f"{shown(item)}: this range holds nothing")
        return (low, high)
    number = read_number(item, kind)
    named.append(number)
    return (number, number)


def read_number(text: str, kind: Type) -> int:
    """An integer, or a date as a day number. Raises ConditionError."""
    if not text:
        raise ConditionError("a value is missing beside '..' or behind a sign")
    if text in _WORDS:
        raise ConditionError(_ALONE.format(text))
    if kind == "date":
        if _DATE.fullmatch(text):
            try:
                return date.fromisoformat(text).toordinal()
            except ValueError:
                raise ConditionError(f"{shown(text)}: there is no such day") from None
        raise ConditionError(f"{shown(text)} is no date YYYY-MM-DD{date_hint(text)}")
    if INTEGER.fullmatch(text) and text != "-0":
        return int(text)
    raise ConditionError(f"{shown(text)} is no whole number{number_hint(text)}")


def read_value(text: str, kind: Type) -> Value:
    """A value that is not ordered. Raises ConditionError."""
    if kind == "yes_no":
        if text in ("yes", "no"):
            return text == "yes"
        raise ConditionError(f"{shown(text)} is neither yes nor no")
    if hidden := unseen(text):
        raise ConditionError(f"{shown(text)} holds {hidden}, which nobody sees: type it anew")
    if text.startswith('"'):
        if re.fullmatch(r'"(?:[^"]|"")+"', text) is None:
            detail = "a quoted text is one pair of marks around all of it"
            raise ConditionError(f"{shown(text)}: {detail}")
        return text[1:-1].replace('""', '"')
    if '"' in text:
        detail = "quote the whole text, a mark inside is written twice"
        raise ConditionError(f"{shown(text)}: {detail}")
    for mark in _SEPARATORS:
        if mark in text:
            raise ConditionError(f"{shown(text)} holds {mark!r}: separate values by ';'")
    if text in _WORDS:
        raise ConditionError(_ALONE.format(text) + ", or is quoted when it is a value")
    if ".." in text:
        raise ConditionError(f"{shown(text)}: {_NO_RANGE}")
    if found := _LIKE_A_WORD.fullmatch(folded(text)):
        dash, word, negation, _ = found.groups()
        if negation:
            detail = "not(...) stands alone in a cell, in small letters and half-width brackets"
        elif dash or word:
            detail = f"write {shown(dash or word)} or, when it is a value, quote it"
        else:
            detail = _NO_RANGE
        raise ConditionError(f"{shown(text)}: {detail}")
    return text


def write_value(value: Value, kind: Type) -> str:
    """The value as a cell says it."""
    if kind == "yes_no":
        return "yes" if value else "no"
    if kind == "date":
        return date.fromordinal(int(value)).isoformat()
    text = str(value)
    special = any(mark in text for mark in ('"', ";", "..", *_SEPARATORS)) or text != text.strip()
    if kind == "text" and (special or _LIKE_A_WORD.fullmatch(folded(text))):
        return '"' + text.replace('"', '""') + '"'
    return text


def write_interval(interval: Interval, kind: Type) -> str:
    low, high = interval
    if kind == "date":
        # The ends of the calendar are no bounds that anybody set.
        low, high = (None if low == FIRST_DAY else low), (None if high == LAST_DAY else high)
    if low is None or high is None:
        if low is None and high is None:
            return "present"
        return f"<= {write_value(high, kind)}" if high is not None else f">= {_low(low, kind)}"
    if low == high:
        return write_value(low, kind)
    return f"{write_value(low, kind)}..{write_value(high, kind)}"


def _low(low: int | None, kind: Type) -> str:
    assert low is not None
    return write_value(low, kind)
