"""`casebus dead`: what is set aside is listed, shown, tried again in its order, and given up."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from services.intake.identity import case_number
from shared.contract import topics
from shared.contract.events import (
    ApplicationSubmitted,
    ApplicationWithdrawn,
    CaseAssigned,
)
from shared.contract.wire import Outgoing, encode
from tests import examples
from tests.city import City, eventually
from tests.flow.records import raw, write

# It leads in no rule: nobody's case lies on its topic.
QUIET = "SEC"


async def dead(city: City, *arguments: str, status: int | None = 0) -> Any:
    return await city.acommand("dead", *arguments, status=status)


async def of_case(city: City, case: UUID | str, service: str = "") -> list[dict[str, Any]]:
    found = await dead(city, "list")
    return [
        one
        for one in found
        if one["case_id"] == str(case) and one["name"].startswith(service or one["name"])
    ]


async def waits(city: City, case: UUID, count: int, service: str) -> list[dict[str, Any]]:
    return await eventually(lambda: of_case(city, case, service), lambda found: len(found) == count)


def withdrawn(case: UUID) -> Outgoing:
    """What has no place where it stands: nobody but intake withdraws."""
    told = examples.event(ApplicationWithdrawn, case_id=case)
    return encode(topics.agency_cases(QUIET), told)


def assigned(case: UUID, **changes: Any) -> Outgoing:
    number = case_number(datetime(2020, 1, 1, tzinfo=UTC).date(), uuid4().int % 10**7)
    told = examples.event(
        CaseAssigned, case_id=case, number=number, agency=QUIET, cause=uuid4(), **changes
    )
    return encode(topics.agency_cases(QUIET), told)


async def test_what_is_parked_is_listed_shown_and_tried_again_in_its_order(city: City) -> None:
    case = uuid4()
    await write(city.kafka("admin"), withdrawn(case))
    (parked,) = await waits(city, case, 1, "backoffice")
    assert (parked["kind"], parked["code"], parked["tries"]) == ("parked", "event.wrong_topic", 1)
    shown = await asyncio.to_thread(city.command, "dead", "show", parked["name"])
    assert str(case) in shown
    assert "ce_type: application.withdrawn.v1" in shown

    # Nothing has changed: it is set aside again, and says so.
    (again,) = await dead(city, "replay", parked["name"], "--by", "王小明", status=1)
    assert "parked again: event.wrong_topic" in again["outcome"]
    (parked,) = await of_case(city, case, "backoffice")
    assert parked["tries"] == 2
    assert parked["last_at"] > parked["first_at"]

    # The assignment comes, and waits behind it; dropping the first lets it pass.
    await write(city.kafka("admin"), assigned(case))
    first, second = await waits(city, case, 2, "backoffice")
    assert (second["kind"], second["code"]) == ("waiting", "case.waiting")
    (done,) = await dead(city, "drop", first["name"], "--by", "王小明", "--reason", "a test")
    assert done["outcome"] == "dropped; 1 handled"
    assert await of_case(city, case, "backoffice") == []
    connection = await city.database("operator")
    try:
        known = await connection.fetchval(
            "SELECT status FROM backoffice.cases WHERE case_id = $1", case
        )
    finally:
        await connection.close()
    assert known == "ASSIGNED"

    orders = [one for one in await dead(city, "orders") if one["name"] == parked["name"]]
    assert [(one["action"], one["ordered_by"], one["reason"]) for one in orders] == [
        ("replay", "王小明", ""),
        ("drop", "王小明", "a test"),
    ]
    (twice,) = await dead(city, "replay", first["name"], "--by", "王小明")
    assert "nothing is parked" in twice["outcome"]


async def test_a_letter_of_the_router_is_routed_again_and_once(city: City) -> None:
    """It cannot be read, so it comes back as a letter of the replays, with one try more."""
    case = uuid4()
    record = raw(topics.APPLICATIONS, case, b"{no json")
    headers = (("ce_type", ApplicationSubmitted.type.encode()),)
    (_,) = await write(
        city.kafka("admin"), Outgoing(record.topic, record.key, headers, record.value)
    )

    async def letters() -> list[dict[str, Any]]:
        return [one for one in await of_case(city, case) if one["kind"] == "letter"]

    (letter,) = await eventually(letters)
    assert letter["code"] == "event.not_json"
    (done,) = await dead(city, "replay", letter["name"], "--by", "王小明")
    assert done["settled"]
    (again,) = await eventually(
        letters,
        lambda found: [one for one in found if one["name"] != letter["name"]] == found != [],
    )
    assert again["name"].startswith(topics.dead(topics.ROUTER_REPLAYS))
    assert again["tries"] == 2
    (twice,) = await dead(city, "replay", letter["name"], "--by", "陳怡君", status=1)
    assert "nothing is left to do" in twice["outcome"]
    names = [one["name"] for one in await of_case(city, case)]
    for one in await dead(city, "drop", *names, "--by", "王小明", "--reason", "a test"):
        assert one["settled"], one
    assert await of_case(city, case) == []


async def test_what_cannot_be_ordered_is_said_in_a_sentence(city: City) -> None:
    for arguments, status in (
        (("replay", "nonsense", "--by", "me"), 2),
        (("replay", "backoffice:1"), 2),
        (("replay", "--by", "me"), 2),
        (("drop", "backoffice:1", "--by", "me"), 2),
        (("show", "backoffice:999999999"), 2),
        (("replay", "backoffice:999999999", "--by", "me"), 0),
        (("replay", "intake:row:999999999", "--by", "me"), 0),
        (("drop", "cases.events.dead:0:99999999", "--by", "me", "--reason", "x"), 0),
        (("replay", "applications.events.dead:7:0", "--by", "me"), 1),
    ):
        await asyncio.to_thread(city.command, "dead", *arguments, status=status)


async def test_the_operator_may_order_but_not_settle(city: City) -> None:
    connection = await city.database("operator")
    try:
        for statement in (
            "UPDATE backoffice.dead_orders SET settled = true",
            "INSERT INTO backoffice.dead_orders (kind, target, action, ordered_by, settled)"
            " VALUES ('row', '1', 'drop', 'me', true)",
            "DELETE FROM backoffice.dead_orders",
            "SELECT value FROM backoffice.parked",
        ):
            try:
                await connection.execute(statement)
            except Exception as error:  # noqa: BLE001 - which one is looked at
                assert type(error).__name__ == "InsufficientPrivilegeError", error
            else:
                raise AssertionError(statement)
    finally:
        await connection.close()


def test_json_of_the_list_is_one_line(city: City) -> None:
    assert isinstance(json.loads(city.command("dead", "list", "--json")), list)
