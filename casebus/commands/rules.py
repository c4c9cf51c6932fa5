"""`casebus rules`: check, try and compare rule sets; the way of a release is in releases.py."""

import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from casebus.commands import releases, replay
from casebus.rulesets import end_unreadable, end_wrong, names, print_json, read
from services.router.rules import (
    Change,
    Decision,
    Explanation,
    FactError,
    Report,
    RuleSet,
    TableError,
    difference,
    explain,
    verify,
)
from services.router.rules.errors import near
from services.router.rules.explaining import Looked

app = typer.Typer(help="Routing rules: check, try, compare, replay, release.", no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help="The folder of a rule set.")]
Facts = Annotated[Path, typer.Argument(help="A JSON file with the facts of a case; - is stdin.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")]
Tried = Annotated[
    list[str] | None, typer.Option(help="An agency that gave the case back; repeatable.")
]
_STATES = {
    "decides": "decides",
    "candidate": "matches too, so none decides",
    "overruled": "matches, overruled by a higher priority",
    "tried": "matches, but an agency of it gave the case back",
}
_REASONS = {
    "leads": "it leads this case",
    "overruled": "a row leads to it, but one with a higher priority overrules it",
    "tied": "a row leads to it, but others match at the same priority",
    "tried": "a row leads to it, but an agency of that row gave the case back",
    "misses": "the rows that lead to it miss this case",
    "no_row": "it leads no row of this service",
}


@app.command()
def check(folder: Folder, as_json: AsJson = False) -> None:
    """Prove a rule set: gaps, overlaps, dead rows, unknown names.

    Status 0: nothing found, 1: findings, 2: unreadable.
    """
    report = verify(read(folder, names(), as_json))
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report)
    if report.findings:
        raise SystemExit(1)


def _print_report(report: Report) -> None:
    for finding in report.findings:
        rows = ", ".join(map(str, finding.rows))
        where = f"{finding.table}.csv" + (f", row {rows}" if rows else "")
        print(f"{finding.code} {finding.title} ({where})")
        print(f"  {finding.message}")
        if finding.counterexample is not None:
            print(f"  a case: {json.dumps(dict(finding.counterexample), ensure_ascii=False)}")
        if finding.example_row is not None:
            print(f"  for examples.csv: {finding.example_row}")
        print(f"  {finding.page}")
    rows = ", ".join(f"{count} {name}" for name, count in report.to_json()["rows"].items())
    count = len(report.findings)
    found = f"{count} finding{'s' * (count != 1)}" if count else "nothing found"
    print(
        f"{report.rules.id} {report.rules.version}: {rows} rows,"
        f" {report.services} services: {found}"
    )


@app.command()
def decide(folder: Folder, facts: Facts, tried: Tried = None, as_json: AsJson = False) -> None:
    """Decide one case."""
    rules = read(folder, names(), as_json)
    case = _case(facts, rules, as_json)
    _known_agencies(tried or (), rules, as_json)
    try:
        decision = rules.decide(case, tried or ())
    except FactError as error:
        end_wrong(str(error), as_json)
    if as_json:
        print_json(decision.to_json())
    else:
        _print_decision(decision)


def _print_decision(decision: Decision) -> None:
    lead = decision.lead
    if lead is not None:
        print(f"{lead.agency} leads, by {lead.rule}")
        if lead.chain:
            print(f"  then in turn: {', '.join(lead.chain)}")
        if lead.responsible != lead.agency:
            print(f"  responsible: {lead.responsible}")
    elif decision.candidates:
        print(f"to triage: {', '.join(decision.candidates)} match at the same priority")
    else:
        print("to triage: no row matches")
    for one in decision.joint_review:
        what = f"is asked for {one.document or 'data'}" if one.task == "query" else "reviews"
        print(f"  beside it {one.agency} {what}, by {one.rule}")
    if limit := decision.deadline:
        shares = f", {' + '.join(map(str, limit.steps))} in turn" if limit.steps else ""
        unit = limit.unit.replace("_", " ") + ("s" if limit.limit != 1 else "")
        print(f"  limit: {limit.limit} {unit}{shares}, by {limit.rule}")
    looked_at = ", ".join(f"{name} {_shown(value)}" for name, value in decision.facts.items())
    print(f"  looked at: {looked_at}")
    print(f"  rules: {decision.ruleset} {decision.version}")


@app.command("explain")
def explain_case(
    folder: Folder,
    facts: Facts,
    why_not: Annotated[
        str | None, typer.Option(help="The code of an agency that one would have expected.")
    ] = None,
    tried: Tried = None,
    as_json: AsJson = False,
) -> None:
    """Why a case goes where it goes, why not elsewhere, and what it just missed."""
    rules = read(folder, names(), as_json)
    case = _case(facts, rules, as_json)
    _known_agencies([*(tried or ()), *([why_not] if why_not else [])], rules, as_json)
    try:
        found = explain(rules, case, why_not, tried or ())
    except FactError as error:
        end_wrong(str(error), as_json)
    if as_json:
        print_json(found.to_json())
    else:
        _print_explanation(found)


