"""Routing rules that people can read, prove and replay: a library that knows no service.

`load` or `from_document` gives a RuleSet; `decide` by it, `verify` it, `explain` a decision, and
tell the `difference` of two. docs/rules-format.md defines the tables.
"""

from services.router.rules.decision import Decision, Outcome
from services.router.rules.differences import Change, difference
from services.router.rules.errors import FactError, Problem, TableError
from services.router.rules.explaining import Explanation, explain
from services.router.rules.findings import Finding
from services.router.rules.rows import Deadline, JointReview, Lead, Row
from services.router.rules.ruleset import Names, RuleSet, from_document, load
from services.router.rules.verifying import Report, verify

__all__ = [
    "Change",
    "Deadline",
    "Decision",
    "Explanation",
    "FactError",
    "Finding",
    "JointReview",
    "Lead",
    "Names",
    "Outcome",
    "Problem",
    "Report",
    "Row",
    "RuleSet",
    "TableError",
    "difference",
    "explain",
    "from_document",
    "load",
    "verify",
]
