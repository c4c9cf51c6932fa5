"""What the router does with an event: a decision, told to one agency and to everybody."""

from collections.abc import Collection
from datetime import datetime
from zoneinfo import ZoneInfo

from services.router.domain import Route, RuleSet, decide, decide_again, in_force
from shared.contract import topics
from shared.contract.events import (
    ApplicationSubmitted,
    Carried,
    CaseAssigned,
    CaseReturned,
    CaseRouted,
    CaseStepCompleted,
    Decision,
    Event,
    derived_id,
)
from shared.contract.wire import Outgoing, encode

WANTED = (ApplicationSubmitted, CaseReturned, CaseStepCompleted)
_CITY = ZoneInfo("Asia/Taipei")


def on_event(
    event: Event, releases: Collection[RuleSet], now: datetime, traceparent: str | None = None
) -> list[Outgoing]:
    """The records that follow from `event`; their ids derive from it, so a repeat is a repeat."""
    match event:
        case ApplicationSubmitted():
            rules = _rules(releases, event)
            route = decide(rules, event.service, event.facts)
            return _told(event, route, 1, (), now, traceparent)
        case CaseReturned():
            rules = _rules(releases, event)
            route = decide_again(
                rules,
                event.service,
                event.facts,
                event.agency,
                event.proposed,
                event.tried,
                event.step,
            )
            # An agency of a chain that follows keeps those that come after it.
            if event.step > 1:
                route = Route(route.agency, route.responsible, event.chain, route.decision)
            return _told(event, route, event.step, event.tried, now, traceparent)
        case CaseStepCompleted(chain=(following, *rest)):
            rules = _rules(releases, event)
            decision = Decision(
                outcome="next_step",
                ruleset=rules.id,
                version=rules.version,
                rule=None,
                facts={"after": event.agency, "step": event.step},
            )
            route = Route(following, following, tuple(rest), decision)
            return _told(event, route, event.step + 1, (), now, traceparent)
    return []


def _rules(releases: Collection[RuleSet], event: Carried) -> RuleSet:
    return in_force(releases, event.received_at.astimezone(_CITY).date())


def _told(
    event: Carried,
    route: Route,
    step: int,
    tried: tuple[str, ...],
    now: datetime,
    traceparent: str | None,
) -> list[Outgoing]:
    assigned = CaseAssigned(
        id=derived_id(event.id, route.agency),
        source="router",
        time=now,
        case_id=event.case_id,
        number=event.number,
        service=event.service,
        received_at=event.received_at,
        facts=event.facts,
        sealed=event.sealed,
        cause=event.id,
        agency=route.agency,
        responsible=route.responsible,
        step=step,
        chain=route.chain,
        tried=tried,
        decision=route.decision,
    )
    routed = CaseRouted(
        id=derived_id(event.id, "routed"),
        source="router",
        time=now,
        case_id=event.case_id,
        number=event.number,
        cause=event.id,
        assignment=assigned.id,
        service=event.service,
        agency=route.agency,
        step=step,
        tried=tried,
        decision=route.decision,
    )
    return [
        encode(topics.agency_cases(route.agency), assigned, traceparent),
        encode(topics.CASES, routed, traceparent),
    ]
