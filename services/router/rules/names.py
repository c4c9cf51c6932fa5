"""What is wrong with a row by itself: names that nobody knows, values that cannot be."""

from collections.abc import Iterator, Mapping

from services.router.rules.conditions import Condition, write_value
from services.router.rules.findings import Finding
from services.router.rules.inputs import Input
from services.router.rules.rows import Deadline, JointReview, Lead, Row
from services.router.rules.ruleset import Names, RuleSet

_CODES = {"services": "R202", "districts": "R203", "agencies": "R201"}
_KINDS = {"services": "service", "districts": "district", "agencies": "agency"}


def row_findings(
    row: Row,
    table: str,
    rules: RuleSet,
    known: Mapping[str, frozenset[str]],
    names: Names | None,
) -> Iterator[Finding]:
    """R201 to R204, R302, and R303 where the steps of the row itself do not add up."""

    def tell(code: str, message: str) -> Finding:
        return Finding(code, table, (row.id,), (row.number,), f"{row.id}: {message}")

    for condition, one in zip(row.conditions, rules.inputs, strict=True):
        values = known.get(one.name)
        if condition.values and values is not None:
            for value in sorted(map(str, condition.values - values)):
                yield tell(*_unknown(one, value))
        elif condition.named and (outside := _outside(condition, one)):
            yield tell("R204", f"{one.name} is {condition.text}: {outside}")
    output = row.output
    agencies: tuple[str, ...] = ()
    if isinstance(output, Lead):
        agencies = (output.agency, *output.chain, output.responsible)
        turn = agencies[:-1]
        for agency in sorted({one for one in turn if turn.count(one) > 1}):
            yield tell("R302", f"{agency} is there twice in lead and chain")
    elif isinstance(output, JointReview):
        agencies = (output.agency,)
    elif isinstance(output, Deadline) and output.steps and sum(output.steps) != output.limit:
        parts = "+".join(map(str, output.steps))
        yield tell("R303", f"the steps {parts} add up to {sum(output.steps)}, not {output.limit}")
    if names is not None:
        for agency in dict.fromkeys(agencies):
            if agency not in names.agencies:
                yield tell("R201", f"there is no agency {agency!r}")


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
