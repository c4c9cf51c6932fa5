"""Who may do what on Kafka: one user for each service and each agency, and no more than it needs.

Reading a topic as a consumer needs READ on it and on the group; committing a position inside a
transaction needs WRITE on the transactional id and READ on the group and on the topic.
"""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from catalogue import Catalogue
from shared.contract import topics
from shared.runtime.migrations import OPERATOR

SERVICE_USERS = ("intake", "router", "backoffice", "notifier", "console", OPERATOR)


@dataclass(frozen=True, slots=True)
class Grant:
    """`user` may do `operation` on a resource; a name that ends in '*' is a prefix.

    `for_recovery`: only `casebus recover` needs it, to compare what is there with what should be.
    """

    user: str
    operation: Literal["READ", "WRITE", "DESCRIBE"]
    kind: Literal["TOPIC", "GROUP", "TRANSACTIONAL_ID"]
    name: str
    for_recovery: bool = field(default=False, compare=False)


def agency_user(code: str) -> str:
    return f"agency-{code}"


def agency_password(secret: str, code: str) -> str:
    """The password of an agency's Kafka user, derived from the city's secret for agencies."""
    return hmac.new(secret.encode(), code.encode(), hashlib.sha256).hexdigest()[:40]


def grants(catalogue: Catalogue) -> Iterator[Grant]:
    """Every grant of the city."""
    cases = [topics.agency_cases(code) for code in catalogue.agencies]
    updates = [
        topics.agency_updates(code) for code, one in catalogue.agencies.items() if one.own_system
    ]
    dead_of = {name: topics.dead(name) for name in (topics.APPLICATIONS, topics.CASES)}
    notices_dead = topics.dead(topics.NOTICES)
    shadow_dead = topics.dead(topics.RULES_SHADOW)

    yield from _reads("intake", "intake-projection", topics.CASES, topics.NOTICES)
    yield from _relays("intake", topics.APPLICATIONS, dead_of[topics.CASES], notices_dead)

    yield from _reads("router", "router", *dead_of, topics.ROUTER_REPLAYS, topics.RULES)
    for name in (*cases, *dead_of.values(), topics.dead(topics.ROUTER_REPLAYS)):
        yield Grant("router", "READ", "TOPIC", name, for_recovery=True)
    # The witnesses of its first commits.
    yield from _reads("router", "router-*", topics.POSITIONS)
    yield from _writes(
        "router",
        "router-*",
        topics.CASES,
        *cases,
        topics.RULES_SHADOW,
        *dead_of.values(),
        topics.dead(topics.ROUTER_REPLAYS),
    )

    yield from _reads("backoffice", "backoffice-inbox", topics.APPLICATIONS, *cases, *updates)
    yield from _relays(
        "backoffice",
        topics.CASES,
        *cases,
        topics.AGENCY_CASES_DEAD,
        topics.AGENCY_UPDATES_DEAD,
        dead_of[topics.APPLICATIONS],
    )

    yield from _reads("notifier", "notifier-ledger", *dead_of)
    yield from _relays("notifier", topics.NOTICES, *dead_of.values())

    yield from _reads("console", "console-counts", *dead_of, topics.NOTICES)
    yield from _reads("console", "console-shadow", topics.RULES_SHADOW)
    yield from _relays(
        "console",
        topics.RULES,
        topics.ROUTER_REPLAYS,
        *dead_of.values(),
        notices_dead,
        shadow_dead,
    )
    # Lag is measured on every topic, and the time of the oldest record is in the record.
    for watcher in ("console", OPERATOR):
        yield Grant(watcher, "READ", "TOPIC", "*")
        yield Grant(watcher, "DESCRIBE", "GROUP", "*")

    for code, agency in catalogue.agencies.items():
        yield from _reads(agency_user(code), f"{agency_user(code)}*", topics.agency_cases(code))
        if agency.own_system:
            yield Grant(agency_user(code), "WRITE", "TOPIC", topics.agency_updates(code))


def _reads(user: str, group: str, *names: str) -> Iterator[Grant]:
    yield Grant(user, "READ", "GROUP", group)
    for name in names:
        yield Grant(user, "READ", "TOPIC", name)


def _writes(user: str, transactional_id: str, *names: str) -> Iterator[Grant]:
    yield Grant(user, "WRITE", "TRANSACTIONAL_ID", transactional_id)
    for name in names:
        yield Grant(user, "WRITE", "TOPIC", name)


def _relays(service: str, *names: str) -> Iterator[Grant]:
    group = f"relay-{service}"
    yield from _writes(service, group, *names)
    yield from _reads(service, group, topics.POSITIONS)
    for name in names:
        yield Grant(service, "READ", "TOPIC", name, for_recovery=True)


def passwords_needed(agencies: Sequence[str], agencies_secret: str) -> dict[str, str]:
    """The password of each agency's user, by user."""
    return {agency_user(code): agency_password(agencies_secret, code) for code in agencies}
