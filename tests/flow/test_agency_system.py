"""An agency with a system of its own: it reads its cases and gives commands by Kafka.

It may be careless or hostile; whatever it sends, no case suffers but its own.
"""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from services.intake.identity import case_number
from shared.contract import topics
from shared.contract.events import (
    ApplicationWithdrawn,
    CaseAssigned,
    CaseUpdate,
    Event,
    derived_id,
)
from shared.contract.wire import Outgoing, Record, encode
from tests import examples
from tests.city import City, application, eventually
from tests.flow.records import assignment, letters, raw, read, write

AGENCY = "DOSW"
UPDATES = topics.agency_updates(AGENCY)
OURS, THEIRS = "SVC-003", "SVC-001"


def update(case_id: UUID, command: str, number: str = "", **changes: Any) -> Outgoing:
    """A command as the agency's system writes it."""
    event = examples.event(CaseUpdate, case_id=case_id, number=number, command=command, **changes)
    return encode(UPDATES, event)


async def command(city: City, *records: Outgoing) -> int:
    """Send them as the agency's own user; the offset of the last."""
    return (await write(city.kafka(AGENCY), *records))[-1]


async def ours(city: City) -> tuple[dict[str, Any], UUID]:
    """A case of the agency: the citizen's receipt, and the id that the agency's system sees."""
    receipt = await city.submit(application(OURS))
    case = await assignment(city, AGENCY, receipt["number"])
    await city.at(receipt, AGENCY, "ASSIGNED")
    return receipt, case.case_id


async def theirs(city: City) -> tuple[dict[str, Any], UUID]:
    """A case of another agency, whose id leaked."""
    receipt = await city.submit(application(THEIRS))
    await city.at(receipt, "IPC", "ASSIGNED")
    connection = await city.database("operator")
    try:
        case_id: UUID = await connection.fetchval(
            "SELECT case_id FROM backoffice.cases WHERE number = $1", receipt["number"]
        )
    finally:
        await connection.close()
    return receipt, case_id


async def test_it_accepts_asks_for_corrections_and_rejects(city: City) -> None:
    receipt, case_id = await ours(city)
    await command(city, update(case_id, "accept"))
    await city.at(receipt, AGENCY, "ACCEPTED")
    await command(city, update(case_id, "request_correction", items=("診斷證明", "收據正本")))
    case = await city.at(receipt, AGENCY, "CORRECTION_REQUESTED")
    assert {step["done_by"] for step in case["history"][1:]} == {f"system:{AGENCY}"}
    mails = await eventually(
        lambda: city.messages("mailbox", receipt["number"]),
        lambda found: any("診斷證明" in mail["text"] for mail in found),
    )
    assert all(receipt["number"] in mail["text"] for mail in mails)
    await command(city, update(case_id, "complete", outcome="REJECTED", reason="逾期未補正"))
    seen = await eventually(lambda: city.follow(receipt), lambda found: found["status"] == "CLOSED")
    assert seen["agency"] == AGENCY


async def test_it_accepts_and_approves_in_one_breath(city: City) -> None:
    receipt, case_id = await ours(city)
    await command(city, update(case_id, "accept"), update(case_id, "complete", outcome="APPROVED"))
    await city.at(receipt, AGENCY, "CLOSED")


async def test_it_returns_what_is_not_its_own(city: City) -> None:
    receipt, case_id = await ours(city)
    await command(city, update(case_id, "return", reason="非本局權責"))
    await city.at(receipt, "TRIAGE", "ASSIGNED")


async def test_a_command_sent_twice_is_carried_out_once(city: City) -> None:
    receipt, case_id = await ours(city)
    once = update(case_id, "accept")
    offset = await command(city, once, once, update(case_id, "complete", outcome="APPROVED"))
    case = await city.at(receipt, AGENCY, "CLOSED")
    assert [step["to_status"] for step in case["history"]].count("ACCEPTED") == 1
    refused = await refusals(city)
    assert not {str(offset - n) for n in range(3)} & {one.header("dead_offset") for one in refused}


async def refusals(city: City) -> list[Record]:
    found = await read(city.kafka("operator"), topics.AGENCY_UPDATES_DEAD)
    return [one for one in found if one.header("dead_topic") == UPDATES]


async def refused(city: City, record: Outgoing, code: str) -> None:
    """`record` is refused with this code, once, byte for byte."""
    offset = await command(city, record)
    (letter,) = await letters(city, UPDATES, offset)
    assert letter.header("dead_code") == code
    assert letter.value == record.value
    assert letter.headers[: len(record.headers)] == record.headers
    assert letter.key == record.key


