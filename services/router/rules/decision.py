"""What a decision is: what follows for a case, by which rules and which facts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from services.router.rules.inputs import Fact
from services.router.rules.rows import Deadline, JointReview, Lead


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows for all cases that the same rows match.

    `lead` is None where no row decides, or several do: these are the `candidates`.
    """

    lead: Lead | None
    candidates: tuple[str, ...]
    joint_review: tuple[JointReview, ...]
    deadline: Deadline | None
    deadline_candidates: tuple[str, ...]


class Decision(NamedTuple):
    """Where a case goes and why: enough to take it again.

    `names` and `values` are the facts that were looked at. A named tuple, for there are
    millions of them.
    """

    ruleset: str
    version: str
    names: tuple[str, ...]
    values: tuple[Fact, ...]
    following: Outcome

    @property
    def facts(self) -> Mapping[str, Fact]:
        return dict(zip(self.names, self.values, strict=True))

    @property
    def outcome(self) -> Literal["rule", "triage"]:
        return "triage" if self.following.lead is None else "rule"

    @property
    def lead(self) -> Lead | None:
        return self.following.lead

    @property
    def candidates(self) -> tuple[str, ...]:
        return self.following.candidates

    @property
    def joint_review(self) -> tuple[JointReview, ...]:
        return self.following.joint_review

    @property
    def deadline(self) -> Deadline | None:
        return self.following.deadline

    @property
    def deadline_candidates(self) -> tuple[str, ...]:
        return self.following.deadline_candidates

    def to_json(self) -> dict[str, Any]:
        """As docs/rules-format.md says."""
        return {
            "outcome": self.outcome,
            "ruleset": self.ruleset,
            "version": self.version,
            "facts": dict(self.facts),
            "lead": self.lead.to_json() if self.lead else None,
            "candidates": list(self.candidates),
            "joint_review": [one.to_json() for one in self.joint_review],
            "deadline": self.deadline.to_json() if self.deadline else None,
            "deadline_candidates": list(self.deadline_candidates),
        }