def _print_explanation(found: Explanation) -> None:
    _print_decision(found.decision)
    print("\nrows of lead, the nearest first:")
    for looked in found.lead:
        _print_row(looked)
    if found.why_not is not None:
        print(f"\nwhy not {found.why_not.agency}: {_REASONS[found.why_not.reason]}")
        for looked in found.why_not.rows:
            _print_row(looked)


def _print_row(looked: Looked) -> None:
    if looked.state == "misses":
        why = "; ".join(
            f"{miss.input} is {_shown(miss.fact)}, the row wants {miss.cell}"
            for miss in looked.misses
        )
        why = f"misses: {why}"
    else:
        why = _STATES[looked.state]
    print(f"  row {looked.row.number} {looked.row.id} -> {looked.agency}: {why}")


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(help="The folder of the earlier rule set.")],
    after: Annotated[Path, typer.Argument(help="The folder of the later one.")],
    as_json: AsJson = False,
) -> None:
    """Which cases change, from where to where.

    Status 0: none, 1: some, 2: unreadable.
    """
    known = names()
    old, new = read(before, known, as_json), read(after, known, as_json)
    try:
        changes = difference(old, new)
    except TableError as error:
        end_unreadable(error, as_json)
    if as_json:
        print_json(
            {
                "from": {"ruleset": old.id, "version": old.version},
                "to": {"ruleset": new.id, "version": new.version},
                "changes": [change.to_json() for change in changes],
            }
        )
    else:
        _print_changes(old, new, changes)
    if changes:
        raise SystemExit(1)


def _print_changes(old: RuleSet, new: RuleSet, changes: tuple[Change, ...]) -> None:
    for change in changes:
        said = change.to_json()
        print(
            f"{change.service} {change.table}: {_outputs(said['from'])} -> {_outputs(said['to'])}"
        )
        for case in said["cases"]:
            cells = " and ".join(f"{name} is {cell}" for name, cell in case.items())
            print(f"  when {cells}" if cells else "  always")
        if said["more_cases"]:
            print(f"  and {said['more_cases']} more such")
        if not change.proved:
            print("  not proved: the rows are too many and too intertwined")
        rules = [", ".join(ids) or "no row" for ids in (change.before_rules, change.after_rules)]
        print(f"  rows: {rules[0]} -> {rules[1]}")
        print(f"  a case: {json.dumps(dict(change.counterexample), ensure_ascii=False)}")
    count = f"{len(changes)} change{'s' * (len(changes) != 1)}" if changes else "no case changes"
    print(f"{old.id} {old.version} -> {new.id} {new.version}: {count}")


def _outputs(said: Any) -> str:
    """What follows, as the JSON of a change has it, in words."""
    if said is None:
        return "no row decides"
    if isinstance(said, list):
        return "; ".join(map(_outputs, said)) or "nobody"
    match said:
        case {"chain": chain, "agency": agency, "responsible": responsible}:
            then = f", then {', '.join(chain)}" if chain else ""
            return f"{agency}{then}" + (f", for {responsible}" if responsible != agency else "")
        case {"task": task, "agency": agency, "document": document}:
            return f"{agency} ({task}{' of ' + document if document else ''})"
        case {"limit": limit, "unit": unit, "steps": steps}:
            shares = f" ({' + '.join(map(str, steps))})" if steps else ""
            return f"{limit} {unit.replace('_', ' ')}{'s' if limit != 1 else ''}{shares}"
    return str(said)


def _shown(fact: object) -> str:
    return {None: "missing", True: "yes", False: "no"}.get(fact, str(fact))  # type: ignore[call-overload,no-any-return]


def _case(path: Path, rules: RuleSet, as_json: bool) -> Mapping[str, Any]:
    """The facts in a file. A name that is no input is told: it may be a slip of the pen."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8-sig")
        facts = json.loads(text, object_pairs_hook=_once)
    except OSError as error:
        end_wrong(f"{path}: {error.strerror}", as_json)
    except (ValueError, RecursionError) as error:
        end_wrong(f"{path}: is no JSON object of facts: {error}", as_json)
    if not isinstance(facts, dict):
        end_wrong(f'{path}: expected one JSON object, as {{"service": "SVC-056"}}', as_json)
    known = [one.name for one in rules.inputs]
    for name in facts:
        if name not in known:
            hint = near(name, known) or f"; inputs are {', '.join(known)}"
            detail = f"{name!r} is no input and plays no part{hint}"
            print(f"casebus: {path}: {detail}", file=sys.stderr)
    return facts


def _known_agencies(codes: Collection[str], rules: RuleSet, as_json: bool) -> None:
    for code in codes:
        if rules.names is not None and code not in rules.names.agencies:
            end_wrong(f"there is no agency {code!r}{near(code, rules.names.agencies)}", as_json)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is there twice")
    return found


for command in (
    replay.replay,
    releases.seed,
    releases.release,
    releases.approve,
    releases.withdraw,
    releases.rollback,
    releases.releases,
    releases.shadow,
):
    app.command()(command)