def _about(case_id: UUID, how: str) -> tuple[Outgoing, str]:
    """Something bad that names this case, and the code that it is refused with."""
    sound = update(case_id, "accept")
    forged: dict[str, tuple[type[Event], dict[str, Any]]] = {
        "a withdrawal": (ApplicationWithdrawn, {}),
        "an assignment to itself": (CaseAssigned, {"agency": AGENCY}),
    }
    if how in forged:
        model, changes = forged[how]
        event = examples.event(model, case_id=case_id, **changes)
        return encode(UPDATES, event), "event.wrong_topic"
    match how:
        case "raw bytes":
            return raw(UPDATES, case_id, b"\x00\xff"), "event.no_type"
        case "no JSON":
            return replace(sound, value=b"{"), "event.not_json"
        case "no such command":
            body = (sound.value or b"").replace(b'"accept"', b'"approve"')
            return replace(sound, value=body), "event.schema"
        case "no such type":
            return raw(UPDATES, case_id, b"{}", (("ce_type", b"x"),)), "event.unknown_type"
        case "another key":
            return replace(sound, key=str(uuid4()).encode()), "event.key"
        case "a tombstone":
            return replace(sound, value=None), "event.not_json"
        case "a text with NUL":
            return update(case_id, "request_correction", items=("a\0b",)), "command.text"
        case "an endless text":
            return update(case_id, "return", reason="長" * 1001), "command.text"
        case "too many items":
            return update(case_id, "request_correction", items=("a",) * 31), "command.items"
    raise AssertionError(how)


BAD = (
    "raw bytes",
    "no JSON",
    "no such command",
    "no such type",
    "another key",
    "a tombstone",
    "a text with NUL",
    "an endless text",
    "too many items",
    "a withdrawal",
    "an assignment to itself",
)


async def test_a_bad_command_is_refused_and_another_agencys_case_goes_its_way(city: City) -> None:
    receipt, case_id = await theirs(city)
    for how in BAD:
        await refused(city, *_about(case_id, how))
    await refused(city, update(case_id, "accept"), "case.not_yours")
    await refused(city, update(case_id, "return", reason="x"), "case.not_yours")

    assert (await city.at(receipt, "IPC", "ASSIGNED"))["agency"] == "IPC"
    assert await parked(city, case_id) == 0
    # And later events of that case wait for nothing.
    assert (await city.do(receipt, "IPC", "return", reason="非本會權責")).status_code == 200
    await city.at(receipt, "TRIAGE", "ASSIGNED")


async def parked(city: City, case_id: UUID) -> int:
    """How many events of this case wait anywhere."""
    connection = await city.database()
    try:
        counts = [
            await connection.fetchval(
                f"SELECT count(*) FROM {service}.parked WHERE case_id = $1", str(case_id)
            )
            for service in ("intake", "backoffice", "notifier", "console")
        ]
    finally:
        await connection.close()
    return sum(counts)


async def test_a_letter_too_large_for_kafka_holds_nothing_back(city: City) -> None:
    receipt, case_id = await theirs(city)
    # With its headers the dead letter is larger than what the agency could just send.
    await command(city, raw(UPDATES, case_id, b"x" * (1024 * 1024 - 200)))
    assert (await city.do(receipt, "IPC", "return", reason="非本會權責")).status_code == 200
    await city.at(receipt, "TRIAGE", "ASSIGNED")


async def test_a_command_that_comes_at_the_wrong_time_changes_nothing(city: City) -> None:
    receipt, case_id = await ours(city)
    await refused(city, update(case_id, "complete", outcome="APPROVED"), "command.not_now")
    await refused(city, update(case_id, "complete"), "command.outcome")
    await refused(city, update(case_id, "return"), "command.reason")
    await refused(city, update(case_id, "request_correction"), "command.items")
    case = await city.at(receipt, AGENCY, "ASSIGNED")
    assert len(case["history"]) == 1
    # It can go on at once.
    await command(city, update(case_id, "accept"))
    await city.at(receipt, AGENCY, "ACCEPTED")
    assert await parked(city, case_id) == 0


async def test_a_command_for_a_case_that_nobody_knows_is_refused(city: City) -> None:
    await refused(city, update(uuid4(), "accept"), "case.unknown")


async def test_no_id_that_it_chooses_passes_for_an_event_of_the_city(city: City) -> None:
    """The city derives the ids of what follows from the command's, which the agency chose: with
    the one that an assignment is going to have, it would make this assignment look like a repeat.
    """
    receipt, case_id = await ours(city)
    _, other = await ours(city)
    chosen = uuid4()
    for returned in (chosen, derived_id(chosen, UPDATES)):
        assigned = derived_id(derived_id(returned, "returned"), topics.TRIAGE)
        await command(city, update(other, "accept", id=assigned))
    await command(city, update(case_id, "return", id=chosen, reason="非本局權責"))
    await city.at(receipt, "TRIAGE", "ASSIGNED")


async def test_a_case_that_is_parked_takes_no_command(city: City) -> None:
    case_id, number = uuid4(), case_number(examples.NOW.date(), uuid4().int % 10**7)
    topic = topics.agency_cases(AGENCY)
    assigned = examples.event(
        CaseAssigned,
        case_id=case_id,
        cause=uuid4(),
        number=number,
        agency=AGENCY,
        limit=10**9,
        limit_unit="calendar_day",
    )
    # No calendar goes so far: the back office cannot say when it is due.
    (offset,) = await write(city.kafka("admin"), encode(topic, assigned))
    await letters(city, topic, offset)
    await refused(city, update(case_id, "accept"), "case.waiting")
    assert await parked(city, case_id) >= 1
