"""What the router does with an event: a decision, told to one agency and to everybody."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from services.router.domain import Release, Route, decide, decide_again, in_force, next_step
from services.router.rules import RuleSet
from shared.contract import topics
from shared.contract.events import (
    ApplicationSubmitted,
    Carried,
    CaseAssigned,
    CaseReturned,
    CaseRouted,
    CaseStepCompleted,
    DecisionShadowed,
    Event,
    derived_id,
)
from shared.contract.wire import Outgoing, encode

WANTED = (ApplicationSubmitted, CaseReturned, CaseStepCompleted)
_CITY = ZoneInfo("Asia/Taipei")
Told = tuple[CaseAssigned, CaseRouted]


def on_event(event: Event, releases: Collection[Release], now: datetime) -> Told | None:
    """The decision that `event` asks for, or None when nothing follows.

    The ids derive from the event's, so a repeat is a repeat. One of `releases` must be live.
    """
    match event:
        case ApplicationSubmitted():
            route = decide(_rules(releases, event), event.service, event.facts)
            return _told(event, route, 1, (), now)
        case CaseReturned():
            route = decide_again(
                _rules(releases, event),
                event.service,
                event.facts,
                event.agency,
                event.proposed,
                event.tried,
                event.step,
            )
            # An agency of a chain that follows keeps those that come after it.
            if event.step > 1:
                route = replace(route, chain=event.chain)
            return _told(event, route, event.step, event.tried, now)
        case CaseStepCompleted(chain=(following, *rest)):
            route = next_step(
                _rules(releases, event),
                event.service,
                event.facts,
                event.agency,
                event.step,
                following,
            )
            return _told(event, replace(route, chain=tuple(rest)), event.step + 1, (), now)
    return None


def records(told: Told, traceparent: str | None = None) -> list[Outgoing]:
    """The decision on its way: to the agency, and to everybody."""
    assigned, routed = told
    return [
        encode(topics.agency_cases(assigned.agency), assigned, traceparent),
        encode(topics.CASES, routed, traceparent),
    ]


def in_shadow(releases: Collection[Release], live: CaseAssigned) -> list[Release]:
    """The releases on trial beside the rules that decided `live`."""
    return [
        release
        for release in releases
        if release.state == "shadow" and release.rules.id == live.decision.ruleset
    ]


def decide_in_shadow(
    event: ApplicationSubmitted, live: CaseAssigned, release: Release, now: datetime
) -> DecisionShadowed:
    """What `release` would have decided, and in which tables it differs from `live`."""
    route = decide(release.rules, event.service, event.facts)
    differs = {
        "lead": (live.agency, live.responsible, live.chain)
        != (route.agency, route.responsible, route.chain),
        # In no order: that of the rows is the rule owner's affair.
        "joint_review": set(live.joint_review) != set(route.joint_review),
        "deadline": (live.limit, live.limit_unit, live.limit_steps)
        != (route.limit, route.limit_unit, route.limit_steps),
    }
    return DecisionShadowed(
        id=derived_id(event.id, f"shadow:{release.number}"),
        source="router",
        time=now,
        case_id=event.case_id,
        number=event.number,
        service=event.service,
        release=release.number,
        version=release.rules.version,
        live_version=live.decision.version,
        agency=route.agency,
        rule=route.decision.rule,
        live_agency=live.agency,
        live_rule=live.decision.rule,
        differs=tuple(name for name, other in differs.items() if other),
    )


def _rules(releases: Collection[Release], event: Carried) -> RuleSet:
    return in_force(releases, event.received_at.astimezone(_CITY).date()).rules


def _told(event: Carried, route: Route, step: int, tried: tuple[str, ...], now: datetime) -> Told:
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
        joint_review=route.joint_review,
        duplicates=event.duplicates if isinstance(event, ApplicationSubmitted) else (),
        limit=route.limit,
        limit_unit=route.limit_unit,
        limit_steps=route.limit_steps,
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
    return assigned, routed
