"""Who may see and do what: on Kafka, in PostgreSQL, over HTTP; and what is never in clear."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from itsdangerous import URLSafeTimedSerializer
from kafka.admin import (
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.admin import ACLResourcePatternType as Pattern
from pydantic import SecretStr

from catalogue import load_catalogue
from deploy.access import SERVICE_USERS, Grant, grants
from services.backoffice.clerks import Clerk, token
from shared.contract import topics
from shared.contract.wire import Record
from shared.runtime import kafka
from shared.runtime.migrations import OPERATOR, ROLES, SERVICES
from shared.runtime.settings import Settings
from tests.city import City, application, eventually
from tests.flow.records import every_topic, raw, read, write

Privileges = set[tuple[str, str]]

# --- Kafka


async def test_the_brokers_grants_are_those_written_down_and_no_others(city: City) -> None:
    admin: Any = KafkaAdminClient(**kafka.connection(city.kafka("admin")))
    try:
        found, error = admin.describe_acls(
            ACLFilter(
                principal=None,
                host=None,
                operation=ACLOperation.ANY,
                permission_type=ACLPermissionType.ANY,
                resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, Pattern.ANY),
            )
        )
    finally:
        admin.close()
    assert {one.permission_type for one in found} == {ACLPermissionType.ALLOW}, error
    there = {
        Grant(
            one.principal.removeprefix("User:"),
            one.operation.name,
            one.resource_pattern.resource_type.name,
            one.resource_pattern.resource_name
            + ("*" if one.resource_pattern.pattern_type is Pattern.PREFIXED else ""),
        )
        for one in found
    }
    assert there == set(grants(load_catalogue()))


@pytest.mark.parametrize("user", ["DOSW", "HRO-DA"])
async def test_an_agency_reads_its_own_cases_in_a_group_of_its_own(city: City, user: str) -> None:
    consumer = kafka.consumer(
        city.kafka(user), topics.agency_cases(user), group=f"agency-{user}-office"
    )
    await consumer.start()
    try:
        await eventually(lambda: _assigned(consumer), within_s=10)
        await consumer.commit()
    finally:
        await consumer.stop()


async def _assigned(consumer: Any) -> bool:
    await consumer.getmany(timeout_ms=100)
    return bool(consumer.assignment())


MAY_NOT_READ = {
    "an agency another's cases": ("DOSW", topics.agency_cases("LO-DA")),
    "an agency its dead letters' neighbours": ("DOSW", topics.AGENCY_CASES_DEAD),
    "an agency what is refused to others": ("DOSW", topics.AGENCY_UPDATES_DEAD),
    "an agency the city's events": ("DOSW", topics.CASES),
    "an agency all applications": ("DOSW", topics.APPLICATIONS),
    "an agency its own commands": ("DOSW", topics.agency_updates("DOSW")),
    "intake an agency's cases": ("intake", topics.agency_cases("DOSW")),
    "the router notices": ("router", topics.NOTICES),
    "the notifier an agency's cases": ("notifier", topics.agency_cases("DOSW")),
}


@pytest.mark.parametrize(("user", "topic"), MAY_NOT_READ.values(), ids=MAY_NOT_READ)
async def test_nobody_reads_what_is_not_theirs(city: City, user: str, topic: str) -> None:
    consumer = kafka.consumer(city.kafka(user), topic)
    with pytest.raises(TopicAuthorizationFailedError):
        try:
            await consumer.start()
            await consumer.getmany(timeout_ms=5000)
        finally:
            await consumer.stop()


@pytest.mark.parametrize("group", ["router", "backoffice-inbox", "agency-LO-DA"])
async def test_an_agency_joins_no_group_but_its_own(city: City, group: str) -> None:
    consumer = kafka.consumer(city.kafka("DOSW"), topics.agency_cases("DOSW"), group=group)
    with pytest.raises(GroupAuthorizationFailedError):
        try:
            await consumer.start()
            await consumer.getmany(timeout_ms=5000)
        finally:
            await consumer.stop()


MAY_NOT_WRITE = {
    "an agency its own cases": ("DOSW", topics.agency_cases("DOSW")),
    "an agency another's commands": ("DOSW", topics.agency_updates("LO-DA")),
    "an agency without a system": ("HRO-DA", topics.agency_updates("DOSW")),
    "an agency the city's events": ("DOSW", topics.CASES),
    "an agency rules": ("DOSW", topics.RULES),
    "intake an agency's cases": ("intake", topics.agency_cases("DOSW")),
    "intake the city's events": ("intake", topics.CASES),
    "the router rules": ("router", topics.RULES),
    "the router applications": ("router", topics.APPLICATIONS),
    "the back office applications": ("backoffice", topics.APPLICATIONS),
    "the notifier the city's events": ("notifier", topics.CASES),
    "the operator anything": (OPERATOR, topics.CASES),
    "a service the outboxes' positions": ("intake", topics.POSITIONS),
}


@pytest.mark.parametrize(("user", "topic"), MAY_NOT_WRITE.values(), ids=MAY_NOT_WRITE)
async def test_nobody_writes_what_is_not_theirs(city: City, user: str, topic: str) -> None:
    # Of the cluster: who may write nothing at all gets no producer either.
    with pytest.raises((TopicAuthorizationFailedError, ClusterAuthorizationFailedError)):
        await write(city.kafka(user), raw(topic, uuid4(), b"forged"))


async def test_nobody_takes_over_anothers_relay(city: City) -> None:
    producer = kafka.producer(city.kafka("notifier"), transactional_id="relay-intake")
    with pytest.raises(TransactionalIdAuthorizationFailed):
        try:
            await producer.start()
        finally:
            await producer.stop()


def _wrong_password(good: Settings) -> Settings:
    return good.model_copy(update={"kafka_password": SecretStr("guessed")})


def _without_sasl(good: Settings) -> Settings:
    return good.model_copy(update={"kafka_security": "PLAINTEXT"})


@pytest.mark.parametrize("change", [_wrong_password, _without_sasl])
async def test_who_does_not_sign_in_gets_nothing(
    city: City, change: Callable[[Settings], Settings]
) -> None:
    consumer = kafka.consumer(change(city.kafka("DOSW")), topics.agency_cases("DOSW"))
    with pytest.raises(KafkaConnectionError):
        try:
            await consumer.start()
        finally:
            await consumer.stop()


# --- PostgreSQL

SEALED = {
    ("intake.applications", "sealed"),
    ("backoffice.cases", "sealed"),
    ("notifier.recipients", "sealed"),
    *((f"{service}.{name}", "value") for service in SERVICES for name in ("outbox", "parked")),
}
_PRIVILEGES = """
SELECT format('%s.%s', n.nspname, c.relname) AS name, a.attname AS part,
    has_schema_privilege($1, n.oid, 'USAGE')
        AND has_column_privilege($1, c.oid, a.attnum, 'SELECT') AS reads,
    has_column_privilege($1, c.oid, a.attnum, 'INSERT, UPDATE, REFERENCES')
        OR has_table_privilege($1, c.oid, 'DELETE, TRUNCATE, TRIGGER') AS writes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname NOT LIKE 'pg\\_%'
    AND n.nspname <> 'information_schema'
