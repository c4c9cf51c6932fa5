"""`casebus trace`: every step of a case, from the records themselves."""

import asyncio
import json
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import typer
from rich.console import Console
from rich.table import Table

from casebus.running import running
from services.intake.identity import InvalidValue, parse_case_number
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.events import (
    ApplicationSubmitted,
    CaseAssigned,
    CaseReturned,
    CaseRouted,
    CaseStatusChanged,
    CaseStepCompleted,
    Event,
    NoticeStateChanged,
)
from shared.contract.wire import Record, decode
from shared.runtime import kafka
from shared.runtime.settings import Settings


def trace(
    number: Annotated[str, typer.Argument(help="The case's number, such as 20261124-0000012-3.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Every step of a case: time, topic, partition, offset, decision, notices."""
    try:
        wanted = parse_case_number(number)
    except InvalidValue as error:
        print(f"casebus: {error.message_en}", file=sys.stderr)
        raise SystemExit(2) from None
    steps = asyncio.run(_trace(wanted))
    if not steps:
        print(f"casebus: no case has the number {wanted}", file=sys.stderr)
        raise SystemExit(1)
    if as_json:
        print(json.dumps({"number": wanted, "steps": steps}, ensure_ascii=False))
        return
    table = Table("time (UTC)", "where", "what", "detail", title=f"case {wanted}")
    for step in steps:
        where = f"{step['topic']} {step['partition']}:{step['offset']}"
        table.add_row(step["at"][5:23].replace("T", " "), where, step["what"], step["detail"])
    Console().print(table)


async def _trace(number: str) -> list[dict[str, Any]]:
    system = running()
    connection = await asyncpg.connect(system.postgres)
    try:
        row = await connection.fetchrow(
            "SELECT case_id, received_at FROM intake.applications WHERE number = $1", number
        )
        if row is None:
            return []
        agencies = await connection.fetch(
            "SELECT DISTINCT agency FROM backoffice.assignments WHERE case_id = $1", row["case_id"]
        )
        names = [topics.APPLICATIONS, topics.CASES, topics.NOTICES]
        names += [topics.agency_cases(a["agency"]) for a in agencies]
        found = await _records(system.settings, names, row["case_id"], row["received_at"])
    finally:
        await connection.close()
    steps = []
    for record in found:
        try:
            event = decode(record)
        except PermanentError as error:
            steps.append(_step(record, "unreadable", error.code, None))
            continue
        if event is not None:
            what, detail = _told(event)
            steps.append(_step(record, what, detail, event.time))
    # What was done in one transaction has one time: the agency's record first, then the news.
    return sorted(steps, key=lambda step: (step["at"], step["what"] == "routed"))


def _step(record: Record, what: str, detail: str, at: datetime | None) -> dict[str, Any]:
    seen = datetime.fromtimestamp(record.timestamp_ms / 1000).astimezone()
    return {
        "at": (at or seen).isoformat(),
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "what": what,
        "detail": detail,
    }


def _told(event: Event) -> tuple[str, str]:
    match event:
        case ApplicationSubmitted():
            return "submitted", event.service
        case CaseAssigned():
            why = event.decision
            detail = f"to {event.agency}, step {event.step}: {why.outcome}"
            return "assigned", f"{detail} {why.rule or ''} ({why.ruleset} {why.version})"
        case CaseRouted():
            return "routed", f"{event.agency}: {event.decision.outcome}"
        case CaseReturned():
            return "returned", f"by {event.agency}: {event.reason}"
        case CaseStepCompleted():
            return "step completed", f"by {event.agency}; next {', '.join(event.chain)}"
        case CaseStatusChanged():
            passed = " > ".join(event.path)
            return "status", f"{event.from_status} > {passed} by {event.by} {event.reason}"
        case NoticeStateChanged():
            return "notice", f"{event.channel} {event.template}: {event.state} {event.reason}"
    return event.type, ""


async def _records(
    settings: Settings, names: Iterable[str], case_id: UUID, since: datetime
) -> list[Record]:
    """The case's records in `names`, from the day it was received on."""
    key = str(case_id).encode()
    async with kafka.started(kafka.consumer(settings)) as consumer:
        partitions = await kafka.partitions_of(consumer, names)
        start_ms = int(since.timestamp() * 1000) - 60_000
        starts = await consumer.offsets_for_times(dict.fromkeys(partitions, start_ms))
        ends = await consumer.end_offsets(partitions)
        waiting = {p for p in partitions if starts[p] is not None}
        consumer.assign(list(waiting))
        for partition in waiting:
            consumer.seek(partition, starts[partition].offset)
        found: list[Record] = []
        deadline = time.monotonic() + 60
        while waiting and time.monotonic() < deadline:
            got = await consumer.getmany(*waiting, timeout_ms=200)
            for batch in got.values():
                found += [kafka.record_of(m) for m in batch if m.key == key]
            for partition in list(waiting):
                if await consumer.position(partition) >= ends[partition]:
                    waiting.discard(partition)
        return found
