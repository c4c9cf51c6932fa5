"""Examples: one sound thing of each kind, of which a test changes what it is about."""

import csv
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

from catalogue.build_rules import TABLE
from services.backoffice.domain import Case
from services.notifier.domain import Notice
from services.router.domain import RuleSet, rule_set
from shared.contract.events import (
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
    Event,
    NoticeStateChanged,
    RulesReleased,
)
from shared.contract.wire import Outgoing, Record, decode, encode

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
CASE = UUID("11111111-2222-4333-8444-555555555555")
NUMBER = "20261124-0000123-9"
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
        "expires_at": datetime(2126, 1, 1, tzinfo=UTC),
        "context": {
            "number": NUMBER,
            "service_name": {"zh-TW": "服務", "en": "service"},
            "agency_name": {"zh-TW": "", "en": ""},
        },
    }
    return Notice(**(values | changes))


def rule_row(**changes: str) -> dict[str, str]:
    """A row of the lead table: SVC-A in any district goes to AGENCY-A."""
    return {
        "id": "A",
        "service": "SVC-A",
        "district": "-",
        "side_of_aiguo": "-",
        "lead": "AGENCY-A",
        "chain": "",
        "responsible": "AGENCY-A",
        "basis": "test",
    } | changes


def release(rows: Any, **changes: Any) -> RulesReleased:
    values: dict[str, Any] = {
        "id": uuid4(),
        "source": "console",
        "time": NOW,
        "ruleset": "lead",
        "version": "v1",
        "effective_from": date(2020, 1, 1),
        "approvers": ("the mayor",),
        "tables": {"lead": rows},
    }
    return RulesReleased(**(values | changes))


def rules_of(*rows: dict[str, str], **changes: Any) -> RuleSet:
    return rule_set(release(list(rows), **changes))


def city_rules() -> RuleSet:
    """The lead table of the catalogue."""
    with TABLE.open(encoding="utf-8", newline="") as lines:
        return rules_of(*csv.DictReader(lines))
