"""Examples: one sound thing of each kind, of which a test changes what it is about."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from services.backoffice.domain import Case
from services.notifier.domain import Notice
from services.router.domain import Release
from services.router.rules import Names, RuleSet, from_document, load
from shared.contract.events import (
    ApplicationConfirmationRequested,
    ApplicationPreferencesRequested,
    ApplicationSubmitted,
    ApplicationSupplemented,
    ApplicationWithdrawn,
    CaseAssigned,
    CaseReturned,
    CaseRouted,
    CaseStatusChanged,
    CaseStepCompleted,
    CaseUpdate,
    Decision,
    DecisionShadowed,
    Event,
    NoticeStateChanged,
    RulesReleased,
)
from shared.contract.wire import Outgoing, Record, decode, encode

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
CASE = UUID("11111111-2222-4333-8444-555555555555")
NUMBER = "20261124-0000123-9"
# What a dead letter has behind the headers of its record, in this order.
DEAD_HEADERS = [
    "dead_code",
    "dead_error",
    "dead_topic",
    "dead_partition",
    "dead_offset",
    "dead_group",
    "dead_first_at",
    "dead_last_at",
    "dead_tries",
]
DECISION = Decision(outcome="rule", ruleset="lead", version="v1", rule="SVC-1", facts={})

_ENVELOPE = {"source": "test", "time": NOW, "case_id": CASE, "number": NUMBER}
_CARRIED = _ENVELOPE | {
    "service": "SVC-001",
    "received_at": NOW,
    "facts": {"district": "大安區", "side_of_aiguo": None},
    "sealed": "c2VhbGVk",
}
_DEFAULTS: dict[type[Event], dict[str, Any]] = {
    ApplicationSubmitted: _CARRIED,
    ApplicationConfirmationRequested: _ENVELOPE
    | {"service": "SVC-001", "sealed": "bmV3", "channel": "mail"},
    ApplicationPreferencesRequested: _ENVELOPE
    | {"service": "SVC-001", "channel": "mail", "proven": True},
    ApplicationSupplemented: _ENVELOPE | {"service": "SVC-001", "sealed": "bmV3"},
    ApplicationWithdrawn: _ENVELOPE | {"service": "SVC-001"},
    CaseAssigned: _CARRIED
    | {
        "cause": UUID(int=7),
        "agency": "DOSW",
        "responsible": "DOSW",
        "step": 1,
        "chain": (),
        "tried": (),
        "decision": DECISION,
    },
    CaseRouted: _ENVELOPE
    | {
        "cause": UUID(int=7),
        "assignment": UUID(int=8),
        "service": "SVC-001",
        "agency": "DOSW",
        "step": 1,
        "tried": (),
        "decision": DECISION,
    },
    CaseReturned: _CARRIED
    | {"agency": "DOSW", "reason": "not ours", "tried": ("DOSW",), "step": 1, "chain": ()},
    CaseStepCompleted: _CARRIED | {"agency": "DO-DA", "step": 1, "chain": ("DOSW",)},
    CaseStatusChanged: _ENVELOPE
    | {
        "service": "SVC-001",
        "agency": "DOSW",
        "from_status": "ASSIGNED",
        "to_status": "ACCEPTED",
        "path": ("ACCEPTED",),
        "by": "clerk:Chen",
    },
    CaseUpdate: _ENVELOPE | {"command": "accept"},
    NoticeStateChanged: _ENVELOPE
    | {
        "notice": UUID(int=9),
        "cause": UUID(int=7),
        "channel": "sms",
        "template": "received",
        "state": "sent",
        "provider": "test",
    },
    DecisionShadowed: _ENVELOPE
    | {
        "service": "SVC-001",
        "release": 2,
        "version": "v2",
        "live_version": "v1",
        "agency": "DOSW",
        "rule": "SVC-1",
        "live_agency": "TRIAGE",
        "live_rule": None,
        "differs": ("lead",),
    },
}


def event(model: type[Event], **changes: Any) -> Any:
    """A sound event of this type, with an id of its own."""
    return model(**{"id": uuid4(), **_DEFAULTS[model], **changes})


def record(out: Outgoing, **changes: Any) -> Record:
    """What a consumer would read of a record that was sent."""
    read: dict[str, Any] = {
        "topic": out.topic,
        "partition": 0,
        "offset": 0,
        "timestamp_ms": 0,
        "key": out.key,
        "headers": out.headers,
        "value": out.value,
    }
    return Record(**(read | changes))


def read_back(out: Outgoing) -> Any:
    """The event in a record that was sent."""
    return decode(record(out))


def record_of(told: Event, topic: str = "cases.events") -> Record:
    return record(encode(topic, told))


def case(**changes: Any) -> Case:
    """A case that has just come to an agency."""
    values: dict[str, Any] = {
        "case_id": CASE,
        "number": NUMBER,
        "service": "SVC-001",
        "agency": "DOSW",
        "responsible": "DOSW",
        "status": "ASSIGNED",
        "step": 1,
        "chain": (),
        "tried": (),
        "facts": {"district": "大安區", "side_of_aiguo": None},
        "sealed": "c2VhbGVk",
        "received_at": NOW,
        "assigned_at": NOW,
        "due_on": date(2026, 12, 2),
    }
    return Case(**(values | changes))


def notice(**changes: Any) -> Notice:
    values: dict[str, Any] = {
        "notice_id": uuid4(),
        "cause": UUID(int=7),
        "case_id": CASE,
        "number": NUMBER,
        "channel": "sms",
        "template": "received",
        "happened_at": NOW,
        "context": {
            "number": NUMBER,
            "service_name": {"zh-TW": "服務", "en": "service"},
            "agency_name": {"zh-TW": "", "en": ""},
        },
    }
    return Notice(**(values | changes))


RULES = Path(__file__).resolve().parents[1] / "catalogue" / "rules"
NAMES = Names(
    services=frozenset({"SVC-A"}),
    agencies=frozenset({"AGENCY-A", "AGENCY-B", "AGENCY-C"}),
    districts=frozenset({"大安區", "中正區"}),
)
"""A small city, all of whose cases `rule_row()` decides."""

Row = dict[str, str]
_INPUTS: list[dict[str, Any]] = [
    {"name": "service", "type": "text", "names": "services"},
    {"name": "district", "type": "text", "names": "districts"},
    {"name": "side_of_aiguo", "type": "text", "values": ["north", "south"]},
]


def rule_row(**changes: str) -> Row:
    """A row of the lead table: SVC-A in any district goes to AGENCY-A."""
    return {"id": "A", "service": "SVC-A", "lead": "AGENCY-A"} | changes


def deadline_row(**changes: str) -> Row:
    """A row of the deadline table: SVC-A has 5 working days."""
    return {"id": "D-A", "service": "SVC-A", "limit": "5", "unit": "working_day"} | changes


def review_row(**changes: str) -> Row:
    """A row of the table of joint reviews: AGENCY-B reviews SVC-A."""
    return {"id": "R-A", "service": "SVC-A", "agency": "AGENCY-B", "task": "review"} | changes


def document(*lead: Row, deadline: Sequence[Row] = (), reviews: Sequence[Row] = ()) -> Any:
    """A rule set as it travels. A condition that a row leaves out is `-`, anything else empty."""
    rows = {"lead": lead, "joint_review": reviews, "deadline": deadline}
    return {
        "format": 1,
        "ruleset": "lead",
        "inputs": _INPUTS,
        "hit_policies": {"lead": "UNIQUE", "joint_review": "COLLECT", "deadline": "PRIORITY"},
        "tables": {name: _table(found) for name, found in rows.items() if found},
    }


def _table(rows: Sequence[Row]) -> dict[str, Any]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    empty = {one["name"]: "-" for one in _INPUTS}
    cells = [[row.get(column, empty.get(column, "")) for column in columns] for row in rows]
    return {"columns": columns, "rows": cells}


def version(tables: Any) -> str:
    """The version of a document, made as docs/rules-format.md says."""
    text = json.dumps(tables, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def released(tables: Any, **changes: Any) -> RulesReleased:
    """The event that releases a document."""
    values: dict[str, Any] = {
        "id": uuid4(),
        "source": "console",
        "time": NOW,
        "ruleset": "lead",
        "release": 1,
        "version": version(tables),
        "effective_from": date(2020, 1, 1),
        "approvers": ("the mayor",),
        "tables": tables,
        "names": replace(NAMES, services=frozenset()).to_json(),
    }
    return RulesReleased(**(values | changes))


def rules_of(*lead: Row, **tables: Any) -> RuleSet:
    return from_document(document(*lead, **tables))


def release(rules: RuleSet, **changes: Any) -> Release:
    """These rules in force, or in shadow."""
    values: dict[str, Any] = {
        "number": 1,
        "rules": rules,
        "effective_from": date(2020, 1, 1),
        "released_at": NOW,
    }
    return Release(**(values | changes))


def city_rules() -> RuleSet:
    """The rules of the catalogue."""
    return load(RULES)
