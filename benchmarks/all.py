"""Every measurement, one after the other; writes docs/performance.md.

`python -m benchmarks.all [--quick] [forwarding|latency|intake ...]`. A quick run, or one of a
part only, shows that everything works and is printed, never written: its figures mean nothing.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from rich.console import Console

from benchmarks import (
    forwarding,
    intake,
    latency,
    machine,
    notices,
    portal,
    recovery,
    relay,
    routers,
)
from benchmarks.report import Section, Table
from benchmarks.scale import FULL, QUICK, Scale
from benchmarks.stand import ROOT, Stand, stand

_PAGE = ROOT / "docs" / "performance.md"
Measure = Callable[[Stand, Scale, Console], Awaitable[Section]]
QUESTIONS: dict[str, Measure] = {
    "forwarding": forwarding.measure,
    "routers": routers.measure,
    "relay": relay.measure,
    "latency": latency.measure,
    "intake": intake.measure,
    "notices": notices.measure,
    "portal": portal.measure,
    "recovery": recovery.measure,
}


async def main(names: Sequence[str], scale: Scale, console: Console) -> str:
    """Measure; the page as Markdown."""
    sections = []
    began = time.monotonic()
    about: list[tuple[str, str]] = []
    for name in names:
        console.rule(name)
        # Each question has a broker and a database of its own: none inherits another's data.
        async with stand(console) as found:
            sections.append(await QUESTIONS[name](found, scale, console))
            about = machine.describe(found.database)
    minutes = (time.monotonic() - began) / 60
    return _page(sections, about, minutes)


def _page(sections: Sequence[Section], about: list[tuple[str, str]], minutes: float) -> str:
    parts = [
        "# Performance",
        "Measured, side by side, in one run; written by the run itself. The figures are of one "
        "machine that everything shares, the load included: ratios to a peer of the same run "
        "carry over to other machines, absolute figures do not.",
        Table(("machine", ""), tuple(about)).markdown(),
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, in {minutes:.0f} minutes, by:\n\n"
        "```\nmake bench                                      # all of it, and this page\n"
        ".venv/bin/python -m benchmarks.all forwarding   # one question, printed only\n"
        ".venv/bin/python -m benchmarks.all --quick      # does everything work?\n```",
        *(section.markdown() for section in sections),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.all", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything; not written")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(QUESTIONS)}; all")
    given = parser.parse_args()
    if unknown := set(given.names) - set(QUESTIONS):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}")
    screen = Console()
    page = asyncio.run(main(given.names or list(QUESTIONS), QUICK if given.quick else FULL, screen))
    if given.quick or given.names:
        screen.print(page, markup=False, highlight=False, soft_wrap=True)
        reason = "a quick run: the figures mean nothing" if given.quick else "only a part"
        screen.print(f"[yellow]{reason}; docs/performance.md is as it was[/yellow]")
    else:
        _PAGE.parent.mkdir(exist_ok=True)
        _PAGE.write_text(page)
        screen.print(f"written: {_PAGE.relative_to(ROOT)}")
