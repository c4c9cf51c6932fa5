"""Small rule sets in folders: a sound one, and what one changes of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from services.router.rules import Problem, TableError, from_document, load

HEADER = """\
ruleset: small
inputs:
  service: {type: text, names: services, meaning: code of the service}
  district: {type: text, names: districts}
  side: {type: text, values: [north, south]}
  street: {type: text}
  people: {type: integer, min: 0, max: 100000, unit: people}
  newborn: {type: yes_no}
  born_on: {type: date, min: 1900-01-01}
tables:
  lead: {hit_policy: UNIQUE}
"""
COLUMNS = "id,service,district,side,street,people,newborn,born_on,priority,lead,chain,note"
ROW = "R-1,S-1,-,-,-,-,-,-,,POLICE,,"
LEAD = f"{COLUMNS}\n{ROW}\n"
SOUND: Mapping[str, str | bytes | None] = {"ruleset.yaml": HEADER, "lead.csv": LEAD}


def folder(path: Path, files: Mapping[str, str | bytes | None] | None = None) -> Path:
    """A sound rule set at `path`, but with these files; None leaves one out."""
    path.mkdir(exist_ok=True)
    for name, content in {**SOUND, **(files or {})}.items():
        if content is not None:
            data = content if isinstance(content, bytes) else content.encode()
            (path / name).write_bytes(data)
    return path


def row(**cells: str) -> str:
    """ROW with these cells, as a line of lead.csv; quoted where it must be."""
    said = dict(zip(COLUMNS.split(","), ROW.split(","), strict=True)) | cells
    return ",".join('"' + c.replace('"', '""') + '"' if c.strip(" ") else c for c in said.values())


def lead(*rows: str) -> str:
    return "\n".join((COLUMNS, *rows)) + "\n"


def problems(path: Path) -> tuple[Problem, ...]:
    """What is told of a folder that cannot be read."""
    with pytest.raises(TableError) as error:
        load(path)
    return error.value.problems


def problem(path: Path, files: Mapping[str, str | bytes | None] | None = None) -> Problem:
    """The one thing that is told of a sound rule set with these files."""
    (found,) = problems(folder(path, files))
    return found


def sound_document() -> dict[str, Any]:
    """A rule set with all four tables, as it travels."""
    inputs = [
        {"name": "service", "type": "text", "names": "services", "meaning": "the service"},
        {"name": "side", "type": "text", "values": ["north", "south"]},
        {"name": "people", "type": "integer", "min": 0, "max": 1000, "unit": "people"},
        {"name": "newborn", "type": "yes_no"},
        {"name": "born_on", "type": "date", "min": "1900-01-01"},
    ]
    return {
        "format": 1,
        "ruleset": "small",
        "inputs": inputs,
        "hit_policies": {"lead": "UNIQUE", "joint_review": "COLLECT", "deadline": "PRIORITY"},
        "tables": {
            "lead": {
                "columns": ["id", "service", "side", "people", "priority", "lead", "chain"],
                "rows": [
                    ["L-1", "S-1", "not(south)", "< 5", "", "POLICE", "LAND; TAX"],
                    ["L-2", "S-1", "south", "[5..10]", "1", "LAND", ""],
                ],
            },
            "joint_review": {
                "columns": ["id", "service", "newborn", "agency", "task", "document"],
                "rows": [["J-1", "-", "yes", "TAX", "query", "HH_RECORD"]],
            },
            "deadline": {
                "columns": ["id", "service", "born_on", "limit", "unit", "steps", "note"],
                "rows": [["D-1", "-", ">= 2026-01-01; missing", "4", "working_day", "1; 3", "南"]],
            },
            "assume": {"columns": ["id", "side"], "rows": [["A-1", "missing"]]},
        },
    }


def refused(document: Any) -> tuple[Problem, ...]:
    """What is told of a document that cannot be read."""
    with pytest.raises(TableError) as error:
        from_document(document)
    return error.value.problems
