"""The way of a release of rules: `casebus rules release`, `approve`, `withdraw`, `rollback`, and
what there is to see of it. Exit codes: 0 done, 1 refused, 2 it could not be tried."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar
from zoneinfo import ZoneInfo

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from casebus.rulesets import names
from casebus.running import console_postgres, end, running
from catalogue import load_catalogue
from deploy.own_rules import RULES, OwnRulesError, release_own_rules
from services.console import releases as way
from services.console import shadow as trials
from services.console.domain import OPEN, Release, ReleaseError, Trial, in_force
from services.router.rules import RuleSet, TableError, from_document, load, verify
from shared.runtime.postgres import Connection, connect

_CITY = ZoneInfo("Asia/Taipei")
_MOST_FINDINGS = 50
T = TypeVar("T")

Number = Annotated[int, typer.Argument(help="The number of the release.", min=1)]
By = Annotated[str, typer.Option(help="Your name. It is written down, not proven.")]
Day = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="Decides cases received from then on; else today."),
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]


def release(
    folder: Annotated[Path, typer.Argument(help="The folder of the tables.")],
    by: By,
    effective_from: Day = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Try it at once beside the live rules.")
    ] = False,
    note: Annotated[str, typer.Option(help="What changes, in a sentence.")] = "",
) -> None:
    """Verify the tables of FOLDER and propose them; another person approves."""
    try:
        rules = load(folder, names())
    except TableError as error:
        end(f"the tables in {folder} cannot be read:\n{error}")
    _propose(rules, by, effective_from, shadow=shadow, note=note)


def seed(
    folder: Annotated[Path, typer.Argument(help="The folder of the tables.")] = RULES,
) -> None:
    """Put the tables of FOLDER in force where nothing ever was: a city's first release."""
    try:
        done = asyncio.run(
            release_own_rules(console_postgres(), load_catalogue(), folder, first_only=True)
        )
    except OwnRulesError as error:
        _refuse(str(error))
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        end(f"the database does not take it: {error}")
    print("the first rules are in force" if done else "rules are in force; nothing changed")


def rollback(number: Number, by: By, effective_from: Day = None) -> None:
    """Propose again what release NUMBER held; another person approves, as of any release."""
    earlier, rules = _kept(number)
    if earlier.state != "live":
        _refuse(f"release {number} was never live; there is nothing to go back to")
    _propose(rules, by, effective_from, rollback_of=number)


def _propose(rules: RuleSet, by: str, effective_from: datetime | None, **more: Any) -> None:
    """Keep the rules as a proposal, once they are proved; `more` as in Proposal."""
    proposal = way.Proposal(
        ruleset=rules.id,
        version=rules.version,
        document=rules.document,
        by=by,
        names=_verified(rules),
        effective_from=effective_from.date() if effective_from else None,
        **more,
    )
    _say_proposed(*_do(lambda connection: way.propose(connection, proposal, _today())))


def _kept(number: int) -> tuple[Release, RuleSet]:
    """A release and its rules, as today's catalogue names things."""

    async def read(connection: Connection) -> tuple[Release, dict[str, Any]]:
        return await way.find(connection, number), await way.document(connection, number)

    found, document = _do(read)
    try:
        rules = from_document(document, names())
    except TableError as error:
        _refuse(f"release {number} has a form that is not read any more:\n{error}")
    if (rules.id, rules.version) != (found.ruleset, found.version):
        _refuse(f"release {number}: its tables are {rules.id} {rules.version}, not what it says")
    return found, rules


def approve(number: Number, by: By) -> None:
    """Put release NUMBER in force; by another person than the one who proposed it."""
    found, rules = _kept(number)
    said = _verified(rules) if found.state in OPEN else {}
    live, asked_for = _do(lambda connection: way.approve(connection, number, by, _today(), said))
    if live.effective_from != asked_for:
        print(f"{asked_for}, the day that was asked for, has passed: effective from today instead")
    print(
        f"release {number}: {live.ruleset} {live.version} is live, effective from "
        f"{live.effective_from}; proposed by {live.proposed_by}, approved by {live.approved_by}"
    )
    _say_later(live)


def withdraw(number: Number, by: By) -> None:
    """End a proposal, in shadow or not; what is live is ended by a rollback."""
    withdrawn = _do(lambda connection: way.withdraw(connection, number, by))
    print(f"release {number}: withdrawn by {withdrawn.withdrawn_by}")


