"""What was set aside anywhere in the city, each under a name by which an operator orders.

SERVICE:NUMBER is an event parked with its case, SERVICE:row:NUMBER an outbox row that Kafka
refuses, TOPIC:PARTITION:OFFSET a dead letter of the router, or of an agency's command that was
refused.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from shared.contract import topics
from shared.runtime.migrations import SERVICES
from shared.runtime.postgres import Connection
from shared.runtime.reading import committed_records
from shared.runtime.settings import Settings

Kind = Literal["parked", "waiting", "row", "letter", "refused"]
LETTERS = (
    topics.dead(topics.APPLICATIONS),
    topics.dead(topics.CASES),
    topics.dead(topics.ROUTER_REPLAYS),
    topics.AGENCY_UPDATES_DEAD,
)
_NAMES = (
    (re.compile(rf"({'|'.join(SERVICES)}):(\d{{1,18}})"), "parked"),
    (re.compile(rf"({'|'.join(SERVICES)}):row:(\d{{1,18}})"), "row"),
    (re.compile(r"([a-z][\w.-]*\.dead):(\d{1,9}):(\d{1,18})", re.ASCII), "letter"),
)


@dataclass(frozen=True, slots=True)
class SetAside:
    """`origin` is where the record stands that was set aside: TOPIC:PARTITION:OFFSET.

    `number` is the case's number, empty where no case of this id is known. A waiting event is
    sound: an earlier one of its case is parked. A refused command is its agency's to send again.
    """

    name: str
    kind: Kind
    case_id: str
    number: str
    code: str
    error: str
    origin: str
    first_at: datetime
    last_at: datetime
    tries: int


@dataclass(frozen=True, slots=True)
class Named:
    """A name, taken apart: the service that carries out orders about it, and their target."""

    service: str
    kind: Literal["parked", "row", "letter"]
    target: str


def named(name: str) -> Named:
    """Raises ValueError when `name` is none."""
    for pattern, kind in _NAMES:
        found = pattern.fullmatch(name)
        if found is None:
            continue
        if kind == "letter":
            return Named("console", "letter", name)
        return Named(found[1], "parked" if kind == "parked" else "row", found[2])
    raise ValueError(
        f"{name!r} names nothing that can be set aside; `casebus dead list` shows the names, such "
        "as backoffice:17, intake:row:5 or applications.events.dead:0:12"
    )


async def all_set_aside(settings: Settings, connection: Connection) -> list[SetAside]:
    """Everything, the oldest first. Raises KafkaError, and what the database raises."""
    found = [*await _parked(connection), *await _rows(connection)]
    found += await _letters(settings, connection)
    numbers = await _numbers(connection, {one.case_id for one in found})
    return sorted(
        (replace(one, number=numbers.get(one.case_id, "")) for one in found),
        key=lambda one: (one.first_at, one.name),
    )


async def _parked(connection: Connection) -> list[SetAside]:
    found = []
    for service in SERVICES:
        rows = await connection.fetch(
            'SELECT seq, topic, partition, "offset", case_id, code, error, parked_at, last_at,'
            f" tries FROM {service}.parked ORDER BY seq"
        )
        found += [
            SetAside(
                f"{service}:{row['seq']}",
                "waiting" if row["code"] == "case.waiting" else "parked",
                row["case_id"],
                "",
                row["code"],
                row["error"],
                f"{row['topic']}:{row['partition']}:{row['offset']}",
                row["parked_at"],
                row["last_at"],
                row["tries"],
            )
            for row in rows
        ]
    return found


async def _rows(connection: Connection) -> list[SetAside]:
    found = []
    for service in SERVICES:
        rows = await connection.fetch(
            "SELECT seq, topic, key, created_at, refused"
            f" FROM {service}.outbox WHERE refused IS NOT NULL ORDER BY seq"
        )
        found += [
            SetAside(
                f"{service}:row:{row['seq']}",
                "row",
                row["key"].decode("utf-8", "replace"),
                "",
                "row.refused",
                row["refused"],
                row["topic"],
                row["created_at"],
                row["created_at"],
                1,
            )
            for row in rows
        ]
    return found


async def _letters(settings: Settings, connection: Connection) -> list[SetAside]:
    settled = {
        row["target"]
        for row in await connection.fetch(
            "SELECT target FROM console.dead_orders WHERE kind = 'letter' AND settled"
        )
    }
    found = []
    async for letter in committed_records(settings, LETTERS):
        name = f"{letter.topic}:{letter.partition}:{letter.offset}"
        refused = letter.topic == topics.AGENCY_UPDATES_DEAD
        # A copy of what a service has parked is listed there.
        if name in settled or not (refused or letter.header("dead_group") == "router"):
            continue
        at = datetime.fromtimestamp(letter.timestamp_ms / 1000, UTC)
        found.append(
            SetAside(
                name,
                "refused" if refused else "letter",
                letter.case_id,
                "",
                letter.header("dead_code") or "",
                letter.header("dead_error") or "",
                ":".join(
                    letter.header(f"dead_{part}") or "" for part in ("topic", "partition", "offset")
                ),
                _time(letter.header("dead_first_at"), at),
                _time(letter.header("dead_last_at"), at),
                int(letter.header("dead_tries") or 1),
            )
        )
    return found


def _time(text: str | None, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(text) if text else otherwise
    except ValueError:
        return otherwise


async def _numbers(connection: Connection, case_ids: set[str]) -> dict[str, str]:
    rows = await connection.fetch(
        "SELECT case_id::text, number FROM intake.applications WHERE case_id::text = ANY($1)",
        sorted(case_ids),
    )
    return {row["case_id"]: row["number"] for row in rows}
