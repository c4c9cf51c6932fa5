"""The city's own rules, for those that have no stream of releases, and to fill that stream."""

from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

from services.router.domain import Release
from services.router.rules import Names, RuleSet, load
from shared.contract.events import RulesReleased

_FOLDER = Path(__file__).resolve().parents[2] / "catalogue" / "rules"
_FROM = date(2020, 1, 1)


def city_rules() -> list[Release]:
    return [Release(1, _rules(), _FROM, datetime.now(UTC))]


def city_release(names: Names) -> RulesReleased:
    """As it is proposed and approved: with the names that the rules were proved against."""
    rules = _rules()
    return RulesReleased(
        id=UUID(int=1),
        source="benchmarks",
        time=datetime.now(UTC),
        ruleset=rules.id,
        release=1,
        version=rules.version,
        effective_from=_FROM,
        approvers=("benchmarks",),
        tables=rules.document,
        names={kind: tuple(known) for kind, known in names.to_json().items()},
    )


def _rules() -> RuleSet:
    return load(_FOLDER)
