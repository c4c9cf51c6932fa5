"""The cells of docs/rules-format.md, read a second time and written from that page alone."""

import datetime as dt
import re
from typing import Any

Fact = str | int | bool | None
Condition = tuple[Any, ...]  # ("any",) ("present",) ("not", items) ("list", items)

ANY: Condition = ("any",)
UNHEARD = "never heard of"  # a text that no cell mentions
# Values of each type that are there whatever the cells mention.
PLAIN: dict[str, set[Fact]] = {
    "text": {UNHEARD},
    "integer": {0},
    "yes_no": {True, False},
    "date": {"2000-01-01"},
}


class Unreadable(Exception):  # noqa: N818  (what it is, not that it is an error)
    """A cell that is no condition."""


def split(text: str, mark: str) -> list[str]:
    """The parts between `mark`, but not where it stands inside quotes."""
    parts, start, quoted, at = [], 0, False, 0
    while at < len(text):
        if text[at] == '"':
            quoted = not quoted
        if not quoted and text.startswith(mark, at):
            parts.append(text[start:at])
            at = start = at + len(mark)
        else:
            at += 1
    return [*parts, text[start:]]


def read_value(text: str, kind: str) -> Fact:
    text = text.strip()
    if kind == "text" and re.fullmatch(r'"([^"]|"")*"', text):
        text = text[1:-1].replace('""', '"')
    elif re.search('["；、;]', text):
        raise Unreadable(text)
    if kind == "integer" and re.fullmatch(r"0|-?[1-9][0-9]{0,14}", text):
        return int(text)
    if kind == "yes_no" and text in ("yes", "no"):
        return text == "yes"
    if kind == "date" and is_date(text):
        return text
    if kind == "text" and text:
        return text
    raise Unreadable(text)


def is_date(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text)) and bool(
            dt.date.fromisoformat(text)
        )
    except ValueError:
        return False


def read_item(text: str, kind: str) -> Condition:
    """("missing",), ("value", v), or ("from", low, low belongs, high, high belongs)."""
    text = text.strip()
    if text == "missing":
        return ("missing",)
    if text in ("", "-", "present") or text.startswith("not("):
        raise Unreadable(text)
    ends = split(text, "..")
    if len(ends) == 1 and text[0] not in "<>":
        return ("value", read_value(text, kind))
    if kind not in ("integer", "date"):
        raise Unreadable(text)
    if text[0] in "<>":
        sign = text[:2] if text[1:2] == "=" else text[0]
        value = read_value(text[len(sign) :], kind)
        closed = sign.endswith("=")
        whole: dict[str, Condition] = {
            "<": ("from", None, True, value, closed),
            ">": ("from", value, closed, None, True),
        }
        return whole[sign[0]]
    if len(ends) != 2:
        raise Unreadable(text)
    low, high, low_in, high_in = ends[0], ends[1], True, True
    if low[:1] in ("[", "(") and high[-1:] in ("]", ")"):
        low_in, high_in = low[0] == "[", high[-1] == "]"
        low, high = low[1:], high[:-1]
    item = ("from", read_value(low, kind), low_in, read_value(high, kind), high_in)
    if not any(item_matches(item, value) for value in around(item, kind)):
        raise Unreadable(text)
    return item


def read_cell(text: str, kind: str) -> Condition:
    text = text.strip()
    if text in ("-", "present"):
        return ANY if text == "-" else ("present",)
    negated = text.startswith("not(") and text.endswith(")")
    inner = text[4:-1] if negated else text
    if inner.count('"') % 2:
        raise Unreadable(text)
    items = tuple(read_item(part, kind) for part in split(inner, ";"))
    if negated and ("missing",) in items:
        raise Unreadable(text)
    condition = ("not" if negated else "list", items)
    if not any(matches(condition, fact) for fact in {None} | mentioned(condition, kind)):
        raise Unreadable(text)
    return condition


def item_matches(item: Condition, fact: Fact) -> bool:
    if item == ("missing",):
        return fact is None
    if fact is None:
        return False
    if item[0] == "value":
        return bool(fact == item[1])
    _, low, low_in, high, high_in = item
    above: bool = low is None or fact > low or (low_in and fact == low)
    below: bool = high is None or fact < high or (high_in and fact == high)
    return above and below


def matches(condition: Condition, fact: Fact) -> bool:
    if condition == ANY:
        return True
    if condition == ("present",):
        return fact is not None
    some = any(item_matches(item, fact) for item in condition[1])
    return some if condition[0] == "list" else fact is not None and not some


def bounds(item: Condition) -> list[Any]:
    """The values that stand in an item."""
    return [item[at] for at in (1, 3) if at < len(item) and item[at] is not None]


def around(item: Condition, kind: str) -> set[Fact]:
    """The values that an item mentions, with those just before and after."""
    return {near for value in bounds(item) for near in (value, *beside(value, kind))}


def beside(value: Any, kind: str) -> list[Fact]:
    if kind == "integer":
        return [value - 1, value + 1]
    if kind == "date":
        day = dt.date.fromisoformat(value).toordinal()
        last = dt.date.max.toordinal()
        return [dt.date.fromordinal(d).isoformat() for d in (day - 1, day + 1) if 1 <= d <= last]
    return []


def mentioned(condition: Condition, kind: str) -> set[Fact]:
    """The values worth a try for a condition."""
    items = condition[1] if len(condition) > 1 else ()
    return PLAIN[kind].union(*(around(item, kind) for item in items))
