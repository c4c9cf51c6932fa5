"""Where a case goes, and why: rules and decisions, pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from shared.contract.errors import PermanentError
from shared.contract.events import Decision, Fact, Facts, RulesReleased
from shared.contract.topics import CONTROL_UNIT, TRIAGE

INPUTS = ("service", "district", "side_of_aiguo")
# After this many agencies gave a case back, the control unit decides.
MOST_RETURNS = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the lead table. An input that is None matches anything."""

    id: str
    inputs: tuple[frozenset[str] | None, ...]
    lead: str
    chain: tuple[str, ...]
    responsible: str

    def matches(self, values: tuple[Fact, ...]) -> bool:
        return all(
            wanted is None or value in wanted
            for wanted, value in zip(self.inputs, values, strict=True)
        )


@dataclass(frozen=True, slots=True)
class RuleSet:
    """One release, its rows kept by service so that a decision looks at few of them."""

    id: str
    version: str
    effective_from: date
    released_at: datetime
    by_service: Mapping[str, tuple[Rule, ...]]


@dataclass(frozen=True, slots=True)
class Route:
    """What a decision comes to: who leads, who follows, and why."""

    agency: str
    responsible: str
    chain: tuple[str, ...]
    decision: Decision


def rule_set(release: RulesReleased) -> RuleSet:
    """The rules of a release. Raises PermanentError rules.broken naming row and column."""
    rows = release.tables.get("lead")
    if not isinstance(rows, list) or not rows:
        raise PermanentError("rules.broken", "the lead table has no row")
    by_service: dict[str, list[Rule]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            rule = Rule(
                id=row["id"],
                inputs=tuple(_cell(row[name]) for name in INPUTS),
                lead=row["lead"].strip(),
                chain=tuple(part.strip() for part in row["chain"].split(";") if part.strip()),
                responsible=row["responsible"].strip(),
            )
        except (KeyError, AttributeError, TypeError) as error:
            raise PermanentError("rules.broken", f"lead, row {number}: {error!r}") from error
        # A rule without a service or a lead would match nothing, or send a case to nobody.
        cells = {**dict(zip(INPUTS, rule.inputs, strict=True)), "lead": rule.lead}
        for column, cell in cells.items():
            if cell is not None and not cell:
                raise PermanentError("rules.broken", f"lead, row {number}, column {column}: empty")
        services = rule.inputs[0]
        if services is None:
            raise PermanentError(
                "rules.broken", f"lead, row {number}, column service: name one, not '-'"
            )
        for service in services:
            by_service.setdefault(service, []).append(rule)
    return RuleSet(
        release.ruleset,
        release.version,
        release.effective_from,
        release.time,
        {service: tuple(rules) for service, rules in by_service.items()},
    )


def _cell(text: str) -> frozenset[str] | None:
    if text.strip() == "-":
        return None
    return frozenset(part.strip() for part in text.split(";") if part.strip())


def in_force(releases: Collection[RuleSet], received: date) -> RuleSet:
    """The release for a case received that day: the latest in force, else the earliest.

    Of two that are in force from the same day, the one that was released last.
    """
    ordered = sorted(releases, key=lambda release: (release.effective_from, release.released_at))
    fitting = [release for release in ordered if release.effective_from <= received]
    return fitting[-1] if fitting else ordered[0]


def decide(rules: RuleSet, service: str, facts: Facts, tried: Collection[str] = ()) -> Route:
    """The one rule that matches, leaving out agencies that gave the case back; else triage."""
    looked_at: dict[str, Any] = {name: facts.get(name) for name in INPUTS[1:]}
    values = (service, *looked_at.values())
    matching = [
        rule
        for rule in rules.by_service.get(service, ())
        if rule.lead not in tried and rule.matches(values)
    ]
    if len(matching) == 1:
        rule = matching[0]
        decision = Decision(
            outcome="rule",
            ruleset=rules.id,
            version=rules.version,
            rule=rule.id,
            facts={"service": service, **looked_at},
        )
        return Route(rule.lead, rule.responsible, rule.chain, decision)
    return _to_triage(rules, {"service": service, **looked_at}, tuple(rule.id for rule in matching))


def _to_triage(rules: RuleSet, facts: Facts, candidates: tuple[str, ...] = ()) -> Route:
    decision = Decision(
        outcome="triage",
        ruleset=rules.id,
        version=rules.version,
        rule=None,
        facts=facts,
        candidates=candidates,
    )
    return Route(TRIAGE, TRIAGE, (), decision)


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
    looked_at: Facts = {"service": service, "returned_by": returned_by, "proposed": proposed}

    def by_hand(outcome: Any, agency: str) -> Route:
        decision = Decision(
            outcome=outcome,
            ruleset=rules.id,
            version=rules.version,
            rule=None,
            facts=looked_at,
        )
        return Route(agency, agency, (), decision)

    if returned_by in (TRIAGE, CONTROL_UNIT) and proposed:
        return by_hand("manual", proposed)
    returns = [agency for agency in tried if agency not in (TRIAGE, CONTROL_UNIT)]
    if len(returns) >= MOST_RETURNS or returned_by in (TRIAGE, CONTROL_UNIT):
        return by_hand("control_unit", CONTROL_UNIT)
    if step > 1:
        return _to_triage(rules, looked_at)
    return decide(rules, service, facts, tried)
