"""Made-up pasts: applications, and how the router decided them by earlier rules."""

import random
from collections.abc import AsyncIterator, Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any
from uuid import uuid5

from casebus.replay.way import Stretch, Way
from services.router.domain import Release
from services.router.handlers import Told, on_event
from services.router.rules import from_document
from shared.contract import topics
from shared.contract.events import (
    ApplicationSubmitted,
    CaseReturned,
    CaseStatusChanged,
    Facts,
    RulesReleased,
)
from shared.contract.wire import Outgoing, Record, encode
from tests.examples import CASE, NAMES, NOW, document, event, record, release, released, rule_row

A = rule_row()
# 中正區 leaves A and goes to AGENCY-B.
SPLIT = (
    rule_row(district="not(中正區)"),
    rule_row(id="B", district="中正區", lead="AGENCY-B"),
)
BEFORE = document(A)
AFTER = document(*SPLIT)
# As a router knows them: a service that no row names goes to triage.
ROUTERS = replace(NAMES, services=frozenset())
DISTRICTS = ("大安區", "中正區")


def decided(told: Any, *releases: Release) -> Told:
    """How the router decides an event."""
    found = on_event(told, releases or [live(BEFORE)], NOW)
    assert found is not None
    return found


def live(tables: Any, **changes: Any) -> Release:
    return release(from_document(tables, ROUTERS), **changes)


def submitted(facts: Facts | None = None, **changes: Any) -> ApplicationSubmitted:
    """An application of SVC-A in 大安區, unless told otherwise."""
    about: dict[str, Any] = {
        "service": "SVC-A",
        "facts": {"district": "大安區"} if facts is None else facts,
    }
    found: ApplicationSubmitted = event(ApplicationSubmitted, **(about | changes))
    return found


@dataclass(slots=True)
class Past:
    """Two topics of equal width, as lists of records, and the releases that decided.

    As a Source it gives `at_a_time` records a batch, and raises `ending` instead of batch
    number `ends_at`, when there is one.
    """

    applications: list[list[Outgoing]]
    cases: list[list[Outgoing]]
    rules: Sequence[RulesReleased] = (released(BEFORE),)
    at_a_time: int = 3
    cluster: str = "one"
    ends_at: int | None = None
    ending: type[BaseException] = RuntimeError
    batches: int = field(default=0, init=False)

    async def way(self, since: date) -> Way:
        def stretches(topic: str, lists: list[list[Outgoing]]) -> list[Stretch]:
            return [Stretch(topic, n, 0, len(one), 0) for n, one in enumerate(lists)]

        cases = stretches(topics.CASES, self.cases)
        applications = stretches(topics.APPLICATIONS, self.applications)
        return Way(self.cluster, list(zip(cases, applications, strict=True)))

    async def releases(self) -> Sequence[RulesReleased]:
        return self.rules

    async def read(self, stretch: Stretch) -> AsyncIterator[list[Record]]:
        lists = self.cases if stretch.topic == topics.CASES else self.applications
        records = [
            record(out, offset=offset)
            for offset, out in enumerate(lists[stretch.partition])
            if stretch.start <= offset < stretch.end
        ]
        for first in range(0, len(records), self.at_a_time):
            self.batches += 1
            if self.batches == self.ends_at:
                raise self.ending
            yield records[first : first + self.at_a_time]


def made_up(seed: int, cases: int, partitions: int = 2, rules: Collection[Any] = (BEFORE,)) -> Past:
    """A past with a little of everything: the same seed makes the same one."""
    chance = random.Random(seed)
    releases = [live(tables, number=number) for number, tables in enumerate(rules, start=1)]
    past = Past(
        [[] for _ in range(partitions)],
        [[] for _ in range(partitions)],
        [released(tables, release=number) for number, tables in enumerate(rules, start=1)],
    )
    for n in range(cases):
        partition = n % partitions
        applications, told = past.applications[partition], past.cases[partition]
        one = _application(chance, n)
        applications.append(encode(topics.APPLICATIONS, one))
        if chance.random() < 0.05:
            continue  # not routed yet
        assigned, routed = decided(one, *releases)
        told.append(encode(topics.CASES, routed))
        changed = event(CaseStatusChanged, case_id=one.case_id, number=one.number)
        told.append(encode(topics.CASES, changed))
        if chance.random() < 0.1:
            told += _returned(one, assigned.agency, releases)
        if chance.random() < 0.03:
            applications.append(deepcopy(applications[-1]))
            told.append(encode(topics.CASES, routed))
        if chance.random() < 0.03:
            broken = Outgoing(topics.CASES, b"x", (), b"no event")
            (told if chance.random() < 0.5 else applications).append(broken)
    return past


def _application(chance: random.Random, n: int) -> ApplicationSubmitted:
    facts: Facts = {"district": chance.choice(DISTRICTS)}
    if chance.random() < 0.1:
        facts["district"] = chance.choice((None, "仙境區", 7))
    return submitted(
        facts,
        id=uuid5(CASE, f"application {n}"),
        case_id=uuid5(CASE, f"case {n}"),
        number=f"20261124-{n:07d}-0",
        service=chance.choice(("SVC-A",) * 9 + ("SVC-B",)),
        received_at=NOW + timedelta(minutes=chance.randrange(-3_000, 3_000)),
    )


def _returned(
    one: ApplicationSubmitted, agency: str, releases: Sequence[Release]
) -> list[Outgoing]:
    back = event(
        CaseReturned,
        id=uuid5(one.id, "returned"),
        case_id=one.case_id,
        number=one.number,
        service=one.service,
        facts=one.facts,
        received_at=one.received_at,
        agency=agency,
        tried=(agency,),
    )
    _, routed = decided(back, *releases)
    return [encode(topics.CASES, back), encode(topics.CASES, routed)]
