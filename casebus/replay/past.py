"""The rules of the past: each decision taken again by the release that it names."""

from collections.abc import Iterable
from typing import Any

from services.router.domain import Route, decide, decide_again, next_step
from services.router.rules import Names, RuleSet, TableError, from_document
from shared.contract.events import CaseRouted, RulesReleased

# Why a decision could not be taken again.
NO_RELEASE = "version_not_on_topic"
OLD_FORM = "version_not_readable"


class PastRules:
    """Every version that was ever live, with the names that it was proved against; built when a
    decision names it."""

    def __init__(self, releases: Iterable[RulesReleased]) -> None:
        self._releases = {
            (one.ruleset, one.version): one for one in releases if one.state == "live"
        }
        self._built: dict[tuple[str, str], RuleSet | None] = {}

    def taken_again(self, event: CaseRouted) -> Route | str:
        """What the router would make of it today, or why that cannot be told."""
        key = (event.decision.ruleset, event.decision.version)
        if key not in self._releases:
            return NO_RELEASE
        if key not in self._built:
            self._built[key] = _built(self._releases[key])
        rules = self._built[key]
        return OLD_FORM if rules is None else _route(rules, event)


def _built(release: RulesReleased) -> RuleSet | None:
    """The rules of a release; None when they cannot be read any more."""
    try:
        found = from_document(release.tables, Names.from_json(release.names))
    except TableError:
        return None
    return found if (found.id, found.version) == (release.ruleset, release.version) else None


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