"""


async def privileges(city: City, role: str) -> tuple[Privileges, Privileges]:
    """The (table, column) that a role may read, and those that it may write."""
    connection = await city.database()
    try:
        rows = await connection.fetch(_PRIVILEGES, role)
    finally:
        await connection.close()
    assert len(rows) > 100
    return (
        {(row["name"], row["part"]) for row in rows if row["reads"]},
        {(row["name"], row["part"]) for row in rows if row["writes"]},
    )


@pytest.mark.parametrize("role", ["intake", "backoffice", "notifier"])
async def test_a_service_reads_and_writes_its_own_schema_and_no_other(
    city: City, role: str
) -> None:
    reads, writes = await privileges(city, role)
    assert {name.partition(".")[0] for name, _ in reads | writes} == {role}
    assert {part for name, part in reads if name == f"{role}.inbox"} == {"event_id", "seen_at"}


async def test_the_operator_writes_orders_alone_and_opens_nothing(city: City) -> None:
    reads, writes = await privileges(city, OPERATOR)
    order = {"kind", "target", "action", "ordered_by", "reason"}
    wanted = {(f"{role}.dead_orders", part) for role in SERVICES for part in order}
    wanted |= {("notifier.notice_orders", part) for part in order - {"kind"}}
    assert writes == wanted
    assert reads
    assert not reads & SEALED
    assert not {name for name, _ in reads if name.startswith("vault.")}


async def test_the_console_writes_its_own_schema_and_opens_nothing(city: City) -> None:
    reads, writes = await privileges(city, "console")
    assert {name.partition(".")[0] for name, _ in writes} == {"console"}
    assert reads & SEALED == {("console.outbox", "value"), ("console.parked", "value")}
    assert not {name for name, _ in reads if name.startswith("vault.")}


SECRET_QUERIES = (
    "SELECT wrapped FROM vault.keys",
    "SELECT * FROM vault.openings",
    "SELECT sealed FROM intake.applications",
    "SELECT sealed FROM backoffice.cases",
    "SELECT value FROM intake.outbox",
    "SELECT * FROM notifier.recipients",
    "CREATE TABLE public.mine (one int)",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
)


@pytest.mark.parametrize("role", [OPERATOR, "console"])
@pytest.mark.parametrize("query", SECRET_QUERIES)
async def test_who_only_watches_is_refused_what_is_sealed(
    city: City, role: str, query: str
) -> None:
    connection = await city.database(role)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(query)
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_uses_the_vault_by_its_own_functions_only(city: City, role: str) -> None:
    connection = await city.database()
    try:
        rows = await connection.fetch(
            "SELECT proname, has_schema_privilege($1, pronamespace, 'USAGE')"
            " AND has_function_privilege($1, oid, 'EXECUTE') AS may FROM pg_proc"
            " WHERE pronamespace = 'vault'::regnamespace",
            role,
        )
    finally:
        await connection.close()
    assert {row["proname"] for row in rows} == {"create_key", "open_key", "shred_key"}
    assert {row["proname"] for row in rows if row["may"]} == {
        "intake": {"create_key", "open_key", "shred_key"},
        "backoffice": {"open_key"},
        "notifier": {"open_key"},
    }.get(role, set())


async def test_a_wrong_password_opens_no_database(city: City) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            host="127.0.0.1",
            port=city.running.postgres_port,
            user="intake",
            password="guessed",
            database="casebus",
        )


async def test_opening_a_case_is_written_down_with_its_purpose(city: City) -> None:
    receipt = await city.submit(application())

    async def openings() -> list[tuple[str, str]]:
        connection = await city.database()
        try:
            rows = await connection.fetch(
                "SELECT opened_by, purpose FROM vault.openings JOIN intake.applications"
                " USING (case_id) WHERE number = $1 AND opened_by = 'backoffice'",
                receipt["number"],
            )
        finally:
            await connection.close()
        return [(row["opened_by"], row["purpose"]) for row in rows]

    await city.at(receipt, "IPC", "ASSIGNED")
    before = await openings()
    assert before == [("backoffice", "read by IPC")]  # `at` has read it
    async with city.office("IPC") as client:
        await client.get("/api/inbox")
        assert await openings() == before
        await client.get(f"/api/cases/{receipt['number']}")
    assert await openings() == before * 2


# --- nothing personal in clear

PERSON = {
    "name": "歐陽幻影之名",
    "id_number": "F131104093",
    "phone": "0987135246",
    "email": "phantom.ouyang@secret.example",
    "line": "幻影路七段 987 號",
    "answer": "幻影用途不得外洩",
}
# As they are, as the services normalise them, and as JSON may write them.
CLEAR = {
    *PERSON.values(),
    "987135246",
    "幻影路",
    "phantom.ouyang",
    json.dumps(PERSON["name"])[1:-1],
    json.dumps("幻影")[1:-1],
}


def _holds(text: bytes) -> set[str]:
    return {one for one in CLEAR if one.encode() in text}


async def test_no_personal_data_is_anywhere_in_clear(city: City) -> None:
    body = application(
        applicant={"kind": "person", "name": PERSON["name"], "id_number": PERSON["id_number"]},
        contact={"phone": PERSON["phone"], "email": PERSON["email"], "language": "zh-TW"},
        address={"district": "大安區", "line": PERSON["line"]},
        answers={"why": PERSON["answer"]},
    )
    receipt = await city.submit(body)
    case = await city.at(receipt, "IPC", "ASSIGNED")
    # It is there, for those who may open it: so the search below looks for the right thing.
    assert _holds(json.dumps(case, ensure_ascii=False).encode()) >= set(PERSON.values()) - {
        PERSON["phone"]
    }
    await city.do(receipt, "IPC", "request-correction", items=["存摺影本"])
    for where in ("mailbox", "sms"):
        await eventually(
            lambda where=where: city.messages(where, receipt["number"]),  # type: ignore[misc]
            lambda found: any("補正" in one["text"] for one in found),
        )

    records = await read(city.kafka(OPERATOR), *every_topic())
    ours = [one for one in records if receipt["number"].encode() in (one.value or b"")]
    assert len(ours) > 5
    assert not _holds(b"\n".join(map(_bytes, records)))

    logs = list((city.folder / "logs").iterdir())
    assert len(logs) >= 9
    for log in logs:
        assert not _holds(log.read_bytes()), log

    assert await _in_tables(city, {receipt["number"]}) >= {"intake.applications", "intake.outbox"}
    assert not await _in_tables(city, CLEAR)


def _bytes(record: Record) -> bytes:
    headers = (value or b"" for _, value in record.headers)
    return b"\n".join([record.key or b"", record.value or b"", *headers])


async def _in_tables(city: City, wanted: set[str]) -> set[str]:
    """The tables with a row that holds one of these, as text or in its bytes."""
    patterns = [f"%{one}%" for text in wanted for one in (text, text.encode().hex())]
    connection = await city.database()
    try:
        names = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        assert len(names) > 25
        # As text, a row has the digits of its bytes.
        query = "SELECT true FROM {} t WHERE t::text LIKE ANY($1) LIMIT 1"
        return {
            row["name"]
            for row in names
            if await connection.fetchval(query.format(row["name"]), patterns)
        }
    finally:
        await connection.close()


# --- clerks


def _tokens(city: City) -> dict[str, str]:
    good = token(city.secrets.clerk, Clerk("王小明", "IPC"))
    other = URLSafeTimedSerializer(city.secrets.clerk, salt="another-purpose")
    return {
        "none": "",
        "nonsense": "Bearer abc",
        "of another secret": f"Bearer {token('x' * 40, Clerk('王小明', 'IPC'))}",
        "of another purpose": f"Bearer {other.dumps(['王小明', 'IPC'])}",
        "changed": f"Bearer {good[:-1]}{'A' if good[-1] != 'A' else 'B'}",
        "another payload": f"Bearer {other.dumps(['王小明', 'DOSW']).split('.')[0]}"
        f".{good.split('.', 1)[1]}",
        "basic": "Basic d2FuZzp4aWFvbWluZw==",
    }


@pytest.mark.parametrize(
    "kind",
    [
        "none",
        "nonsense",
        "of another secret",
        "of another purpose",
        "changed",
        "another payload",
        "basic",
    ],
)
async def test_without_a_clerks_token_nothing_is_shown_or_done(city: City, kind: str) -> None:
    receipt = await city.submit(application())
    await city.at(receipt, "IPC", "ASSIGNED")
    async with city.office("IPC") as client:
        client.headers["Authorization"] = _tokens(city)[kind]
        answers = [
            await client.get("/api/inbox"),
            await client.get(f"/api/cases/{receipt['number']}"),
            await client.post(f"/api/cases/{receipt['number']}/accept"),
        ]
    assert {one.status_code for one in answers} == {401}
    assert {one.json()["type"] for one in answers} == {"urn:casebus:problem:clerk-token"}
    assert (await city.at(receipt, "IPC", "ASSIGNED"))["status"] == "ASSIGNED"


async def test_another_agencys_case_looks_like_none(city: City) -> None:
    receipt = await city.submit(application())
    await city.at(receipt, "IPC", "ASSIGNED")
    nobodys = receipt["number"][:-1] + ("0" if receipt["number"][-1] != "0" else "1")
    async with city.office("DOSW") as client:
        for verb, path, body in (
            ("GET", "", None),
            ("POST", "/accept", {}),
            ("POST", "/return", {"reason": "x"}),
            ("POST", "/request-correction", {"items": ["x"]}),
            ("POST", "/complete", {"outcome": "APPROVED"}),
        ):
            theirs = await client.request(verb, f"/api/cases/{receipt['number']}{path}", json=body)
            none = await client.request(verb, f"/api/cases/{nobodys}{path}", json=body)
            assert theirs.status_code == none.status_code == 404
            assert theirs.text.replace(receipt["number"], nobodys) == none.text
        inbox = (await client.get("/api/inbox", params={"limit": 500})).json()
    assert receipt["number"] not in json.dumps(inbox)


# --- secrets

ALLOWED = {
    "intake": {"kafka.intake", "postgres.intake", "master_key", "citizen", "counter"},
    "router": {"kafka.router"},
    "backoffice": {"kafka.backoffice", "postgres.backoffice", "master_key", "clerk"},
    "notifier": {"kafka.notifier", "postgres.notifier", "master_key", "smpp", "gateway"},
    "dispatcher": {"kafka.notifier", "postgres.notifier", "master_key", "smpp", "gateway"},
    "console": {"kafka.console", "postgres.console"},
    "mailbox": set[str](),
    "sms": {"smpp", "gateway"},
    "postgres": set[str](),
    "kafka": set[str](),
}


def _secrets(city: City) -> Iterator[tuple[str, str]]:
    for name, value in asdict(city.secrets).items():
        if isinstance(value, dict):
            yield from ((f"{name}.{user}", secret) for user, secret in value.items())
        else:
            yield name, value


def _in(text: str, city: City) -> set[str]:
    return {name for name, secret in _secrets(city) if secret in text}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("name", ALLOWED)
async def test_a_process_holds_its_own_secrets_and_no_others(city: City, name: str) -> None:
    assert len(set(_secrets(city))) == 7 + 1 + len(SERVICE_USERS) + 1 + len(ROLES)
    process = Path(f"/proc/{city.running.pids[name]}")
    assert _in((process / "environ").read_text(), city) == ALLOWED[name]
    assert _in((process / "cmdline").read_text(), city) == set()


async def test_secrets_are_in_no_log_and_on_no_screen(city: City) -> None:
    for log in [*(city.folder / "logs").iterdir(), city.output]:
        assert _in(log.read_text(errors="replace"), city) == set(), log


async def test_the_files_with_secrets_are_their_owners_only(city: City) -> None:
    for path in (city.folder / "secrets.json", city.folder / "kafka" / "server.properties"):
        assert path.stat().st_mode & 0o077 == 0, path
        assert path.stat().st_uid == os.geteuid()
