"""PostgreSQL: the pool, the statements in sql/*.sql by name, and which failures may pass."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeAlias

import aiosql
import asyncpg
from asyncpg.pool import PoolConnectionProxy

from shared.runtime.settings import StoreSettings

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

# What is down, not what is wrong: worth another try. A cancelled or serialised transaction too.
TRANSIENT: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What asyncpg raises when a server is killed in the middle of an answer.
    asyncpg.InternalClientError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InsufficientResourcesError,
    asyncpg.QueryCanceledError,
)


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )


async def open_pool(settings: StoreSettings, name: str) -> Pool:
    """A pool for this process; `name` is what the database's own views show."""
    return await asyncpg.create_pool(
        settings.postgres.get_secret_value(),
        min_size=1,
        max_size=settings.pool_max,
        command_timeout=30,
        init=_prepare,
        server_settings={"application_name": f"casebus-{name}"},
    )


async def connect(uri: str) -> "asyncpg.Connection[asyncpg.Record]":
    """One connection, for a command."""
    connection = await asyncpg.connect(uri)
    await _prepare(connection)
    return connection


def statements(folder: Path) -> Any:
    """The named statements of a service's sql folder (`-- name: put_application!`)."""
    return aiosql.from_path(folder, "asyncpg", mandatory_parameters=False)


async def rows(selected: AsyncIterator[Any]) -> list[Any]:
    """All rows of a named SELECT."""
    return [row async for row in selected]


async def answers(pool: Pool) -> bool:
    """Whether the database answers within a second; for health."""
    try:
        return bool(await pool.fetchval("SELECT true", timeout=1))
    except TRANSIENT:
        return False
