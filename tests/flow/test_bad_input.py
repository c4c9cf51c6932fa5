"""What is wrong is refused in a sentence or set aside, and the rest goes on."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from services.intake.identity import case_number
from shared.contract import topics
from shared.contract.events import ApplicationSubmitted, CaseAssigned, CaseStatusChanged
from shared.contract.wire import Outgoing, encode
from shared.runtime import kafka
from tests import examples
from tests.city import City, application, eventually
from tests.flow.records import letters, raw, with_header, write

LIMIT_BYTES = 128 * 1024
# It leads in no rule: nobody's case lies on its topic.
QUIET = "SEC"


async def stored(city: City) -> list[int]:
    """How many rows intake has, in each table that a submission writes to."""
    connection = await city.database()
    try:
        names = ("intake.applications", "intake.idempotency", "intake.outbox", "vault.keys")
        return [await connection.fetchval(f"SELECT count(*) FROM {name}") for name in names]
    finally:
        await connection.close()


@pytest_asyncio.fixture
async def nothing_stored(city: City) -> AsyncIterator[None]:
    before = await stored(city)
    yield
    assert await stored(city) == before


async def send(city: City, body: bytes | Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with city.intake() as client:
        return await client.post("/api/applications", content=content, headers=headers)


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that `answer` is: its status and type are those, and it tells no secret."""
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), answer.text
    found: dict[str, Any] = answer.json()
    assert found["type"] == f"urn:casebus:problem:{code}"
    assert found["status"] == status
    assert found["detail"]
    assert "Traceback" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    return found


def number_in(body: dict[str, Any], literal: bytes) -> bytes:
    """The body with the answer `amount` as this literal, which json.dumps would not write."""
    body["answers"] = {"amount": "HERE"}
    return json.dumps(body).encode().replace(b'"HERE"', literal)


NO_JSON: dict[str, bytes] = {
    "empty": b"",
    "cut off": b'{"service": "SVC-001"',
    "no UTF-8": b'{"service": "\xff\xfe"}',
    "deeply nested": b"[" * 50_000 + b"]" * 50_000,
    "a lone surrogate": b'{"service": "\\ud800"}',
    "a NUL": json.dumps(application(answers={"a": "b\0c"})).encode(),
    "a NUL in a name": json.dumps(application(answers={"a\0": "b"})).encode(),
    "NaN": number_in(application(), b"NaN"),
    "minus infinity": number_in(application(), b"-Infinity"),
    "a number beyond all": number_in(application(), b"1e999"),
    "a number of 5,000 digits": number_in(application(), b"9" * 5_000),
}


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
async def test_what_is_no_json_is_refused(city: City, body: bytes) -> None:
    problem(await send(city, body), 400, "not-json")


WRONG: dict[str, tuple[Any, str]] = {
    "a list": ([], ""),
    "a text": ("apply", ""),
    "null": (None, ""),
    "a name that is a number": (
        application(applicant={"kind": "person", "name": 7, "id_number": "A123456789"}),
        "applicant.name",
    ),
    "a kind that there is not": (
        application(applicant={"kind": "robot", "name": "R", "id_number": "A123456789"}),
        "applicant.kind",
    ),
    "answers that are nested": (application(answers={"a": {"b": 1}}), "answers.a.int"),
    "an unknown field": (application(priority="high"), "priority"),
    "an unknown service": (application("SVC-999"), "service"),
    "a closed service": (application("SVC-089"), "service"),
    "a district elsewhere": (application(district="板橋區"), "address.district"),
    "an endless line": (
        application(address={"district": "大安區", "line": "路" * 201}),
        "address.line",
    ),
    "too many answers": (application(answers={str(n): n for n in range(201)}), "answers"),
}


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(("body", "field"), WRONG.values(), ids=WRONG)
async def test_what_is_no_application_is_refused_by_field(
    city: City, body: Any, field: str
) -> None:
    found = problem(await send(city, body), 422, "invalid")
    assert field in {error["field"] for error in found["errors"]}