def releases(as_json: Json = False) -> None:
    """Every release, the newest first: its state, who proposed and who approved it."""
    found = _look(way.all_releases)
    now = in_force(found, _today())
    if as_json:
        print(_dumped([{**asdict(one), "in_force": one == now} for one in found]))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("number", "version", "state", "effective from"):
        table.add_column(name, no_wrap=True)
    for name in ("proposed by", "approved or withdrawn"):
        table.add_column(name, overflow="fold")
    for one in found:
        table.add_row(
            str(one.number),
            one.version,
            "in force" if one == now else one.state,
            str(one.effective_from),
            _who(one.proposed_by, one.proposed_at),
            _what_became(one),
        )
    Console(markup=False, highlight=False).print(table)


def shadow(number: Number, as_json: Json = False) -> None:
    """What release NUMBER decided in shadow: which cases would have gone elsewhere."""

    async def read(connection: Connection) -> tuple[Release, Trial]:
        return await way.find(connection, number), await trials.trial(connection, number)

    found, trial = _look(read)
    if as_json:
        known = {"number": number, "version": found.version, "state": found.state}
        print(_dumped({**known, **asdict(trial)}))
        return
    tables = ", ".join(f"{table} {count}" for table, count in trial.tables.items())
    print(f"release {number}, {found.ruleset} {found.version}, {found.state}")
    print(f"cases decided beside the live rules: {trial.cases}; differing: {trial.differing}")
    print(f"differing by table: {tables}")
    if not trial.moves:
        return
    table = Table("service", "lead in force", "lead in shadow", "differs", "cases", "example")
    for move in trial.moves:
        table.add_row(
            move.service,
            move.live_agency,
            move.agency,
            ", ".join(move.differs),
            str(move.cases),
            move.example,
        )
    Console(markup=False, highlight=False).print(table)


def _verified(rules: RuleSet) -> dict[str, list[str]]:
    """The names that nothing was found against. Ends the command with status 1 otherwise."""
    known = names()
    findings = verify(rules, known).findings
    if not findings:
        return known.to_json()
    told = [f"{one.code} {one.table}: {one.message}" for one in findings[:_MOST_FINDINGS]]
    _refuse(
        f"{rules.id} {rules.version} is not released; findings: {len(findings)}\n"
        + "\n".join(told)
        + "\n`casebus rules check FOLDER` shows each with a case"
    )


def _say_later(decides: Release) -> None:
    """Which releases take its place on a later day: it may be forgotten that they will."""
    for one in sorted(_do(way.all_releases), key=lambda one: one.effective_from):
        if one.state == "live" and one.effective_from > decides.effective_from:
            print(f"from {one.effective_from} on release {one.number} decides, {one.version}")


def _say_proposed(proposed: Release, new: bool) -> None:
    what = f"release {proposed.number}: {proposed.ruleset} {proposed.version}"
    if proposed.state == "live":
        print(f"nothing changed: {what} decides already, effective from {proposed.effective_from}")
        _say_later(proposed)
        return
    state = "in shadow" if proposed.state == "shadow" else "proposed"
    print(
        f"{'' if new else 'nothing changed: '}{what}, {state} by {proposed.proposed_by}, "
        f"effective from {proposed.effective_from} once it is approved"
    )
    if proposed.state == "shadow":
        print(f"what it would change:     casebus rules shadow {proposed.number}")
    print(f"another person approves:  casebus rules approve {proposed.number} --by NAME")
    print(f"or it is withdrawn:       casebus rules withdraw {proposed.number} --by NAME")


def _what_became(one: Release) -> str:
    if one.approved_by and one.approved_at:
        said = f"approved by {_who(one.approved_by, one.approved_at)}"
    elif one.withdrawn_by and one.withdrawn_at:
        said = f"withdrawn by {_who(one.withdrawn_by, one.withdrawn_at)}"
    else:
        said = "waits for approval"
    return f"{said}; rollback to {one.rollback_of}" if one.rollback_of else said


def _who(name: str, time: datetime) -> str:
    return f"{name}, {time.astimezone(_CITY):%Y-%m-%d %H:%M}"


def _today() -> date:
    return datetime.now(_CITY).date()


def _dumped(found: Any) -> str:
    return json.dumps(found, ensure_ascii=False, default=lambda one: one.isoformat())


def _do(what: Callable[[Connection], Awaitable[T]]) -> T:
    """As the console's role, which alone changes releases."""
    return _with(console_postgres(), what)


def _look(what: Callable[[Connection], Awaitable[T]]) -> T:
    """As the operator, who changes nothing."""
    return _with(running().postgres, what)


def _with(uri: str, what: Callable[[Connection], Awaitable[T]]) -> T:
    async def opened() -> T:
        connection = await connect(uri)
        try:
            return await what(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(opened())
    except ReleaseError as error:
        _refuse(str(error))
    except TimeoutError:
        end("the database does not answer, or is busy with a release; try again in a moment")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        end(f"the database does not take it: {error}")


def _refuse(message: str) -> NoReturn:
    print(f"casebus: {message}", file=sys.stderr)
    raise typer.Exit(1)
