"""The schema as the migrations make it, and what each role may and may not do in it."""

from base64 import b64encode
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from shared.contract.errors import PermanentError
from shared.contract.events import ApplicationSubmitted
from shared.contract.wire import encode
from shared.runtime import migrations
from shared.runtime.outbox import Tables
from shared.runtime.postgres import Pool
from shared.runtime.vault import Vault
from tests import examples
from tests.conformance.conftest import PASSWORDS, Database

Pools = dict[str, Pool]


async def test_what_was_applied_is_not_applied_again(database: Database) -> None:
    assert await migrations.apply(database.admin_uri, PASSWORDS) == []


async def test_a_file_that_changed_after_it_was_applied_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, sql = list(migrations.files())[1]
    monkeypatch.setattr(migrations, "files", lambda: iter([(name, f"{sql}\n-- mended")]))

    with pytest.raises(migrations.MigrationError, match=name):
        await migrations.apply(database.admin_uri, PASSWORDS)


async def test_a_file_that_fails_leaves_nothing_and_the_next_start_tries_it_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "CREATE TABLE public.half (n int); SELECT 1 / 0;"
    monkeypatch.setattr(migrations, "files", lambda: iter([("test/0001", broken)]))
    for _ in range(2):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrations.apply(database.admin_uri, PASSWORDS)

    assert await database.admin.fetchval("SELECT to_regclass('public.half')") is None


FORBIDDEN = [
    *((role, f"SELECT {column} FROM vault.keys") for role in migrations.ROLES for column in "*1"),
    *((role, "SELECT * FROM vault.openings") for role in migrations.ROLES),
    *((role, "SELECT vault.create_key(gen_random_uuid(), '')") for role in migrations.ROLES[1:]),
    *((role, "SELECT vault.shred_key(gen_random_uuid())") for role in migrations.ROLES[1:]),
    ("console", "SELECT vault.open_key(gen_random_uuid(), 'curiosity')"),
    ("operator", "SELECT vault.open_key(gen_random_uuid(), 'curiosity')"),
    ("intake", "SELECT * FROM backoffice.cases"),
    ("intake", "UPDATE backoffice.cases SET status = 'CLOSED'"),
    ("intake", "INSERT INTO notifier.inbox VALUES (gen_random_uuid())"),
    ("backoffice", "SELECT * FROM intake.applications"),
    ("backoffice", "SELECT * FROM notifier.recipients"),
    ("notifier", "SELECT * FROM intake.applications"),
    ("notifier", "SELECT * FROM backoffice.cases"),
    ("console", "SELECT sealed FROM backoffice.cases"),
    ("console", "SELECT facts FROM backoffice.cases"),
    ("console", "SELECT context FROM notifier.notices"),
    ("console", "DELETE FROM backoffice.parked"),
    ("operator", "SELECT sealed FROM intake.applications"),
    ("operator", "SELECT facts FROM intake.applications"),
    ("operator", "SELECT * FROM intake.steps"),
    ("operator", "SELECT * FROM notifier.recipients"),
    *((role, "SELECT value FROM intake.outbox") for role in ("console", "operator")),
    *((role, "SELECT value FROM backoffice.parked") for role in ("console", "operator")),
    *((role, "DELETE FROM intake.applications") for role in ("backoffice", "operator")),
    *((role, "SELECT * FROM public.casebus_migrations") for role in migrations.SERVICES),
    *((role, "CREATE TABLE public.mine (n int)") for role in migrations.ROLES),
]


