"""Lag as it was measured, kept for a day, and what the last minutes of it say about each consumer
and each outbox."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from services.console.lag import Lag, RelayLag
from services.console.states import WINDOW_S, Sample, State, evaluate, worst
from shared.runtime.postgres import Connection, Pool, rows, statements

_sql = statements(Path(__file__).parent / "sql")
Measured: TypeAlias = "tuple[datetime, Sequence[Lag], Sequence[RelayLag]]"


@dataclass(frozen=True, slots=True)
class Picture:
    """Every consumer and outbox as it was last measured, with its state.

    `groups` and `relays` are the rows that `casebus lag --json` prints; `totals` has one row for
    each consumer group: group, state, members, records, seconds (None: not known).
    """

    sampled_at: datetime | None
    groups: list[dict[str, Any]]
    relays: list[dict[str, Any]]
    totals: list[dict[str, Any]]


async def put_samples(
    connection: Connection, at: datetime, lags: Sequence[Lag], relays: Sequence[RelayLag]
) -> None:
    """Keep one measurement; those older than a day go."""
    async with connection.transaction():
        for lag in lags:
            await _sql.put_sample(
                connection,
                sampled_at=at,
                group_id=lag.group,
                topic=lag.topic,
                partition=lag.partition,
                committed=lag.committed,
                end_offset=lag.end,
                records=lag.records,
                seconds=lag.seconds,
                members=lag.members,
                beginning=lag.beginning,
            )
        for relay in relays:
            await _sql.put_relay_sample(connection, sampled_at=at, **asdict(relay))
        await _sql.delete_old_samples(connection)
        await _sql.delete_old_relay_samples(connection)


async def measured(connection: "Connection | Pool") -> list[Measured]:
    """What was measured in the last minutes that are kept, in order of time."""
    found: dict[datetime, tuple[list[Lag], list[RelayLag]]] = {}
    for row in await rows(_sql.samples(connection, window_s=WINDOW_S)):
        lag = Lag(
            group=row["group_id"],
            topic=row["topic"],
            partition=row["partition"],
            committed=row["committed"],
            end=row["end_offset"],
            records=row["records"],
            seconds=row["seconds"],
            members=row["members"],
            beginning=row["beginning"],
        )
        found.setdefault(row["sampled_at"], ([], []))[0].append(lag)
    for row in await rows(_sql.relay_samples(connection, window_s=WINDOW_S)):
        values = {name: value for name, value in dict(row).items() if name != "sampled_at"}
        found.setdefault(row["sampled_at"], ([], []))[1].append(RelayLag(**values))
    return [(at, *of) for at, of in sorted(found.items())]


def picture(measured: Sequence[Measured]) -> Picture:
    """What the newest measurement shows, judged with those of the minutes before it."""
    if not measured:
        return Picture(None, [], [], [])
    at, lags, relays = measured[-1]
    recent = [one for one in measured if (at - one[0]).total_seconds() <= WINDOW_S]
    partitions: dict[tuple[str, str, int], list[Sample]] = {}
    outboxes: dict[str, list[Sample]] = {}
    places: dict[str, dict[str, int]] = {}
    for then, then_lags, then_relays in recent:
        for lag in then_lags:
            key = (lag.group, lag.topic, lag.partition)
            partitions.setdefault(key, []).append(_sample(then.timestamp(), lag))
        for relay in then_relays:
            # Positions are told apart by the order in which they were seen.
            seen = places.setdefault(relay.outbox, {})
            place = seen.setdefault(relay.position, len(seen))
            sample = Sample(
                *(then.timestamp(), place, place, relay.rows, relay.seconds),
                beginning=None if relay.fits else place + 2,
            )
            outboxes.setdefault(relay.outbox, []).append(sample)
    together: dict[str, int] = {}
    for lag in lags:
        together[lag.group] = together.get(lag.group, 0) + lag.records
    groups = []
    for lag in lags:
        window = partitions[lag.group, lag.topic, lag.partition]
        groups.append(asdict(lag) | {"state": evaluate(window, together[lag.group])})
    return Picture(
        at,
        groups,
        [asdict(relay) | {"state": evaluate(outboxes[relay.outbox])} for relay in relays],
        totals(groups),
    )


def _sample(at_s: float, lag: Lag) -> Sample:
    return Sample(
        at_s, lag.committed, lag.end, lag.records, lag.seconds, lag.members, lag.beginning
    )


def totals(groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each group: the worst state, all records, the greatest age."""
    of: dict[str, list[dict[str, Any]]] = {}
    for one in groups:
        of.setdefault(one["group"], []).append(one)
    found = []
    for group, parts in of.items():
        ages = [part["seconds"] for part in parts]
        states: list[State] = [part["state"] for part in parts]
        found.append(
            {
                "group": group,
                "state": worst(states),
                "members": parts[0]["members"],
                "records": sum(part["records"] for part in parts),
                "seconds": None if None in ages else max(ages),
            }
        )
    return found
