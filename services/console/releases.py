"""The way of a release: proposed, perhaps in shadow, approved by another person, live.

Each step is kept in PostgreSQL and told to the routers in one transaction.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

from services.console.domain import (
    OPEN,
    Release,
    ReleaseError,
    day_at_approval,
    first_day,
    in_force,
    person,
    remark,
    same_person,
)
from shared.contract import topics
from shared.contract.events import RulesReleased
from shared.contract.wire import encode
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection, Pool, rows, statements

SCHEMA = "console"
TABLES = Tables(SCHEMA)
# Kafka takes a record of 1 MiB; the rest is for the headers and for what may be added to it.
MOST_BYTES = 900_000
MOST_IN_SHADOW = 3
_LOCK_WITHIN_S = 10
_sql = statements(Path(__file__).parent / "sql")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What somebody wants to release. `document` is that of docs/rules-format.md, `names` are
    those that it was verified against.

    `effective_from` is today when None; in `shadow` it is tried beside the live rules at once.
    """

    ruleset: str
    version: str
    document: Mapping[str, Any]
    by: str
    names: Mapping[str, Sequence[str]]
    effective_from: date | None = None
    shadow: bool = False
    note: str = ""
    rollback_of: int | None = None


async def propose(connection: Connection, proposal: Proposal, today: date) -> tuple[Release, bool]:
    """The release, and whether it is new: what decides already is not released again, nor does
    a repeated proposal make another one. Raises ReleaseError."""
    by, note = person(proposal.by), remark(proposal.note)
    _check_size(proposal.document)
    async with alone(connection):
        known = await all_releases(connection)
        day = first_day(proposal.effective_from, today, known)
        live = in_force(known, day)
        if live is not None and _holds(live, proposal):
            return live, False
        state: Literal["proposed", "shadow"] = "shadow" if proposal.shadow else "proposed"
        for one in known:
            # A day that has passed becomes the one of the approval: for who names none, the same.
            passed = proposal.effective_from is None and one.effective_from <= day
            same = _holds(one, proposal) and (passed or one.effective_from == day)
            if same and one.state == state and same_person(one.proposed_by, by):
                return one, False
        if proposal.shadow and sum(one.state == "shadow" for one in known) >= MOST_IN_SHADOW:
            raise ReleaseError(
                f"{MOST_IN_SHADOW} releases are in shadow, and each decides every case anew:"
                " withdraw one first, `casebus rules withdraw NUMBER`"
            )
        if proposal.shadow and live is not None and live.ruleset != proposal.ruleset:
            raise ReleaseError(
                f"{proposal.ruleset} cannot be tried beside {live.ruleset}, which is live: in "
                "shadow a rule set is compared with an earlier version of its own"
            )
        number = await _sql.put_release(
            connection,
            ruleset=proposal.ruleset,
            version=proposal.version,
            state=state,
            effective_from=day,
            note=note,
            rollback_of=proposal.rollback_of,
            proposed_by=by,
            tables=dict(proposal.document),
            names=dict(proposal.names),
        )
        made = await find(connection, number)
        if made.state == "shadow":
            await _tell(connection, made)
    return made, True


async def approve(
    connection: Connection, number: int, by: str, today: date, names: Mapping[str, Sequence[str]]
) -> tuple[Release, date]:
    """The release, live from now on, and the day that was asked for: when it has passed, today
    has taken its place. `names` are those that it was verified against now. Raises
    ReleaseError."""
    by = person(by)
    async with alone(connection):
        release = _open(await find(connection, number), "approved")
        if same_person(release.proposed_by, by):
            raise ReleaseError(
                f"release {number} was proposed by {release.proposed_by}: another person has to "
                "approve it"
            )
        day = day_at_approval(release, today, await all_releases(connection))
        await _sql.approve_release(
            connection, number=number, effective_from=day, approved_by=by, names=dict(names)
        )
        live = await find(connection, number)
        await _tell(connection, live)
    return live, release.effective_from


async def withdraw(connection: Connection, number: int, by: str) -> Release:
    """The release, withdrawn before it was live. Raises ReleaseError."""
    by = person(by)
    async with alone(connection):
        release = _open(await find(connection, number), "withdrawn")
        await _sql.withdraw_release(connection, number=number, withdrawn_by=by)
        withdrawn = await find(connection, number)
        # The routers have heard of it only when it was in shadow.
        if release.state == "shadow":
            await _tell(connection, withdrawn)
    return withdrawn


async def all_releases(connection: "Connection | Pool") -> Sequence[Release]:
    """Every release, the newest first."""
    return [Release(**row) for row in await rows(_sql.releases(connection))]


async def find(connection: Connection, number: int) -> Release:
    """One release. Raises ReleaseError when there is none of this number."""
    for release in await all_releases(connection):
        if release.number == number:
            return release
    raise ReleaseError(f"there is no release {number}; `casebus rules releases` lists them")


async def document(connection: Connection, number: int) -> dict[str, Any]:
    """The tables of a release that is there."""
    found: dict[str, Any] = await _sql.tables_of_release(connection, number=number)
    return found


async def _names(connection: Connection, number: int) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = await _sql.names_of_release(connection, number=number)
    return {kind: tuple(names) for kind, names in found.items()}


@asynccontextmanager
async def alone(connection: Connection) -> AsyncIterator[None]:
    """A transaction while no other changes a release: what may be done with one goes by the
    others too, and the routers hear of the changes in the order in which they were made."""
    async with connection.transaction():
        await connection.execute(
            "LOCK TABLE console.releases IN SHARE ROW EXCLUSIVE MODE", timeout=_LOCK_WITHIN_S
        )
        yield


def _holds(release: Release, proposal: Proposal) -> bool:
    return (release.ruleset, release.version) == (proposal.ruleset, proposal.version)


def _open(release: Release, wanted: str) -> Release:
    """The release, when it may still be `wanted`. Raises ReleaseError."""
    if release.state in OPEN:
        return release
    if release.state == "withdrawn":
        how = f"was withdrawn by {release.withdrawn_by}; propose its tables again"
    elif wanted == "approved":
        how = f"is live already, approved by {release.approved_by}"
    else:
        how = (
            "is live: a rollback to an earlier one ends it, `casebus rules rollback NUMBER"
            f" --effective-from {release.effective_from}`, or from today when that has passed"
        )
    raise ReleaseError(f"release {release.number} cannot be {wanted}: it {how}")


def _check_size(found: Mapping[str, Any]) -> None:
    size = len(json.dumps(dict(found), ensure_ascii=False, separators=(",", ":")).encode())
    if size > MOST_BYTES:
        raise ReleaseError(
            f"the tables come to {size:,} bytes as JSON, and Kafka takes {MOST_BYTES:,} in one "
            "piece; shorten the notes, or use lists and ranges instead of many rows"
        )


async def _tell(connection: Connection, release: Release) -> None:
    """Tell the routers of the state in which the release is now."""
    assert release.state != "proposed"
    time = release.approved_at or release.withdrawn_at or release.proposed_at
    approvers = (release.proposed_by, release.approved_by) if release.approved_by else ()
    event = RulesReleased(
        id=uuid5(
            NAMESPACE_URL, f"casebus:rules:{release.ruleset}:{release.number}:{release.state}"
        ),
        source="console",
        time=time,
        ruleset=release.ruleset,
        release=release.number,
        version=release.version,
        state=release.state,
        effective_from=release.effective_from,
        approvers=approvers,
        tables=await document(connection, release.number),
        names=await _names(connection, release.number),
    )
    await TABLES.append(connection, [encode(topics.RULES, event)])
