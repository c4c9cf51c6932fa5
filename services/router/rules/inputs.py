"""The inputs of a rule set: what a fact may be, and the check that it is that."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from services.router.rules.conditions import (
    ConditionError,
    Type,
    Value,
    ordered,
    read_number,
    write_value,
)
from services.router.rules.errors import FactError

Fact = str | bool | int | None
NAMES = ("services", "districts", "agencies")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TYPES = ("text", "integer", "yes_no", "date")
_KEYS = ("type", "values", "names", "min", "max", "unit", "meaning")
_OTHER_COLUMNS = ("id", "priority", "rule", "basis", "note", "tried")
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
        if known is not None and fact not in known:
            some = ", ".join(sorted(known)[:12])
            more = ", ..." if len(known) > 12 else ""
            raise FactError(self.name, fact, f"one of {some}{more}")
        return fact

    @property
    def ordered(self) -> bool:
        return ordered(self.type)


def read_input(name: str, said: Any) -> Input:
    """An input as ruleset.yaml or the document describes it. Raises ValueError."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"input {name!r}: a name is small letters, digits and _")
    if name in _OTHER_COLUMNS or name in _OUTPUTS:
        raise ValueError(f"input {name!r}: this name belongs to another column")
    if not isinstance(said, Mapping):
        raise ValueError(f"input {name}: expected {{type: ..., meaning: ...}}")
    if unknown := [key for key in said if key not in _KEYS]:
        raise ValueError(f"input {name}: unknown key {unknown[0]!r}; known are {', '.join(_KEYS)}")
    kind = said.get("type")
    if kind not in _TYPES:
        raise ValueError(f"input {name}: type is {kind!r}, expected one of {', '.join(_TYPES)}")
    values, names = said.get("values"), said.get("names")
    if (values is not None or names is not None) and kind != "text":
        raise ValueError(f"input {name}: values and names are for text")
    if values is not None and names is not None:
        raise ValueError(f"input {name}: has values and names; only one of them")
    if names is not None and names not in NAMES:
        raise ValueError(f"input {name}: names is {names!r}, expected one of {', '.join(NAMES)}")
    if values is not None and (
        not isinstance(values, list)
        or not values
        or not all(isinstance(value, str) and value for value in values)
        or len(set(values)) < len(values)
    ):
        raise ValueError(
            f"input {name}: values must be a list of different texts"
            " (quote yes, no and numbers: YAML reads them as something else)"
        )
    if ("min" in said or "max" in said) and not ordered(kind):
        raise ValueError(f"input {name}: min and max are for integer and date")
    least, most = (_bound(name, kind, said.get(key)) for key in ("min", "max"))
    if kind == "date":
        least, most = least or 1, most or date.max.toordinal()
    if least is not None and most is not None and least > most:
        raise ValueError(f"input {name}: min is above max")
    return Input(
        name,
        kind,
        frozenset(values) if values is not None else None,
        names,
        least,
        most,
        str(said.get("meaning", "")),
        str(said.get("unit", "")),
    )


def _bound(name: str, kind: Type, said: Any) -> int | None:
    if said is None:
        return None
    if isinstance(said, bool) or (kind == "integer" and not isinstance(said, int)):
        raise ValueError(f"input {name}: {said!r} is no whole number")
    try:
        return read_number(str(said), kind)
    except ConditionError as error:
        raise ValueError(f"input {name}: {error}") from None


def read_inputs(said: Mapping[str, Any]) -> tuple[Input, ...]:
    """All inputs in order. Raises ValueError."""
    inputs = tuple(read_input(name, one) for name, one in said.items())
    if not inputs or inputs[0].name != "service" or inputs[0].type != "text":
        raise ValueError("the first input must be service, of type text")
    if inputs[0].values is not None or inputs[0].names not in (None, "services"):
        raise ValueError("service may have names: services, and no values")
    return inputs
