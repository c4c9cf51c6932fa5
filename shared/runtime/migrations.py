"""Schema changes: plain SQL files, each applied once, in order, under one lock.

The files are `shared/runtime/sql/` (roles, vault, event tables) and `services/*/sql/migrations/`.
An applied file must not change: its checksum is kept, and a difference is refused.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg

ROOT = Path(__file__).resolve().parents[2]
_SQL = Path(__file__).parent / "sql"
SERVICES = ("intake", "backoffice", "notifier", "console")
# Reads what the command line shows (trace, audit, lag); owns nothing and opens nothing.
OPERATOR = "operator"
ROLES = (*SERVICES, OPERATOR)
_LOCK = 7_730_021


class MigrationError(Exception):
    """The database and the files disagree; the message says which file and how to go on."""


def event_tables(schema: str) -> tuple[str, ...]:
    """The SQL of the tables that every service's schema has, in the order in which it applies."""
    names = ("event_tables.sql", "event_tables_0002.sql")
    return tuple((_SQL / name).read_text().format(schema=schema) for name in names)


def files() -> Iterator[tuple[str, str]]:
    """(name, SQL) of every migration, in the order in which they apply."""
    yield "vault/0001", (_SQL / "vault.sql").read_text()
    for service in SERVICES:
        grants = (
            f"CREATE SCHEMA {service};\n"
            f"GRANT USAGE ON SCHEMA {service} TO {service}, {OPERATOR};\n"
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA {service}"
            f" GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {service};\n"
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA {service}"
            f" GRANT USAGE ON SEQUENCES TO {service};\n"
        )
        first, second = event_tables(service)
        yield f"{service}/0000_events", grants + first
        yield f"{service}/0000_events_0002", second
        for path in sorted((ROOT / "services" / service / "sql" / "migrations").glob("*.sql")):
            yield f"{service}/{path.stem}", path.read_text()


async def apply(admin_uri: str, role_passwords: Mapping[str, str]) -> list[str]:
    """Bring the database up to date; returns the names of what was applied now.

    `admin_uri` is a superuser's; `role_passwords` has one for each of ROLES. Raises
    MigrationError when a file that was applied has changed since.
    """
    connection = await asyncpg.connect(admin_uri)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await _roles(connection, role_passwords)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS public.casebus_migrations (name text PRIMARY KEY,"
            " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = await connection.fetch("SELECT name, sha256 FROM public.casebus_migrations")
        known = {row["name"]: row["sha256"] for row in rows}
        applied = []
        for name, sql in files():
            digest = hashlib.sha256(sql.encode()).hexdigest()
            if name in known:
                if known[name] != digest:
                    raise MigrationError(
                        f"migration {name} was changed after it was applied; put the old text "
                        "back and write the change as a new file with the next number"
                    )
                continue
            async with connection.transaction():
                await connection.execute(sql)
                await connection.execute(
                    "INSERT INTO public.casebus_migrations (name, sha256) VALUES ($1, $2)",
                    name,
                    digest,
                )
            applied.append(name)
        return applied
    finally:
        await connection.close()


async def _roles(
    connection: "asyncpg.Connection[asyncpg.Record]", passwords: Mapping[str, str]
) -> None:
    for role in ROLES:
        exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
        verb = "ALTER" if exists else "CREATE"
        # Role names and passwords cannot be parameters; the server quotes both for us.
        statement = await connection.fetchval(
            "SELECT format('%s ROLE %I LOGIN PASSWORD %L', $1::text, $2::text, $3::text)",
            verb,
            role,
            passwords[role],
        )
        await connection.execute(statement)
