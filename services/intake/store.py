"""Intake's tables in PostgreSQL, behind the ports of handlers.py."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from services.intake.handlers import Application, Duplicate, Known, RepeatedKeyError, Step
from shared.contract.wire import Outgoing
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection, Pool, rows, statements

SCHEMA = "intake"
_SEQUENCES_AT_ONCE = 100
sql = statements(Path(__file__).parent / "sql")


class PostgresApplications:
    """Every write is one statement, so it is one transaction: all of it or nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sequences: list[int] = []

    async def next_sequence(self) -> int:
        """A number that no other case has. Gaps are no loss: numbers are taken in advance."""
        while not self._sequences:
            found = await rows(sql.next_sequences(self._pool, count=_SEQUENCES_AT_ONCE))
            self._sequences.extend(row["n"] for row in found)
        return self._sequences.pop(0)

    async def put(self, application: Application, wrapped_key: bytes, event: Outgoing) -> None:
        try:
            await sql.put_application(
                self._pool,
                **kept(application),
                key_sha256=application.key_sha256,
                body_sha256=application.body_sha256,
                wrapped=wrapped_key,
                **columns(event),
            )
        except asyncpg.UniqueViolationError as error:
            if error.table_name == "idempotency":
                raise RepeatedKeyError from None
            raise

    async def duplicates(
        self, case_id: UUID, person: bytes, contact: bytes, since: datetime
    ) -> list[Duplicate]:
        found = await rows(
            sql.duplicates(self._pool, case_id=case_id, person=person, contact=contact, since=since)
        )
        return [Duplicate(**dict(row)) for row in found]

    async def by_key(self, key_sha256: bytes) -> Known | None:
        row = await sql.find_idempotency(self._pool, key_sha256=key_sha256)
        return None if row is None else Known(**dict(row))

    async def by_number(self, number: str) -> tuple[UUID, str, datetime] | None:
        row = await sql.find_application(self._pool, number=number)
        return None if row is None else (row["case_id"], row["service"], row["received_at"])

    async def steps(self, case_id: UUID) -> Sequence[Step]:
        found = await rows(sql.steps_of(self._pool, case_id=case_id))
        return [Step(**dict(row)) for row in found]

    async def is_proven(self, case_id: UUID) -> bool:
        """Whether the case was confirmed by a link that went to its address."""
        found: bool = await sql.is_proven(self._pool, case_id=case_id)
        return found

    async def ask(
        self,
        case_id: UUID,
        event_id: UUID,
        kind: str,
        at: datetime,
        detail: dict[str, object],
        event: Outgoing,
    ) -> bool:
        """What the citizen adds to a case or asks of it; False when that was said already."""
        asked = await sql.put_request(
            self._pool,
            case_id=case_id,
            event_id=event_id,
            kind=kind,
            happened_at=at,
            detail=detail,
            **columns(event),
        )
        return asked is not None


class PostgresGuesses:
    """What was tried how often, by a keyed hash of what it was tried at."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def put(self, subject: bytes) -> None:
        await sql.put_guess(self._pool, subject=subject)

    async def count(self, subject: bytes, since: datetime, most: int) -> int:
        found: int = await sql.guesses(self._pool, subject=subject, since=since, most=most)
        return found


class PostgresSteps:
    """The projection's writes, inside the transaction of `connection`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, event_id: UUID, case_id: UUID, step: Step) -> None:
        values: dict[str, Any] = {
            "happened_at": step.happened_at,
            "kind": step.kind,
            "agency": step.agency,
            "status": step.status,
            "detail": step.detail,
        }
        await sql.put_step(self._connection, event_id=event_id, case_id=case_id, **values)


def kept(application: Application) -> dict[str, object]:
    """An application as its row; without what only the API has."""
    return {
        "case_id": application.case_id,
        "number": application.number,
        "service": application.service,
        "facts": application.facts,
        "sealed": application.sealed,
        "received_at": application.received_at,
        "event_id": application.event_id,
        "person": application.person,
        "proven": application.proven,
        "duplicates": list(application.duplicates),
    }


def columns(event: Outgoing) -> dict[str, object]:
    """An event as a row of the outbox."""
    topic, key, header_names, header_values, value = Tables.row(event)
    return {
        "topic": topic,
        "key": key,
        "header_names": header_names,
        "header_values": header_values,
        "value": value,
    }
