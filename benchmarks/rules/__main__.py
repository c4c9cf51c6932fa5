"""The rules library beside its peers in one run; writes docs/rules-performance.md.

`python -m benchmarks.rules [--quick]`. A quick run shows that everything works and is printed,
never written: its figures mean nothing.
"""

import argparse
import os
import platform
import subprocess
import time
from datetime import UTC, datetime

from rich.console import Console

from benchmarks.forwarding import PEERS, install_peers
from benchmarks.machine import memory_bytes, processor
from benchmarks.report import Table
from benchmarks.rules.page import sections
from benchmarks.rules.results import Results, from_json
from benchmarks.stand import ROOT

_PAGE = ROOT / "docs" / "rules-performance.md"
_TIMEOUT_S = 600


def main(console: Console, *, quick: bool) -> str:
    """Measure; the page as Markdown."""
    install_peers(console)
    load, began = os.getloadavg()[0], time.monotonic()
    command = [str(PEERS / "bin" / "python"), "-m", "benchmarks.rules.measure"]
    # Progress is on standard error, which stays the terminal's.
    done = subprocess.run(
        command + ["--quick"] * quick,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_TIMEOUT_S,
    )
    if done.returncode:
        raise SystemExit("The measurement ended early; what stopped it stands above.")
    return _page(from_json(done.stdout), (time.monotonic() - began) / 60, load)


def _page(results: Results, minutes: float, load: float) -> str:
    about = [
        ("processor", f"{processor()}, {len(os.sched_getaffinity(0))} cores; one is used"),
        ("memory", f"{memory_bytes() / 2**30:.0f} GiB"),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("Python", platform.python_version()),
        ("load average before the run", f"{load:.1f}"),
        ("libraries", ", ".join(f"{name} {what}" for name, what in results.versions.items())),
    ]
    parts = [
        "# Performance of the rules",
        "Measured, side by side, in one run; written by the run itself. Ratios to a peer of the "
        "same run carry over to other machines, absolute figures do not.",
        Table(("machine", ""), tuple(about)).markdown(),
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, in {minutes:.0f} minutes, by:\n\n"
        "```\nmake bench-rules                                # all of it, and this page\n"
        ".venv/bin/python -m benchmarks.rules --quick    # does everything work?\n```",
        *(section.markdown() for section in sections(results)),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rules", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything; not written")
    given = parser.parse_args()
    screen = Console()
    page = main(screen, quick=given.quick)
    if given.quick:
        screen.print(page, markup=False, highlight=False, soft_wrap=True)
        screen.print("[yellow]a quick run: the figures mean nothing; nothing is written[/yellow]")
    else:
        _PAGE.write_text(page, encoding="utf-8")
        screen.print(f"written: {_PAGE.relative_to(ROOT)}")
