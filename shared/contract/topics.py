"""Topic names: the only place in the code where they are spelled out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

APPLICATIONS = "applications.events"
CASES = "cases.events"
NOTICES = "notices.events"
RULES = "rules.releases"
RULES_SHADOW = "rules.shadow"
# What the router is to take up again: dead letters, as the operators order.
ROUTER_REPLAYS = "router.replays"
# Nothing is ever written here: the relays commit their positions as group offsets on it.
POSITIONS = "outbox.positions"
# Every agency's topic shares one dead-letter topic, and so do the agencies' commands: the
# headers name the topic that an event came from.
AGENCY_CASES_DEAD = "agency.cases.dead"
AGENCY_UPDATES_DEAD = "agency.updates.dead"

TRIAGE = "TRIAGE"
CONTROL_UNIT = "RDEC"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it must exist. `width` says how many partitions: many, some or one."""

    name: str
    width: Literal["wide", "agency", "one"] = "one"
    compacted: bool = False


def agency_cases(code: str) -> str:
    return f"agency.{code}.cases"


def agency_updates(code: str) -> str:
    return f"agency.{code}.updates"


def dead(topic: str) -> str:
    """The dead-letter topic of `topic`."""
    if topic.startswith("agency."):
        return AGENCY_CASES_DEAD if topic.endswith(".cases") else AGENCY_UPDATES_DEAD
    return f"{topic}.dead"


def all_topics(agencies: Sequence[str], own_system: Collection[str]) -> list[TopicSpec]:
    """Every topic of the city; `own_system` are the agencies that send commands by Kafka."""
    specs = [
        TopicSpec(APPLICATIONS, "wide"),
        TopicSpec(CASES, "wide"),
        TopicSpec(NOTICES),
        TopicSpec(RULES, compacted=True),
        TopicSpec(RULES_SHADOW),
        TopicSpec(ROUTER_REPLAYS),
        TopicSpec(POSITIONS),
        TopicSpec(AGENCY_CASES_DEAD),
        TopicSpec(AGENCY_UPDATES_DEAD),
    ]
    read = (APPLICATIONS, CASES, NOTICES, RULES, RULES_SHADOW, ROUTER_REPLAYS)
    specs += [TopicSpec(dead(name)) for name in read]
    specs += [TopicSpec(agency_cases(code), "agency") for code in agencies]
    specs += [TopicSpec(agency_updates(code)) for code in agencies if code in own_system]
    return specs
