"""What a candidate rule set would have done with the cases of the past: compared and counted.

Nothing here reads or writes; history.py feeds it. Only the lead is compared: case.routed tells
no chain, no joint review and no limit.
"""

from dataclasses import dataclass
from datetime import date, datetime
from sys import intern
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from casebus.replay.assumptions import Assumptions
from casebus.replay.past import PastRules, differing
from casebus.replay.totals import Some, Totals
from services.router.rules import FactError, RuleSet
from shared.contract.events import ApplicationSubmitted, CaseRouted, Facts
from shared.contract.topics import TRIAGE

_CITY = ZoneInfo("Asia/Taipei")
_MOST_EXAMPLES = 20


class Decided(NamedTuple):
    """Who led by the first decision, by which rule of which version; no rule at triage."""

    agency: str
    rule: str | None
    version: str


@dataclass(frozen=True, slots=True)
class Move:
    """A case that the candidate would have sent elsewhere: a line of the CSV."""

    number: str
    case_id: str
    service: str
    received_on: date
    from_agency: str
    to_agency: str
    from_rule: str | None
    to_rule: str | None
    from_version: str
    outcome: Literal["moved", "to_triage", "from_triage"]


class Counting:
    """Fed with one partition after the other: `begin`, its decisions, then its applications.

    What is `again` was counted before an interruption, and is only remembered.
    """

    def __init__(
        self, candidate: RuleSet, past: PastRules, since: date, totals: Totals | None = None
    ) -> None:
        self.totals = totals or Totals()
        self._candidate = candidate
        self._past = past
        self._since = since
        self._assumptions = Assumptions(candidate)
        # By the event that asked for it; None once its application was there.
        self._decided: dict[bytes, Decided | None] = {}
        # Most cases were decided as others were: each such decision is kept once.
        self._kept: dict[Decided, Decided] = {}

    def begin(self) -> None:
        """A new partition: every case has all its events in one."""
        self._decided.clear()

    def decided(self, event: CaseRouted, *, again: bool = False) -> None:
        """A decision: remembered for its application, and taken again."""
        cause = event.cause.bytes
        if cause in self._decided:
            self.totals.repeated += not again
            return
        told = event.decision
        found = Decided(intern(event.agency), told.rule, told.version)
        self._decided[cause] = self._kept.setdefault(found, found)
        if not again and _day(event.time) >= self._since:
            self._take_again(event)

    def _take_again(self, event: CaseRouted) -> None:
        totals = self.totals
        totals.decisions += 1
        found = self._past.taken_again(event)
        if isinstance(found, str):
            totals.not_reproducible[found] = totals.not_reproducible.get(found, 0) + 1
            return
        differs = differing(event, found)
        if not differs:
            totals.reproduced += 1
            return
        totals.different += 1
        if len(totals.differences) < _MOST_EXAMPLES:
            told = event.decision
            totals.differences.append(
                {
                    "number": event.number,
                    "event": str(event.id),
                    "version": told.version,
                    "differs": differs,
                    "recorded": {"agency": event.agency, "rule": told.rule},
                    "now": {"agency": found.agency, "rule": found.decision.rule},
                }
            )

    def submitted(self, event: ApplicationSubmitted, *, again: bool = False) -> Move | None:
        """An application, decided by the candidate; what it says when that is something else."""
        received_on = _day(event.received_at)
        if received_on < self._since:
            return None
        known = event.id.bytes in self._decided
        then = self._decided.get(event.id.bytes)
        self._decided[event.id.bytes] = None
        if again:
            return None
        totals = self.totals
        if known and then is None:
            totals.repeated += 1
            return None
        totals.applications += 1
        facts: Facts = {**event.facts, "service": event.service}
        for row in self._assumptions.broken(facts):
            totals.assumptions.setdefault((row,), Some()).add(event.number)
        try:
            lead = self._candidate.decide(facts).lead
        except FactError as error:
            totals.refused.setdefault((error.name,), Some()).add(event.number)
            lead = None
        if then is None:
            totals.not_routed += 1
            return None
        agency = lead.agency if lead else TRIAGE
        if agency == then.agency:
            totals.same += 1
            return None
        move = Move(
            number=event.number,
            case_id=str(event.case_id),
            service=event.service,
            received_on=received_on,
            from_agency=then.agency,
            to_agency=agency,
            from_rule=then.rule,
            to_rule=lead.rule if lead else None,
            from_version=then.version,
            outcome=_outcome(then.agency, agency),
        )
        self._count(move)
        return move

    def _count(self, move: Move) -> None:
        totals = self.totals
        match move.outcome:
            case "moved":
                totals.moved += 1
            case "to_triage":
                totals.to_triage += 1
            case "from_triage":
                totals.from_triage += 1
        key = (move.service, move.from_agency, move.to_agency)
        totals.moves.setdefault(key, Some()).add(move.number)

    def unreadable(self, *, again: bool = False) -> None:
        """A record that is no event; the router set it aside as well."""
        self.totals.unreadable += not again


def _outcome(before: str, after: str) -> Literal["moved", "to_triage", "from_triage"]:
    if after == TRIAGE:
        return "to_triage"
    return "from_triage" if before == TRIAGE else "moved"


def _day(moment: datetime) -> date:
    return moment.astimezone(_CITY).date()
