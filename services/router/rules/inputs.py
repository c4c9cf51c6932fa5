"""The inputs of a rule set: what a fact may be, and the check that it is that."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.router.rules.conditions import (
    FIRST_DAY,
    LAST_DAY,
    ConditionError,
    Type,
    Value,
    ordered,
    read_number,
    write_value,
)
from services.router.rules.errors import FactError, near, shown, unseen

Fact = str | bool | int | None
NAMES = ("services", "districts", "agencies")
# A decision is compiled from the inputs; a city has some twenty.
MOST_INPUTS = 200
_MOST = 10**15 - 1
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TYPES = ("text", "integer", "yes_no", "date")
_KEYS = ("type", "values", "names", "min", "max", "unit", "meaning")
_OTHER_COLUMNS = ("id", "priority", "rule", "basis", "note")
# What the router writes beside the facts of a decision that no rule took.
_OF_THE_ROUTER = ("tried", "after", "step", "proposed", "returned_by")
_OUTPUTS = ("lead", "chain", "responsible", "agency", "task", "document", "limit", "unit", "steps")


@dataclass(frozen=True, slots=True)
class Input:
    """One input. `least` and `most` are inclusive, for dates as day numbers."""

    name: str
    type: Type
    values: frozenset[str] | None = None
    names: str | None = None
    least: int | None = None
    most: int | None = None
    meaning: str = ""
    unit: str = ""

    def number(self, fact: Fact) -> int | None:
        """An ordered fact as a number. Raises FactError."""
        if fact is None:
            return None
        if self.type == "integer":
            if type(fact) is not int:
                raise FactError(self.name, fact, "a whole number (JSON, without quotes)")
            number = fact
        else:
            try:
                if not isinstance(fact, str):
                    raise ConditionError("")
                number = read_number(fact, "date")
            except ConditionError:
                raise FactError(self.name, fact, "a date YYYY-MM-DD") from None
        if self.least is not None and number < self.least:
            raise FactError(self.name, fact, f"at least {write_value(self.least, self.type)}")
        if self.most is not None and number > self.most:
            raise FactError(self.name, fact, f"at most {write_value(self.most, self.type)}")
        return number

    def value(self, fact: Fact, known: frozenset[str] | None) -> Value | None:
        """A fact that is not ordered; `known` are those of a closed input. Raises FactError."""
        if fact is None:
            return None
        if self.type == "yes_no":
            if not isinstance(fact, bool):
                raise FactError(self.name, fact, "true or false")
            return fact
        if not isinstance(fact, str) or not fact:
            raise FactError(self.name, fact, "a text")
        if not fact.isascii() and not is_unicode(fact):
            raise FactError(self.name, fact, "a text without halves of surrogate pairs")
        if known is not None and fact not in known:
            some = ", ".join(sorted(known)[:12])
            more = ", ..." if len(known) > 12 else ""
            raise FactError(self.name, fact, f"one of {some}{more}")
        return fact

    @property
    def ordered(self) -> bool:
        return ordered(self.type)


def is_unicode(text: str) -> bool:
    """Whether it is without halves of surrogate pairs, which JSON can say and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_input(name: str, said: Any) -> Input:
    """An input as the document describes it. Raises ValueError."""

    def wrong(message: str) -> ValueError:
        return ValueError(f"input {name}: {message}")

    if not _NAME.fullmatch(name):
        raise ValueError(
            f"input {shown(name)}: a name is small letters, digits and _, at most 40,"
            " and begins with a letter"
        )
    if name in (*_OTHER_COLUMNS, *_OUTPUTS, *_OF_THE_ROUTER):
        raise wrong("this name belongs to another column")
    if not isinstance(said, Mapping):
        raise wrong("expected {type: ..., meaning: ...}")
    for key in said:
        if key not in _KEYS:
            hint = near(str(key), _KEYS)
            raise wrong(f"unknown key {shown(key)}{hint}; known are {', '.join(_KEYS)}")
    kind = said.get("type")
    if kind not in _TYPES:
        raise wrong(f"type is {shown(kind)}, expected one of {', '.join(_TYPES)}")
    values, names = said.get("values"), said.get("names")
    if (values is not None or names is not None) and kind != "text":
        raise wrong("values and names are for text")
    if values is not None and names is not None:
        raise wrong("has values and names; only one of them")
    if names is not None and names not in NAMES:
        raise wrong(f"names is {shown(names)}, expected one of {', '.join(NAMES)}")
    if ("min" in said or "max" in said) and not ordered(kind):
        raise wrong("min and max are for integer and date")
    try:
        known = _values(values)
        meaning, unit = (_text(key, said.get(key, "")) for key in ("meaning", "unit"))
        least, most = (_bound(key, kind, said.get(key)) for key in ("min", "max"))
    except ValueError as error:
        raise wrong(str(error)) from None
    if kind == "date":
        least, most = least or FIRST_DAY, most or LAST_DAY
    if least is not None and most is not None and least > most:
        raise wrong("min is above max")
    return Input(name, kind, known, names, least, most, meaning, unit)


def _values(said: Any) -> frozenset[str] | None:
    if said is None:
        return None
    if not isinstance(said, list) or not said:
        raise ValueError("values: expected a list of texts")
    found: set[str] = set()
    for one in said:
        if not isinstance(one, str) or not one:
            raise ValueError(f"values: {shown(one)} is no text")
        if hidden := unseen(one):
            raise ValueError(f"values: {shown(one)} holds {hidden}, which nobody sees")
        if one in found:
            raise ValueError(f"values: {shown(one)} is there twice")
        found.add(one)
    return frozenset(found)


def _text(key: str, said: Any) -> str:
    if not isinstance(said, str) or not is_unicode(said):
        raise ValueError(f"{key} is {shown(said)}, expected a text")
    return said


def _bound(key: str, kind: Type, said: Any) -> int | None:
    """`min` or `max`: an integer, or a date as text."""
    if said is None:
        return None
    if type(said) is int and kind == "integer":
        if abs(said) > _MOST:
            raise ValueError(f"{key}: more than 15 digits")
        return said
    if not isinstance(said, str):
        raise ValueError(f"{key} is {shown(said)}, expected a {_WORDS[kind]}")
    number = read_number(said, kind)
    if kind == "integer":
        raise ValueError(f"{key} is {shown(said)}: a number stands without quotes")
    return number


_WORDS: Mapping[Type, str] = {"integer": "whole number", "date": "date YYYY-MM-DD"}


def read_inputs(said: Mapping[str, Any]) -> tuple[Input, ...]:
    """All inputs in order. Raises ValueError."""
    if len(said) > MOST_INPUTS:
        raise ValueError(f"inputs: more than {MOST_INPUTS}")
    inputs = tuple(read_input(name, one) for name, one in said.items())
    if not inputs or inputs[0].name != "service" or inputs[0].type != "text":
        raise ValueError("inputs: the first must be service, of type text")
    if inputs[0].values is not None or inputs[0].names not in (None, "services"):
        raise ValueError("input service: may have names: services, and no values")
    return inputs
