"""`casebus audit`: is everything where it should be, once? auditing.py says what is compared."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from casebus import auditing
from casebus.running import running


def audit(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    wait_s: Annotated[
        float, typer.Option(help="How long cases on their way may take, in seconds.")
    ] = 30.0,
) -> None:
    """Is every application with exactly one agency, and told of once? Exit 1 when not."""
    system = running()
    verdict = asyncio.run(auditing.audit(system.settings, system.postgres, wait_s))
    if as_json:
        print(json.dumps(asdict(verdict)))
    else:
        Console().print(said(verdict))
    raise SystemExit(1 if verdict.wrong else 0)


def said(verdict: auditing.Verdict) -> str:
    """For a person, with rich's colours."""
    colour = "red" if verdict.wrong else "green"
    others = {
        name: count
        for name, count in verdict.wrong.items()
        if name not in ("lost", "duplicated", "out of order")
    }
    more = "".join(f", {count} {name}" for name, count in others.items())
    aside = f"; {verdict.set_aside} set aside (casebus dead list)" if verdict.set_aside else ""
    return (
        f"[{colour}]{verdict.applications} applications, {verdict.assigned} assigned, "
        f"{verdict.in_back_offices} in back offices; {verdict.lost} lost, "
        f"{verdict.duplicated} duplicated, {verdict.out_of_order} out of order{more}[/{colour}]; "
        f"{verdict.reassigned} assigned again after a return or for a next step; "
        f"{verdict.notices} notices, {verdict.notices_unknown} of them unknown{aside}"
    )
