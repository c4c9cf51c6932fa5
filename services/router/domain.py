"""Where a case goes, and why: which release decides, and what its decision comes to. Pure."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Literal, cast

from services.router.rules import FactError, RuleSet
from shared.contract.events import Decision, Facts, JointReview, LimitUnit
from shared.contract.releases import in_force as decides_on
from shared.contract.topics import CONTROL_UNIT, TRIAGE

Outcome = Literal["manual", "next_step", "triage", "control_unit"]
# After this many agencies gave a case back, the control unit decides.
MOST_RETURNS = 2


@dataclass(frozen=True, slots=True)
class Release:
    """A rule set and from when it decides; `number` is the console's. In shadow it decides
    nothing."""

    number: int
    rules: RuleSet
    effective_from: date
    released_at: datetime
    state: Literal["live", "shadow"] = "live"


@dataclass(frozen=True, slots=True)
class Route:
    """What a decision comes to: who leads, who follows, who reviews, until when, and why.

    `limit` and its steps are of the whole case, as in the assignment.
    """

    agency: str
    responsible: str
    chain: tuple[str, ...]
    decision: Decision
    joint_review: tuple[JointReview, ...] = ()
    limit: int | None = None
    limit_unit: LimitUnit | None = None
    limit_steps: tuple[int, ...] = ()


def in_force(releases: Collection[Release], received: date) -> Release:
    """The live release for a case received that day. Raises ValueError when none is live."""
    live = [release for release in releases if release.state == "live"]
    found = decides_on(live, received, _turn)
    if found is None:
        raise ValueError("no release is live")
    return found


def _turn(release: Release) -> tuple[date, datetime, int]:
    return release.effective_from, release.released_at, release.number


def decide(rules: RuleSet, service: str, facts: Facts, tried: Collection[str] = ()) -> Route:
    """By the rules, leaving out agencies that gave the case back; else triage.

    A fact that the rules cannot take loses no case: triage gets it and hears what is wrong.
    """
    try:
        found = rules.decide({**facts, "service": service}, without=tried)
    except FactError as error:
        # Enough to see the same problem again.
        looked_at: Facts = {error.name: facts.get(error.name), "service": service}
        decision = Decision(
            outcome="triage",
            ruleset=rules.id,
            version=rules.version,
            rule=None,
            facts=looked_at,
            problem=f"{error.name}: {error.expected} is expected",
        )
        return Route(TRIAGE, TRIAGE, (), decision)
    lead, deadline = found.lead, found.deadline
    decision = Decision(
        outcome=found.outcome,
        ruleset=found.ruleset,
        version=found.version,
        rule=lead.rule if lead else None,
        facts=dict(found.facts),
        candidates=found.candidates,
        joint_review_rules=tuple(review.rule for review in found.joint_review),
        deadline_rule=deadline.rule if deadline else None,
    )
    return Route(
        agency=lead.agency if lead else TRIAGE,
        responsible=lead.responsible if lead else TRIAGE,
        chain=lead.chain if lead else (),
        decision=decision,
        joint_review=tuple(
            JointReview(agency=review.agency, task=review.task, document=review.document)
            for review in found.joint_review
        ),
        limit=deadline.limit if deadline else None,
        limit_unit=cast(LimitUnit, deadline.unit) if deadline else None,
        limit_steps=deadline.steps if deadline else (),
    )


def decide_again(
    rules: RuleSet,
    service: str,
    facts: Facts,
    returned_by: str,
    proposed: str | None,
    tried: tuple[str, ...],
    step: int = 1,
) -> Route:
    """After a return: by order of triage or control unit, by the second return, or by rule.

    The rules name who begins a case. Where a later agency of a chain gives it back they would
    lead to the first one again, which is done with it: a person at triage says who stands in.
    """
    by_rule = decide(rules, service, facts, tried)
    why: Facts = {"returned_by": returned_by, "proposed": proposed}
    if returned_by in (TRIAGE, CONTROL_UNIT) and proposed:
        return _instead(by_rule, "manual", proposed, why)
    returns = [agency for agency in tried if agency not in (TRIAGE, CONTROL_UNIT)]
    if len(returns) >= MOST_RETURNS or returned_by in (TRIAGE, CONTROL_UNIT):
        return _instead(by_rule, "control_unit", CONTROL_UNIT, why)
    if step > 1:
        return _instead(by_rule, "triage", TRIAGE, why)
    return by_rule


def next_step(
    rules: RuleSet, service: str, facts: Facts, after: str, step: int, following: str
) -> Route:
    """To the agency that follows in a chain, when `after` is done with its `step`."""
    why: Facts = {"after": after, "step": step}
    return _instead(decide(rules, service, facts), "next_step", following, why)


def _instead(by_rule: Route, outcome: Outcome, agency: str, why: Facts) -> Route:
    """Not to whom the rules name. The limit is of the whole case: it stays as they say."""
    told = by_rule.decision
    decision = Decision(
        outcome=outcome,
        ruleset=told.ruleset,
        version=told.version,
        rule=None,
        facts={**told.facts, **why},
        deadline_rule=told.deadline_rule,
        problem=told.problem,
    )
    return replace(
        by_rule,
        agency=agency,
        responsible=agency,
        chain=(),
        decision=decision,
        joint_review=(),
    )
