"""ruleset.yaml: the name, the inputs and the hit policies of a rule set."""

from pathlib import Path
from typing import Any

import yaml

from services.router.rules.conditions import ConditionError, read_number
from services.router.rules.errors import Problem, near, shown
from services.router.rules.files import read_text
from services.router.rules.inputs import read_inputs
from services.router.rules.rows import POLICIES

HEADER = "ruleset.yaml"
_KEYS = ("ruleset", "inputs", "tables")


class _HeaderError(ValueError):
    """What cannot be read, and in which line."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def read_header(path: Path, problems: list[Problem]) -> dict[str, Any]:
    """The document of a rule set without its tables; empty, and a problem, when it is none."""
    text = read_text(path, problems)
    if text is None:
        return {}
    try:
        return _document(_load(text))
    except _HeaderError as error:
        problems.append(Problem("T004", path.name, error.line, None, "", str(error)))
    except ValueError as error:
        problems.append(Problem("T004", path.name, None, None, "", str(error)))
    return {}


class _Loader(yaml.BaseLoader):
    """Every scalar is text, as in YAML's failsafe schema: `yes` and 010 stay what they are."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _HeaderError("an alias (*name) is not read: write it out", mark.line + 1)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _HeaderError("a key is a word", line)
            if key.value in seen:
                raise _HeaderError(f"the key {shown(key.value)} is there twice", line)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _load(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - it makes texts, lists and mappings only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        cause = getattr(error, "problem", None) or getattr(error, "reason", None)
        detail = f"is no YAML: {cause}" if cause else "is no YAML"
        raise _HeaderError(detail, mark.line + 1 if mark else None) from None
    except RecursionError:
        raise _HeaderError("is no header of a rule set: hundreds of levels deep") from None


def _document(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise ValueError("expected the keys ruleset, inputs and tables")
    for key in said:
        if key not in _KEYS:
            hint = near(key, _KEYS)
            raise ValueError(f"unknown key {shown(key)}{hint}; known are {', '.join(_KEYS)}")
    described, tables = said.get("inputs"), said.get("tables") or {}
    if not isinstance(described, dict):
        raise ValueError("inputs: expected a name and a description for each input")
    inputs = {name: _plain(one) for name, one in described.items()}
    read_inputs(inputs)
    return {
        "format": 1,
        "ruleset": said.get("ruleset"),
        "inputs": [{"name": name, **one} for name, one in inputs.items()],
        "hit_policies": _policies(tables),
    }


def _plain(said: Any) -> Any:
    """A description of an input as it travels: whole numbers are numbers, what is empty goes."""
    if not isinstance(said, dict):
        return said
    found = {key: one for key, one in said.items() if one != "" or key not in ("meaning", "unit")}
    if found.get("type") == "integer":
        for key in found.keys() & {"min", "max"}:
            try:
                found[key] = read_number(found[key], "integer")
            except (ConditionError, TypeError):
                continue  # read_inputs says what is wrong with it
    return found


def _policies(said: Any) -> dict[str, str]:
    policies: dict[str, str] = {name: allowed[0] for name, allowed in POLICIES.items()}
    if not isinstance(said, dict):
        raise ValueError("tables: expected the name of a table and {hit_policy: ...}")
    for name, one in said.items():
        if name not in POLICIES:
            known = ", ".join(POLICIES)
            hint = near(name, POLICIES)
            raise ValueError(f"tables: unknown {shown(name)}{hint}; known are {known}")
        if not isinstance(one, dict) or list(one) != ["hit_policy"]:
            raise ValueError(f"tables: {name}: expected {{hit_policy: {POLICIES[name][0]}}}")
        policies[name] = one["hit_policy"]
    return policies
