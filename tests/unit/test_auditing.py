"""The auditor's judgement: nothing against a sound city, and each fault by its own name."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from casebus.auditing import Verdict, judge
from casebus.evidence import Aside, Records, Rows
from services.notifier.domain import CHANNELS, template_of
from shared.contract import topics
from shared.contract.events import (
    ApplicationSubmitted,
    ApplicationSupplemented,
    CaseAssigned,
    CaseReturned,
    CaseRouted,
    CaseStatusChanged,
    CaseStepCompleted,
    Event,
)
from shared.contract.wire import encode
from tests.examples import CASE, NOW, NUMBER, event, record


@dataclass
class World:
    """One case: received, assigned to DOSW, accepted, given back, assigned to LO-DA."""

    submitted: ApplicationSubmitted = field(default_factory=lambda: event(ApplicationSubmitted))
    sent: list[tuple[str, Event | bytes]] = field(default_factory=list)
    applications: dict[UUID, tuple[UUID, str]] = field(default_factory=dict)
    inbox: set[UUID] = field(default_factory=set)
    notices: Counter[tuple[UUID, str]] = field(default_factory=Counter)
    unknown: int = 0
    done: list[Event] = field(default_factory=list)
    aside: Aside = field(default_factory=set)

    def __post_init__(self) -> None:
        self.applications[self.submitted.id] = (CASE, str(NUMBER))
        self.accepted = _later(1, CaseStatusChanged)
        self.returned = _later(2, CaseReturned)
        self.first = self.assignment(self.submitted, "DOSW")
        self.second = self.assignment(self.returned, "LO-DA", time=NOW + timedelta(seconds=3))
        self.done = [self.accepted, self.returned]
        told = [self.routed(self.first), self.accepted, self.returned, self.routed(self.second)]
        self.sent = [
            (topics.APPLICATIONS, self.submitted),
            (topics.agency_cases("DOSW"), self.first),
            *((topics.CASES, one) for one in told),
            (topics.agency_cases("LO-DA"), self.second),
        ]
        self.inbox = {self.first.id, self.second.id}
        for _, one in self.sent:
            assert isinstance(one, Event)
            if not isinstance(one, CaseAssigned) and template_of(one):
                self.notices.update((one.id, channel) for channel in CHANNELS)

    def assignment(self, cause: Event, agency: str, **changes: Any) -> CaseAssigned:
        tried = ("DOSW",) if isinstance(cause, CaseReturned) else ()
        values = {"cause": cause.id, "agency": agency, "tried": tried, **changes}
        found: CaseAssigned = event(CaseAssigned, **values)
        return found

    def routed(self, one: CaseAssigned) -> CaseRouted:
        values = {"cause": one.cause, "assignment": one.id, "agency": one.agency, "time": one.time}
        found: CaseRouted = event(CaseRouted, **values)
        return found

    def take_out(self, one: Event) -> None:
        """As if it had never been sent; whoever would have heard of it has not."""
        self.sent = [pair for pair in self.sent if pair[1] is not one]
        self.inbox.discard(one.id)
        for channel in CHANNELS:
            self.notices.pop((one.id, channel), None)

    def told(self, of: CaseAssigned) -> CaseRouted:
        return next(
            one for _, one in self.sent if isinstance(one, CaseRouted) and one.assignment == of.id
        )

    def swap(self, one: Event, other: Event) -> None:
        at = [n for n, (_, sent) in enumerate(self.sent) if sent is one or sent is other]
        self.sent[at[0]], self.sent[at[1]] = self.sent[at[1]], self.sent[at[0]]

    def place(self, one: Event | bytes) -> str:
        topic = next(topic for topic, sent in self.sent if sent is one)
        before = [sent for name, sent in self.sent if name == topic]
        return f"{topic}:0:{next(n for n, sent in enumerate(before) if sent is one)}"

    def judged(self) -> Verdict:
        records, ends = Records(), Counter[str]()
        for topic, one in self.sent:
            if isinstance(one, bytes):
                read = record(encode(topic, self.submitted), value=one, offset=ends[topic])
            else:
                read = record(encode(topic, one), offset=ends[topic])
            ends[topic] += 1
            records._take(read)
        records.explained = len(records.assigned)
        rows = Rows(
            self.applications,
            self.inbox,
            {CASE},
            self.notices,
            self.unknown,
            {(one.case_id, one.time): n for n, one in enumerate(self.done)},
        )
        due = self.applications.keys() | records.asking.keys()
        return judge(records, set(due), rows, rows, self.aside)


def _later(seconds: int, model: type[Event], **changes: Any) -> Any:
    return event(model, time=NOW + timedelta(seconds=seconds), **changes)


def test_nothing_is_said_against_a_sound_city() -> None:
    verdict = World().judged()
    assert verdict.wrong == {}
    assert (verdict.applications, verdict.assigned, verdict.in_back_offices) == (1, 1, 1)
    assert (verdict.reassigned, verdict.notices, verdict.set_aside) == (1, 8, 0)


def _no_assignment(world: World) -> None:
    world.take_out(world.told(world.first))
    world.take_out(world.first)


def _no_second_assignment(world: World) -> None:
    world.take_out(world.told(world.second))
    world.take_out(world.second)


def _not_on_kafka(world: World) -> None:
    _no_assignment(world)
    world.take_out(world.submitted)


def _second_assignment_for_one_cause(world: World) -> None:
    again = world.assignment(world.submitted, "DOSW")
    world.sent.append((topics.agency_cases("DOSW"), again))
    world.inbox.add(again.id)


def _next_step_unanswered(world: World) -> None:
    world.sent.append((topics.CASES, _later(4, CaseStepCompleted, chain=("TWD",))))


def _to_another_agencys_topic(world: World) -> None:
    world.sent = [
        (topics.agency_cases("TWD") if one is world.second else topic, one)
        for topic, one in world.sent
    ]


def _asked_for_by_nobody(world: World) -> None:
    forged: CaseAssigned = event(CaseAssigned, cause=uuid4(), agency="DOSW")
    world.sent.append((topics.agency_cases("DOSW"), forged))
    world.inbox.add(forged.id)


def _submission_behind_what_followed(world: World) -> None:
    world.sent.insert(0, (topics.APPLICATIONS, event(ApplicationSupplemented)))


def _decisions_backwards(world: World) -> None:
    world.swap(world.told(world.first), world.told(world.second))


FAULTS: dict[str, tuple[Callable[[World], object], dict[str, int]]] = {
    "an application without an assignment": (_no_assignment, {"lost": 1}),
    "a return without one": (_no_second_assignment, {"lost": 1}),
    "a step of a chain without one": (_next_step_unanswered, {"lost": 1}),
    "an application that never came to Kafka": (_not_on_kafka, {"lost": 1}),
    "an assignment twice": (
        lambda w: w.sent.append((topics.agency_cases("DOSW"), w.first)),
        {"duplicated": 1},
    ),
    "two assignments for one cause": (_second_assignment_for_one_cause, {"duplicated": 1}),
    "a status twice": (
        lambda w: w.sent.append((topics.CASES, w.accepted)),
        {"duplicated": 1, "out of order": 1},
    ),
    "on another agency's topic": (_to_another_agencys_topic, {"unexpected": 1}),
    "asked for by nobody": (_asked_for_by_nobody, {"unexpected": 1}),
    "an inbox that knows more than the topic": (lambda w: w.inbox.add(uuid4()), {"unexpected": 1}),
    "an inbox that knows less": (lambda w: w.inbox.remove(w.first.id), {"not in an inbox": 1}),
    "assigned and not told": (lambda w: w.take_out(w.told(w.first)), {"untold": 1}),
    "assigned and never submitted": (lambda w: w.take_out(w.submitted), {"untold": 1}),
    "the history backwards": (lambda w: w.swap(w.accepted, w.returned), {"out of order": 1}),
    "decisions backwards": (_decisions_backwards, {"out of order": 1}),
    "a submission that comes late": (_submission_behind_what_followed, {"out of order": 1}),
    "no event at all": (lambda w: w.sent.append((topics.CASES, b"?")), {"unreadable": 1}),
    "a citizen who was not told": (
        lambda w: w.notices.pop((w.submitted.id, CHANNELS[0])),
        {"notices missing": 1},
    ),
    "a citizen who was told twice": (
        lambda w: w.notices.update([(w.submitted.id, CHANNELS[0])]),
        {"notices doubled": 1},
    ),
    "a citizen who was told what did not happen": (
        lambda w: w.notices.update([(uuid4(), CHANNELS[0])]),
        {"notices unexpected": 1},
    ),
}


@pytest.mark.parametrize(("fault", "wrong"), FAULTS.values(), ids=FAULTS)
def test_each_fault_has_its_own_name(
    fault: Callable[[World], object], wrong: dict[str, int]
) -> None:
    world = World()
    fault(world)
    assert world.judged().wrong == wrong


def test_what_is_lost_is_named() -> None:
    world = World()
    _no_assignment(world)
    assert world.judged().lost_numbers == [str(NUMBER)]


ASIDE: dict[str, tuple[Callable[[World], object], Callable[[World], tuple[str, str]]]] = {
    "an application among the router's dead letters": (
        _no_assignment,
        lambda w: ("router", w.place(w.submitted)),
    ),
    "a return among them": (_no_second_assignment, lambda w: ("router", w.place(w.returned))),
    "a row that Kafka refuses": (_not_on_kafka, lambda w: ("intake", f"row:{CASE}")),
    "an assignment that a back office has parked": (
        lambda w: w.inbox.remove(w.first.id),
        lambda w: ("backoffice", w.place(w.first)),
    ),
    "an assignment on the wrong topic": (
        _to_another_agencys_topic,
        lambda w: ("backoffice", w.place(w.second)),
    ),
    "no event at all": (
        lambda w: w.sent.append((topics.CASES, b"?")),
        lambda w: ("router", w.place(w.sent[-1][1])),
    ),
    "news that the notifier has parked": (
        lambda w: w.notices.pop((w.submitted.id, CHANNELS[0])),
        lambda w: ("notifier", w.place(w.submitted)),
    ),
}


@pytest.mark.parametrize(("fault", "where"), ASIDE.values(), ids=ASIDE)
def test_what_an_operator_can_see_as_set_aside_is_not_lost(
    fault: Callable[[World], object], where: Callable[[World], tuple[str, str]]
) -> None:
    world = World()
    fault(world)
    assert world.judged().wrong
    world.aside = {where(world)}
    verdict = world.judged()
    assert (verdict.wrong, verdict.set_aside) == ({}, 1)


def test_a_notice_of_which_nobody_knows_is_counted_and_no_fault() -> None:
    world = World(unknown=1)
    verdict = world.judged()
    assert (verdict.notices_unknown, verdict.wrong) == (1, {})
