"""A replay in a process of its own, which can be told to end itself at some batch.

Arguments: the topics of applications, cases and rules; the CSV; the batch; the signal. The
broker is in the environment, as for a service.
"""

import asyncio
import os
import signal
import sys
from datetime import date
from pathlib import Path

from casebus.replay.history import History, TopicNames
from casebus.replay.journal import Journal
from casebus.replay.totals import Totals
from casebus.replay.way import Way
from casebus.replay.work import Work
from services.router.rules import from_document
from shared.runtime.settings import Settings, load
from tests.histories import AFTER, ROUTERS


async def replay(names: TopicNames, table: Path, ends_at: int, ending: int) -> Totals:
    batches = 0

    def told(way: Way, totals: Totals) -> None:
        nonlocal batches
        batches += 1
        if batches == ends_at:
            os.kill(os.getpid(), ending)

    def resumed(way: Way, totals: Totals) -> None:
        print(f"resumed after {totals.applications}")

    work = Work(from_document(AFTER, ROUTERS), date(2026, 11, 24), save_every=20)
    journal = Journal(table, table.with_suffix(".state"), {"since": "2026-11-24"})
    async with History(load(Settings), names, most_records=7) as history:
        return await work.run(history, journal, resumed, told, restart=False)


if __name__ == "__main__":
    applications, cases, rules, csv, batch, name = sys.argv[1:]
    names = TopicNames(applications, cases, rules)
    try:
        totals = asyncio.run(replay(names, Path(csv), int(batch), signal.Signals[name]))
    except KeyboardInterrupt:
        sys.exit(130)
    print(totals.to_json())
