"""`casebus rules replay`: a candidate rule set over the real history of the topics."""

import asyncio
import sys
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from casebus.replay.history import History, ShapeError
from casebus.replay.journal import BusyError, ForeignTableError, Journal
from casebus.replay.past import NO_RELEASE, OLD_FORM
from casebus.replay.totals import Totals
from casebus.replay.way import Way
from casebus.replay.work import Work
from casebus.rulesets import names, print_json, read
from casebus.running import end, running
from services.router.rules import RuleSet

_MOST_ROWS = 40
_REASONS = {
    NO_RELEASE: "by a version that is not on rules.releases",
    OLD_FORM: "by a version in a form that is not read any more",
}


def replay(
    folder: Annotated[Path, typer.Argument(help="The folder of the candidate's tables.")],
    since: Annotated[
        datetime,
        typer.Option(formats=["%Y-%m-%d"], help="Applications received from this day on."),
    ],
    csv: Annotated[
        Path | None,
        typer.Option(help="The moved cases, one a line.", show_default="replay-VERSION-SINCE.csv"),
    ] = None,
    no_csv: Annotated[bool, typer.Option("--no-csv", help="Write no CSV.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, also after an interruption.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Which cases of the past a rule set would have sent elsewhere.

    Status 0: none, 1: some, 2: unreadable tables, or no system.
    """
    # As a router knows them: a service that no row names goes to triage, known or not.
    known = replace(names(), services=frozenset())
    candidate = read(folder, known, as_json)
    day = since.date()
    stem = f"replay-{candidate.version}-{day}"
    table = None if no_csv else csv or Path(f"{stem}.csv")
    state = table.with_name(f"{table.name}.state") if table else Path(f"{stem}.state")
    key = {"ruleset": candidate.id, "version": candidate.version, "since": str(day)}
    journal = Journal(table, state, key)
    try:
        journal.claim()
        totals = asyncio.run(_replay(Work(candidate, day), journal, restart, as_json))
    except KeyboardInterrupt:
        print("casebus: interrupted; the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
    except ShapeError as error:
        end(str(error))
    except BusyError:
        end(f"another replay writes {table or state}; wait for it, or name another file with --csv")
    except ForeignTableError:
        end(
            f"{table} is there and does not begin as a CSV of moved cases, so it is not "
            "overwritten; name another file with --csv, or take it away"
        )
    except KafkaError as error:
        end(f"Kafka does not answer: {error}; try again, what is counted is not lost")
    except OSError as error:
        end(f"{error.filename or table or state}: {error.strerror or error}")
    finally:
        journal.close()
    if as_json:
        about = {**key, "csv": str(table) if table else None}
        print_json({**about, **totals.to_json()})
    else:
        _print(candidate, day, totals, table)
    raise SystemExit(1 if totals.elsewhere else 0)


async def _replay(work: Work, journal: Journal, restart: bool, quiet: bool) -> Totals:
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet or not sys.stderr.isatty(),
    )

    def told(way: Way, totals: Totals) -> None:
        found = f"{totals.applications:,} applications, {totals.elsewhere:,} elsewhere"
        bar.update(task, total=way.records, completed=way.done, description=found)

    async with History(running().settings) as history:
        with bar:
            task = bar.add_task("replay", total=None)
            return await work.run(history, journal, _say_resumed, told, restart=restart)


def _say_resumed(way: Way, totals: Totals) -> None:
    print(
        f"casebus: goes on where it was interrupted, after {totals.applications:,} applications; "
        "what came since it began is left out (--restart begins anew)",
        file=sys.stderr,
    )


def _print(candidate: RuleSet, since: date, totals: Totals, table: Path | None) -> None:
    console = Console(markup=False, highlight=False)
    print(f"{candidate.id} {candidate.version} over the applications received since {since}")
    said = totals.to_json()
    if said["moves"]:
        moves = Table("service", "from", "to", "cases", "example")
        for row in said["moves"][:_MOST_ROWS]:
            cases = f"{row['cases']:,}"
            moves.add_row(row["service"], row["from"], row["to"], cases, row["example"])
        console.print(moves)
        if (more := len(said["moves"]) - _MOST_ROWS) > 0:
            print(f"and {more:,} more such rows; --json has all of them")
    print(f"{totals.applications:,} applications: {totals.same:,} to the same agency,")
    print(
        f"  {totals.moved:,} to another one, {totals.to_triage:,} newly to triage, "
        f"{totals.from_triage:,} no longer to triage, {totals.not_routed:,} not routed yet"
    )
    for row in said["refused"]:
        print(f"refused: {row['input']} in {_some(row)}; such a case goes to triage")
    for row in said["assumptions"]:
        print(f"assume.csv, {row['row']} cannot happen, and did: {_some(row)}")
    if totals.repeated or totals.unreadable:
        print(f"left out: {totals.repeated:,} repeats, {totals.unreadable:,} unreadable records")
    print(f"reproduced {totals.reproduced:,} of {totals.decisions:,} decisions")
    for reason, count in sorted(totals.not_reproducible.items()):
        print(f"  {count:,} {_REASONS[reason]}")
    if totals.different:
        _print_differences(totals)
    if table:
        print(f"the moved cases: {table}")


def _print_differences(totals: Totals) -> None:
    console = Console(markup=False, highlight=False)
    console.print(
        f"{totals.different:,} DECISIONS COME OUT DIFFERENTLY by the very rules that took them. "
        "This is a fault of casebus, not of the rules.",
        style="bold red",
    )
    for one in totals.differences:
        was, now = (
            f"{side['agency']} by {side['rule'] or 'no rule'}"
            for side in (one["recorded"], one["now"])
        )
        fields = ", ".join(one["differs"])
        console.print(f"  {one['number']}, {one['version']}: {was}, now {now} ({fields})")


def _some(row: dict[str, Any]) -> str:
    return f"{row['cases']:,} case{'s' * (row['cases'] != 1)}, as {row['example']}"