@pytest.mark.usefixtures("nothing_stored")
async def test_a_wrong_check_digit_is_named_in_both_languages(city: City) -> None:
    body = application(applicant={"kind": "person", "name": "陳怡君", "id_number": "A123456780"})
    found = problem(await send(city, body), 422, "invalid")
    (error,) = found["errors"]
    assert error["field"] == "applicant.id_number"
    assert "check digit" in error["detail"]
    assert "檢查碼" in error["detail"]
    assert "A123456780" not in json.dumps(found)


@pytest.mark.usefixtures("nothing_stored")
async def test_a_body_over_the_limit_is_refused(city: City) -> None:
    problem(await send(city, b" " * (LIMIT_BYTES + 1)), 413, "body-too-large")


@pytest.mark.usefixtures("nothing_stored")
async def test_a_body_over_the_limit_is_refused_when_it_comes_in_chunks(city: City) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * (LIMIT_BYTES // 2)

    async with city.intake() as client:
        answer = await client.post("/api/applications", content=chunks())
    problem(answer, 413, "body-too-large")


async def speak(city: City, text: bytes) -> bytes:
    """What intake answers to these bytes, until it or we hang up."""
    port = int(city.running.urls["intake"].rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize(
    ("claimed", "sent"),
    [(10**11, b"{}"), (100, b"{}"), (2, b"{}" + b"x" * 1000), (-1, b"{}")],
    ids=["far more", "more", "less", "negative"],
)
async def test_a_length_that_lies_stores_nothing_and_harms_nobody(
    city: City, claimed: int, sent: bytes
) -> None:
    head = f"POST /api/applications HTTP/1.1\r\nHost: x\r\nContent-Length: {claimed}\r\n\r\n"
    answer = await speak(city, head.encode() + sent)
    assert b"Traceback" not in answer
    # None at all to who hung up in the middle; else a refusal.
    assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 422")
    async with city.intake() as client:
        assert (await client.get("/health")).status_code == 200


async def test_one_key_with_another_body_is_a_conflict(city: City) -> None:
    key = str(uuid4())
    first = await city.submit(application(), key)
    before = await stored(city)
    again = await send(city, application(answers={"other": "body"}), **{"Idempotency-Key": key})
    problem(again, 409, "idempotency-key-reused")
    assert await city.submit(application(), key) == first
    assert await stored(city) == before


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize("key", ["", "k" * 201], ids=["empty", "overlong"])
async def test_a_key_that_is_none_is_refused(city: City, key: str) -> None:
    found = problem(await send(city, application(), **{"Idempotency-Key": key}), 422, "invalid")
    assert "idempotency-key" in found["errors"][0]["field"]


@pytest.mark.usefixtures("nothing_stored")
async def test_a_wrong_method_says_which_is_right(city: City) -> None:
    async with city.intake() as client:
        answer = await client.put("/api/applications", json=application())
    problem(answer, 405, "http-405")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/nosuch", "/api/applications/", "/docs", "/../etc/passwd"])
async def test_a_path_that_there_is_not_is_a_problem_too(city: City, path: str) -> None:
    async with city.intake() as client:
        problem(await client.get(path), 404, "http-404")


@pytest.mark.parametrize("number", ["20261124-0000001-x", "%00", "1", "2026-11-24"])
async def test_what_is_no_case_number_is_named(city: City, number: str) -> None:
    async with city.intake() as client:
        found = problem(await client.get(f"/api/cases/{number}"), 400, "case-number")
    assert found["errors"] == [{"field": "number", "detail": "number.form"}]


async def test_a_case_number_with_a_wrong_check_digit_is_named(city: City) -> None:
    right = case_number(datetime.now(UTC).date(), 1)
    wrong = right[:-1] + str((int(right[-1]) + 1) % 10)
    async with city.intake() as client:
        found = problem(await client.get(f"/api/cases/{wrong}"), 400, "case-number")
    assert found["errors"] == [{"field": "number", "detail": "number.check_digit"}]


async def test_an_unknown_number_and_a_wrong_password_get_the_very_same_answer(
    city: City,
) -> None:
    receipt = await city.submit(application())
    nobodys = case_number(datetime.now(UTC).date(), 9_999_999)
    async with city.intake() as client:
        answers = [
            await client.get(f"/api/cases/{number}", headers={"X-Case-Password": password})
            for number, password in (
                (receipt["number"], "aaaa-bbbb-cccc-dddd"),
                (receipt["number"], ""),
                (nobodys, receipt["password"]),
            )
        ]
    problem(answers[0], 404, "case-not-found")
    seen = {
        (one.status_code, one.text, tuple((k, v) for k, v in one.headers.items() if k != "date"))
        for one in answers
    }
    assert len(seen) == 1


CLERKS_BODIES: dict[str, tuple[bytes, int, str]] = {
    "a NUL": (b'{"items": ["a\\u0000b"]}', 422, "command.text"),
    "a lone surrogate": (b'{"items": ["\\ud800"]}', 422, "invalid"),
    "a field of a lone surrogate": (b'{"\\ud800": 1}', 422, "invalid"),
    "no JSON": (b"{", 422, "invalid"),
    "deeply nested": (b"[" * 50_000, 400, "http-400"),
    "too large": (b'{"reason": "' + b"x" * 600_000 + b'"}', 413, "body-too-large"),
}


@pytest.mark.parametrize(("body", "status", "code"), CLERKS_BODIES.values(), ids=CLERKS_BODIES)
async def test_what_a_clerk_sends_is_checked_too(
    city: City, body: bytes, status: int, code: str
) -> None:
    receipt = await city.submit(application())
    await city.at(receipt, "IPC", "ASSIGNED")
    async with city.office("IPC") as client:
        answer = await client.post(
            f"/api/cases/{receipt['number']}/request-correction",
            content=body,
            headers={"content-type": "application/json"},
        )
        problem(answer, status, code)
        case = await client.get(f"/api/cases/{receipt['number']}")
    assert case.json()["status"] == "ASSIGNED"


@pytest.mark.parametrize("path", ["/api/cases/%00", "/api/cases/' OR 1=1 --"])
async def test_a_clerk_who_asks_for_nonsense_finds_no_case(city: City, path: str) -> None:
    async with city.office("IPC") as client:
        problem(await client.get(path), 404, "case-not-found")
        problem(await client.get("/api/inbox", params={"status": "\0"}), 422, "invalid")


# --- broken records


@pytest.fixture(scope="module", autouse=True)
def _no_trace_on_the_quiet_topic(city: City) -> Iterator[None]:
    """An audit counts what nobody can read on an agency's topic: these were ours."""
    yield

    async def delete() -> None:
        async with kafka.started(kafka.admin(city.kafka("admin"))) as admin:
            partition = TopicPartition(topics.agency_cases(QUIET), 0)
            await admin.delete_records({partition: RecordsToDelete(-1)})

    asyncio.run(delete())


def sound(topic: str) -> Outgoing:
    """A record that could stand on `topic`, of a case that nobody knows."""
    model: Any = {topics.APPLICATIONS: ApplicationSubmitted, topics.CASES: CaseStatusChanged}.get(
        topic, CaseAssigned
    )
    number = case_number(datetime(2020, 1, 1, tzinfo=UTC).date(), uuid4().int % 10**7)
    changes = {"agency": QUIET, "cause": uuid4()} if model is CaseAssigned else {}
    return encode(topic, examples.event(model, case_id=uuid4(), number=number, **changes))


def broken(topic: str, how: str) -> tuple[Outgoing, str]:
    """A broken record and the code that it is set aside with."""
    good = sound(topic)
    body = json.loads(good.value or b"")
    match how:
        case "raw bytes":
            return raw(topic, uuid4(), b"\x00\xff\xfe{"), "event.no_type"
        case "no headers":
            return replace(good, headers=()), "event.no_type"
        case "no JSON":
            return replace(good, value=b"\xff{not json"), "event.not_json"
        case "no object":
            return replace(good, value=b"[1, 2]"), "event.not_json"
        case "a field is missing":
            del body["number"]
            return replace(good, value=json.dumps(body).encode()), "event.schema"
        case "a wrong type":
            body["number"] = {"not": "a text"}
            return replace(good, value=json.dumps(body).encode()), "event.schema"
        case "no time":
            return with_header(good, "ce_time", b"tomorrow"), "event.schema"
        case "another key":
            return replace(good, key=str(uuid4()).encode()), "event.key"
        case "a key with NUL":
            return replace(good, key=b"a\x00b"), "event.key"
        case "an unknown type":
            return with_header(good, "ce_type", b"case.forgotten.v9"), "event.unknown_type"
        case "a tombstone":
            return replace(good, value=None), "event.not_json"
        case "a header with NUL":
            return raw(topic, uuid4(), b"{}", (("a\x00b", b"1"),)), "event.no_type"
    raise AssertionError(how)


HOW = (
    "raw bytes",
    "no headers",
    "no JSON",
    "no object",
    "a field is missing",
    "a wrong type",
    "no time",
    "another key",
    "a key with NUL",
    "an unknown type",
    "a tombstone",
)
TOPICS = (topics.APPLICATIONS, topics.CASES, topics.agency_cases(QUIET))


@pytest.mark.parametrize("topic", TOPICS)
async def test_broken_records_are_dead_letters_byte_for_byte_and_the_rest_goes_on(
    city: City, topic: str
) -> None:
    wrong = [broken(topic, how) for how in HOW]
    offsets = await write(city.kafka("admin"), *(record for record, _ in wrong))
    nobodys = raw(topic, b"", b"no key, no headers")
    (without_key,) = await write(city.kafka("admin"), nobodys, without_key=True)

    for (record, code), offset in zip(
        [*wrong, (nobodys, "event.no_type")], [*offsets, without_key], strict=True
    ):
        found = [one for one in await letters(city, topic, offset) if one.value == record.value]
        assert found, (code, offset)
        for letter in found:
            kept = tuple(one for one in letter.headers if one[0] not in examples.DEAD_HEADERS)
            assert kept == record.headers
            assert {name for name, _ in letter.headers} >= set(examples.DEAD_HEADERS)
            assert letter.header("dead_code") == code
            assert letter.header("dead_error")
            # PostgreSQL holds no NUL in a text, by which cases wait.
            assert letter.key in (record.key, record.key.replace(b"\0", b"?"))

    receipt = await city.submit(application())
    await city.at(receipt, "IPC", "ASSIGNED")
    await eventually(lambda: city.messages("mailbox", receipt["number"]), within_s=15)


async def test_a_header_that_no_table_holds_stops_nobody(city: City) -> None:
    record, code = broken(topics.APPLICATIONS, "a header with NUL")
    (offset,) = await write(city.kafka("admin"), record)
    found = await letters(city, topics.APPLICATIONS, offset, record.key)
    assert code in {one.header("dead_code") for one in found}
    receipt = await city.submit(application())
    await city.at(receipt, "IPC", "ASSIGNED")


async def test_an_event_from_the_future_is_handled_and_holds_nobody_up(city: City) -> None:
    record = with_header(sound(topics.CASES), "ce_time", b"2999-01-01T00:00:00+00:00")
    await write(city.kafka("admin"), record)

    async def steps() -> int:
        connection = await city.database()
        try:
            query = "SELECT count(*) FROM intake.steps WHERE case_id::text = $1"
            return int(await connection.fetchval(query, record.key.decode()))
        finally:
            await connection.close()

    assert await eventually(steps) == 1
    receipt = await city.submit(application())
    await city.at(receipt, "IPC", "ASSIGNED")


async def test_the_console_shows_what_is_parked(city: City) -> None:
    record, code = broken(topics.agency_cases(QUIET), "a field is missing")
    (offset,) = await write(city.kafka("admin"), record)
    await letters(city, record.topic, offset)
    async with httpx.AsyncClient(base_url=city.running.urls["console"]) as client:
        parked = (await client.get("/api/lag")).json()["parked"]
        page = (await client.get("/", params={"lang": "en"})).text
    shown = [one for one in parked if (one["topic"], one["code"]) == (record.topic, code)]
    assert [one["service"] for one in shown] == ["backoffice"]
    assert shown[0]["cases"] >= 1
    assert record.topic in page
    assert code in page
