"""`casebus audit`: an auditor that trusts nobody: Kafka's records against intake's rows.

It reads every agency topic from the beginning, read_committed, with a consumer of its own, and
compares multisets: each application must have exactly one assignment that its submission
caused. Later assignments (returns, chains) have other causes and are counted beside.
"""

import asyncio
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Annotated
from uuid import UUID

import asyncpg
import typer
from aiokafka import AIOKafkaConsumer
from rich.console import Console

from casebus.running import running
from catalogue import load_catalogue
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.events import CaseAssigned
from shared.contract.wire import decode
from shared.runtime import kafka
from shared.runtime.settings import Settings


@dataclass(slots=True)
class Verdict:
    """`assigned` are applications with the assignment that their submission caused.

    `in_back_offices` are those whose case a back office holds; `reassigned` counts
    assignments after a return or for the next step of a chain; `unreadable` records are no
    events at all.
    """

    applications: int = 0
    assigned: int = 0
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    in_back_offices: int = 0
    reassigned: int = 0
    unreadable: int = 0
    lost_numbers: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicated or self.out_of_order or self.unreadable)


def audit(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    wait_s: Annotated[
        float, typer.Option(help="How long cases on their way may take, in seconds.")
    ] = 30.0,
) -> None:
    """Is every application with exactly one agency? Exit 1 when something is wrong."""
    verdict = asyncio.run(_audit(wait_s))
    if as_json:
        print(json.dumps(asdict(verdict)))
    else:
        colour = "green" if verdict.good else "red"
        Console().print(
            f"[{colour}]{verdict.applications} applications, {verdict.assigned} assigned, "
            f"{verdict.in_back_offices} in back offices; {verdict.lost} lost, "
            f"{verdict.duplicated} duplicated, {verdict.out_of_order} out of order[/{colour}]; "
            f"{verdict.reassigned} assigned again after a return or for a next step"
        )
    raise SystemExit(0 if verdict.good else 1)


async def _audit(wait_s: float) -> Verdict:
    system = running()
    connection = await asyncpg.connect(system.postgres)
    try:
        rows = await connection.fetch("SELECT case_id, number, event_id FROM intake.applications")
        wanted = {row["event_id"]: (row["case_id"], row["number"]) for row in rows}
        found = Assignments()
        names = [topics.agency_cases(code) for code in load_catalogue().agencies]
        await found.read(system.settings, names, set(wanted), wait_s)
        verdict = found.verdict(wanted)
        cases = [case for case, _ in wanted.values()]
        deadline = time.monotonic() + wait_s
        while True:
            verdict.in_back_offices = await connection.fetchval(
                "SELECT count(*) FROM backoffice.cases WHERE case_id = ANY($1)", cases
            )
            if verdict.in_back_offices >= verdict.assigned or time.monotonic() > deadline:
                return verdict
            await asyncio.sleep(0.3)
    finally:
        await connection.close()


class Assignments:
    """Every record of the agencies' topics, counted."""

    def __init__(self) -> None:
        self.ids: Counter[UUID] = Counter()
        self.causes: Counter[UUID] = Counter()
        self.steps: dict[UUID, list[CaseAssigned]] = {}
        self.unreadable = 0
        self.reassigned = 0

    async def read(
        self, settings: Settings, names: list[str], causes: set[UUID], wait_s: float
    ) -> None:
        """Read to the end, and on until every cause is there or the time is over."""
        consumer: AIOKafkaConsumer = kafka.consumer(settings, *names)
        await consumer.start()
        deadline = time.monotonic() + wait_s
        quiet = 0
        try:
            # Two quiet polls after the last cause: a second copy would show itself there.
            while quiet < 2:
                got = await consumer.getmany(timeout_ms=500)
                for message in (message for batch in got.values() for message in batch):
                    self._take(message)
                complete = causes <= self.causes.keys()
                quiet = quiet + 1 if not got and complete else 0
                if time.monotonic() > deadline and not got:
                    return
        finally:
            await consumer.stop()

    def _take(self, message: object) -> None:
        try:
            event = decode(kafka.record_of(message))
        except PermanentError:
            self.unreadable += 1
            return
        if isinstance(event, CaseAssigned):
            self.ids[event.id] += 1
            self.causes[event.cause] += 1
            self.reassigned += event.step > 1 or bool(event.tried)
            self.steps.setdefault(event.case_id, []).append(event)

    def verdict(self, wanted: dict[UUID, tuple[UUID, str]]) -> Verdict:
        missing = [number for event, (_, number) in wanted.items() if not self.causes[event]]
        return Verdict(
            applications=len(wanted),
            assigned=len(wanted) - len(missing),
            lost=len(missing),
            duplicated=sum(count - 1 for count in self.causes.values()),
            out_of_order=sum(map(self._out_of_order, self.steps.values())),
            reassigned=self.reassigned,
            unreadable=self.unreadable,
            lost_numbers=sorted(missing)[:20],
        )

    @staticmethod
    def _out_of_order(steps: list[CaseAssigned]) -> int:
        """Within one agency's topic, a case's assignments must come in the order of their time."""
        wrong = 0
        last: dict[str, CaseAssigned] = {}
        for event in steps:
            before = last.get(event.agency)
            if before is not None and before.time > event.time:
                wrong += 1
            last[event.agency] = event
        return wrong