@pytest.mark.parametrize(("role", "statement"), FORBIDDEN)
async def test_a_role_may_not(pools: Pools, role: str, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pools[role].execute(statement)


ALLOWED = [
    ("operator", "SELECT case_id, number, service, received_at, event_id FROM intake.applications"),
    ("operator", "SELECT * FROM backoffice.assignments"),
    ("operator", "SELECT * FROM backoffice.history"),
    *(
        (role, f"SELECT xid, seq, created_at, refused FROM {schema}.outbox")
        for role in ("console", "operator")
        for schema in migrations.SERVICES
    ),
    *(
        (role, f"SELECT topic, code, case_id FROM {schema}.parked")
        for role in ("console", "operator")
        for schema in migrations.SERVICES
    ),
    ("console", "SELECT agency, status, due_on FROM backoffice.cases"),
]


@pytest.mark.parametrize(("role", "statement"), ALLOWED)
async def test_a_role_may(pools: Pools, role: str, statement: str) -> None:
    await pools[role].execute(statement)


# --- the vault


def _vault() -> Vault:
    return Vault(SecretStr(b64encode(bytes(32)).decode()))


async def _kept_key(pools: Pools) -> tuple[Any, str]:
    """A case with a key, and something sealed for it."""
    case_id = uuid4()
    key, wrapped = _vault().new_key(case_id)
    await pools["intake"].execute("SELECT vault.create_key($1, $2)", case_id, wrapped)
    return case_id, key.seal(b"the applicant")


@pytest.mark.parametrize("role", ["intake", "backoffice", "notifier"])
async def test_a_service_opens_what_intake_sealed_and_that_is_written_down(
    pools: Pools, clean: Database, role: str
) -> None:
    case_id, sealed = await _kept_key(pools)

    async with pools[role].acquire() as connection:
        key = await _vault().open(connection, case_id, "to read it")

    assert key.unseal(sealed) == b"the applicant"
    row = await clean.admin.fetchrow("SELECT * FROM vault.openings WHERE case_id = $1", case_id)
    assert row is not None
    assert (row["opened_by"], row["purpose"]) == (role, "to read it")


async def test_a_key_that_was_shredded_opens_nothing_any_more(
    pools: Pools, clean: Database
) -> None:
    case_id, _ = await _kept_key(pools)
    await pools["intake"].execute("SELECT vault.shred_key($1)", case_id)

    async with pools["notifier"].acquire() as connection:
        with pytest.raises(PermanentError) as refused:
            await _vault().open(connection, case_id, "notice")
    assert refused.value.code == "vault.no_key"
    assert await clean.admin.fetchval("SELECT count(*) FROM vault.keys WHERE wrapped <> ''") == 0


async def test_a_key_cannot_be_replaced(pools: Pools, clean: Database) -> None:
    case_id, _ = await _kept_key(pools)

    with pytest.raises(asyncpg.UniqueViolationError):
        await pools["intake"].execute("SELECT vault.create_key($1, 'x')", case_id)


# --- the event tables of every service, as its own role


@pytest.mark.parametrize("service", migrations.SERVICES)
async def test_records_wait_in_the_outbox_in_the_order_in_which_they_were_told(
    pools: Pools, clean: Database, service: str
) -> None:
    out = [encode("any", examples.event(ApplicationSubmitted), "trace") for _ in range(5)]
    async with pools[service].acquire() as connection, connection.transaction():
        await Tables(service).append(connection, out[:3])
        await Tables(service).append(connection, out[3:])

    rows = await pools[service].fetch(f"SELECT * FROM {service}.outbox ORDER BY xid, seq")
    assert [Tables.row(one) for one in out] == [
        (row["topic"], row["key"], row["header_names"], row["header_values"], row["value"])
        for row in rows
    ]


@pytest.mark.parametrize("service", migrations.SERVICES)
async def test_an_event_is_there_for_the_first_time_once(
    pools: Pools, clean: Database, service: str
) -> None:
    tables, one, other = Tables(service), uuid4(), uuid4()

    async with pools[service].acquire() as connection:
        assert await tables.first_times(connection, [one, one]) == {one}
        assert await tables.first_times(connection, [one, other]) == {other}
        assert await tables.first_times(connection, [other, one]) == set()


async def test_an_event_whose_handling_was_rolled_back_is_there_for_the_first_time_again(
    pools: Pools, clean: Database
) -> None:
    tables, event_id = Tables("intake"), uuid4()
    async with pools["intake"].acquire() as connection:
        with pytest.raises(RuntimeError):
            async with connection.transaction():
                assert await tables.first_times(connection, [event_id]) == {event_id}
                raise RuntimeError

        assert await tables.first_times(connection, [event_id]) == {event_id}


@pytest.mark.parametrize("service", migrations.SERVICES)
async def test_behind_a_parked_event_its_case_waits_and_no_other(
    pools: Pools, clean: Database, service: str
) -> None:
    tables, record = Tables(service), examples.record_of(examples.event(ApplicationSubmitted))
    cases = {record.case_id, str(uuid4())}

    async with pools[service].acquire() as connection:
        assert await tables.waiting(connection, cases) == set()
        assert await tables.park(connection, record, "event.schema", "why")
        assert await tables.waiting(connection, cases) == {record.case_id}
        assert not await tables.park(connection, record, "event.schema", "why")  # a repeat


@pytest.mark.parametrize("key", [None, b"", b"\x00", b"a\x00b", b"\xfe"])
async def test_a_record_with_any_key_can_be_parked(
    pools: Pools, clean: Database, key: bytes | None
) -> None:
    record = examples.record(encode("any", examples.event(ApplicationSubmitted)), key=key)

    async with pools["backoffice"].acquire() as connection:
        assert await Tables("backoffice").park(connection, record, "event.key", "why")
        found = await Tables("backoffice").waiting(connection, [record.case_id])
    assert found == {record.case_id}


async def test_a_record_that_is_no_utf8_is_parked_byte_for_byte(
    pools: Pools, clean: Database
) -> None:
    out = encode("any", examples.event(ApplicationSubmitted))
    record = examples.record(out, value=b"\x00\xff", key=b"\xfe", headers=(("h", b"\xff\x00"),))

    async with pools["backoffice"].acquire() as connection:
        assert await Tables("backoffice").park(connection, record, "event.not_json", "why")

    row = await clean.admin.fetchrow("SELECT * FROM backoffice.parked")
    assert row is not None
    assert (row["value"], row["header_values"]) == (b"\x00\xff", [b"\xff\x00"])
