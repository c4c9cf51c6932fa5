"""The rules of the past: each decision taken again by the release that it names."""

from collections.abc import Iterable
from typing import Any

from services.router.domain import Route, decide, decide_again, next_step
from services.router.rules import Names, RuleSet, TableError, from_document
from shared.contract.events import CaseRouted, RulesReleased

# Why a decision could not be taken again.
NO_RELEASE = "version_not_on_topic"
OLD_FORM = "version_not_readable"
NEW_NAME = "name_known_since"


class PastRules:
    """Every version that was ever live; built when a decision names it.

    `names` are those that a router knows today.
    """

    def __init__(self, releases: Iterable[RulesReleased], names: Names) -> None:
        self._names = names
        self._documents = {
            (one.ruleset, one.version): one.tables for one in releases if one.state == "live"
        }
        self._built: dict[tuple[str, str, bool], RuleSet | None] = {}

    def taken_again(self, event: CaseRouted) -> Route | str:
        """What the router would make of it today, or why that cannot be told.

        Which names the catalogue knew then, nobody wrote down. They only tell which facts are
        refused: where none was, any name will do.
        """
        told = event.decision
        if (told.ruleset, told.version) not in self._documents:
            return NO_RELEASE
        rules = self._rules(told.ruleset, told.version, bool(told.problem))
        if rules is None:
            return OLD_FORM
        route = _route(rules, event)
        if told.problem and not route.decision.problem:
            refused = told.facts.keys() - {"service"} or {"service"}
            if any(one.names and one.name in refused for one in rules.inputs):
                return NEW_NAME
        return route

    def _rules(self, ruleset: str, version: str, named: bool) -> RuleSet | None:
        key = (ruleset, version, named)
        if key not in self._built:
            names = self._names if named else None
            try:
                found = from_document(self._documents[ruleset, version], names)
            except TableError:
                found = None
            fits = found is not None and (found.id, found.version) == (ruleset, version)
            self._built[key] = found if fits else None
        return self._built[key]


def _route(rules: RuleSet, event: CaseRouted) -> Route:
    """As the router does on a new application, a return or a completed step."""
    told = event.decision
    facts: dict[str, Any] = told.facts
    if told.outcome == "next_step":
        after, step = facts.get("after", ""), facts.get("step", 0)
        return next_step(rules, event.service, facts, after, step, event.agency)
    if told.outcome in ("manual", "control_unit") or (told.outcome == "triage" and event.step > 1):
        by, proposed = facts.get("returned_by", ""), facts.get("proposed")
        return decide_again(rules, event.service, facts, by, proposed, event.tried, event.step)
    return decide(rules, event.service, facts, event.tried)


def differing(event: CaseRouted, again: Route) -> list[str]:
    """The fields in which a decision differs from the recorded one; none when it is the same.

    Of a problem only whether there is one counts: its words are for people.
    """
    if (again.agency, again.decision) == (event.agency, event.decision):
        return []
    then = event.decision.model_dump() | {"agency": event.agency}
    now = again.decision.model_dump() | {"agency": again.agency}
    for one in (then, now):
        one["problem"] = bool(one["problem"])
    return [name for name, value in then.items() if now[name] != value]
