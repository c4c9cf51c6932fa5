"""What is wrong with a row by itself: names that nobody knows, values that cannot be."""

from collections.abc import Iterator, Mapping

from services.router.rules.conditions import Condition, write_value
from services.router.rules.findings import Finding
from services.router.rules.inputs import Input
from services.router.rules.rows import Deadline, JointReview, Lead, Row
from services.router.rules.ruleset import Names, RuleSet

_CODES = {"services": "R202", "districts": "R203", "agencies": "R201"}
_KINDS = {"services": "service", "districts": "district", "agencies": "agency"}


class RowCheck:
    """Checks rows by themselves; what was found fine in one row is not looked at again."""

    def __init__(
        self, rules: RuleSet, known: Mapping[str, frozenset[str]], names: Names | None
    ) -> None:
        self._inputs = rules.inputs
        self._known = known
        self._agencies = names.agencies if names is not None and names.agencies else None
        # By input: conditions that are fine. They live as long as the rows do.
        self._fine: list[set[int]] = [set() for _ in rules.inputs]

    def fine(self, row: Row) -> bool:
        """Whether `findings` would be none, told quickly."""
        for condition, fine, one in zip(row.conditions, self._fine, self._inputs, strict=True):
            if id(condition) not in fine:
                if next(self._of_condition(condition, one), None) is not None:
                    return False
                fine.add(id(condition))
        agencies = _turn(row)
        output = row.output
        if self._agencies is not None:
            if not self._agencies.issuperset(agencies):
                return False
            if isinstance(output, Lead) and output.responsible not in self._agencies:
                return False
        if isinstance(output, Deadline) and output.steps:
            return sum(output.steps) == output.limit
        return len(agencies) < 2 or len(set(agencies)) == len(agencies)

    def findings(self, row: Row, table: str) -> Iterator[Finding]:
        """R201 to R204, R302, and R303 where the steps of the row itself do not add up."""
        for code, message in self._problems(row):
            yield Finding(code, table, (row.id,), (row.number,), f"{row.id}: {message}")

    def _problems(self, row: Row) -> Iterator[tuple[str, str]]:
        for condition, one in zip(row.conditions, self._inputs, strict=True):
            yield from self._of_condition(condition, one)
        agencies = list(_turn(row))
        for agency in sorted({one for one in agencies if agencies.count(one) > 1}):
            yield "R302", f"{agency} is there twice in lead and chain"
        output = row.output
        if isinstance(output, Deadline) and output.steps and sum(output.steps) != output.limit:
            parts = "+".join(map(str, output.steps))
            yield "R303", f"the steps {parts} add up to {sum(output.steps)}, not {output.limit}"
        if isinstance(output, Lead):
            agencies.append(output.responsible)
        for agency in dict.fromkeys(agencies):
            if self._agencies is not None and agency not in self._agencies:
                yield "R201", f"there is no agency {agency!r}"

    def _of_condition(self, condition: Condition, one: Input) -> Iterator[tuple[str, str]]:
        values = self._known.get(one.name)
        if condition.values and values is not None:
            for value in sorted(map(str, condition.values - values)):
                yield _unknown(one, value)
        elif condition.named and (outside := _outside(condition, one)):
            yield "R204", f"{one.name} is {condition.text}: {outside}"


def _turn(row: Row) -> tuple[str, ...]:
    """The agencies that a row names, in turn."""
    output = row.output
    if isinstance(output, Lead):
        return (output.agency, *output.chain)
    return (output.agency,) if isinstance(output, JointReview) else ()


def _unknown(one: Input, value: str) -> tuple[str, str]:
    if one.names:
        return _CODES[one.names], f"there is no {_KINDS[one.names]} {value!r}"
    return "R204", f"{one.name} is never {value!r}"


def _outside(condition: Condition, one: Input) -> str:
    """Why a number that stands in the cell cannot be, or nothing."""
    for number in condition.named:
        if one.least is not None and number < one.least:
            return f"below the least, {write_value(one.least, one.type)}"
        if one.most is not None and number > one.most:
            return f"above the most, {write_value(one.most, one.type)}"
    return ""
