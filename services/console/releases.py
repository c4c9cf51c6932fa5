"""Releasing a rule set: kept in PostgreSQL and told to the routers, in one transaction."""

import hashlib
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from shared.contract import topics
from shared.contract.events import RulesReleased
from shared.contract.wire import encode
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Connection, statements

SCHEMA = "console"
TABLES = Tables(SCHEMA)
_sql = statements(Path(__file__).parent / "sql")


async def release(
    connection: Connection,
    ruleset: str,
    tables: dict[str, Any],
    effective_from: date,
    approvers: tuple[str, ...],
) -> tuple[str, bool]:
    """The version, made from the tables' content, and whether it is new.

    Releasing the same tables again changes nothing.
    """
    canonical = json.dumps(tables, sort_keys=True, ensure_ascii=False).encode()
    version = hashlib.sha256(canonical).hexdigest()[:12]
    async with connection.transaction():
        if await _sql.has_release(connection, ruleset=ruleset, version=version):
            return version, False
        await _sql.put_release(
            connection,
            ruleset=ruleset,
            version=version,
            effective_from=effective_from,
            approvers=list(approvers),
            tables=tables,
        )
        event = RulesReleased(
            id=uuid5(NAMESPACE_URL, f"casebus:rules:{ruleset}:{version}"),
            source="console",
            time=datetime.now(UTC),
            ruleset=ruleset,
            version=version,
            effective_from=effective_from,
            approvers=approvers,
            tables=tables,
        )
        await TABLES.append(connection, [encode(topics.RULES, event)])
    return version, True
