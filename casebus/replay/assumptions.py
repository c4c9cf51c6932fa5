"""What the rule owner says cannot happen, held against what did."""

from services.router.rules import FactError, Row, RuleSet
from services.router.rules.inputs import Input
from services.router.rules.rows import matches
from shared.contract.events import Facts


class Assumptions:
    """The rows of assume of a rule set, by service."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules
        self._by_service: dict[str, list[tuple[Row, tuple[Input, ...]]]] = {}

    def broken(self, facts: Facts) -> list[str]:
        """The ids of the rows that a case matches, in the order of the file."""
        service = str(facts["service"])
        rows = self._by_service.get(service)
        if rows is None:
            rows = self._by_service[service] = [
                _narrowed(row, self._rules.inputs)
                for row in self._rules.tables["assume"].rows
                if row.service.holds_value(service)
            ]
        return [row.id for row, inputs in rows if self._matches(row, inputs, facts)]

    def _matches(self, row: Row, inputs: tuple[Input, ...], facts: Facts) -> bool:
        known = self._rules.known
        try:
            values = tuple(
                one.number(facts.get(one.name))
                if one.ordered
                else one.value(facts.get(one.name), known.get(one.name))
                for one in inputs
            )
        except FactError:
            # A fact that cannot be is refused, and no case of which an assumption speaks.
            return False
        return matches(row, inputs, values)


def _narrowed(row: Row, inputs: tuple[Input, ...]) -> tuple[Row, tuple[Input, ...]]:
    """The row with only those inputs, after the service, of which it says something."""
    said = [place for place, one in enumerate(row.conditions) if place and one.text != "-"]
    narrow = Row(row.id, row.number, tuple(row.conditions[place] for place in said))
    return narrow, tuple(inputs[place] for place in said)
