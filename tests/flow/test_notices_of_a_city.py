"""What citizens heard, in a running city: bad numbers, bounces, choices by link, and operators."""

import asyncio
import re
from typing import Any

import httpx

from tests.city import City, application, eventually


async def notices(city: City, number: str) -> dict[tuple[str, str], dict[str, Any]]:
    """By text and channel."""
    connection = await city.database("operator")
    try:
        found = await connection.fetch(
            "SELECT notice_id::text, channel, template, state, reason, provider, segments"
            " FROM notifier.notices WHERE number = $1",
            number,
        )
    finally:
        await connection.close()
    return {(one["template"], one["channel"]): dict(one) for one in found}


def reached(phone: str = "0912345678", email: str = "yichun@mail.example") -> dict[str, Any]:
    return {"phone": phone, "email": email, "language": "zh-TW"}


async def told(city: City, **contact: str) -> dict[str, Any]:
    """A case whose assignment has been told, as far as it can be."""
    receipt = await city.submit(application("SVC-001", contact=reached(**contact)))
    await city.at(receipt, "IPC", "ASSIGNED")
    return receipt


async def became(city: City, receipt: dict[str, Any], channel: str, *states: str) -> Any:
    """The notice of the assignment on this channel, once it is in one of these states."""

    async def found() -> Any:
        known = await notices(city, receipt["number"])
        return known.get(("assigned", channel), {"state": "none"})

    return await eventually(found, lambda one: one["state"] in states)


async def test_a_message_is_followed_to_its_delivery_by_its_receipts(city: City) -> None:
    receipt = await told(city)
    sms = await became(city, receipt, "sms", "delivered")
    mail = await became(city, receipt, "mail", "delivered")
    assert (mail["provider"], sms["segments"]) == ("relay", 2)
    listed = await city.acommand("notices", "list", receipt["number"])
    assert {sms["notice_id"], mail["notice_id"]} <= {one["notice_id"] for one in listed}
    shown = await city.acommand("notices", "show", sms["notice_id"])
    assert [one["outcome"] for one in shown["attempts"]] == ["accepted"]
    assert {one["state"] for one in shown["receipts"]} == {"delivered"}
    assert "yichun" not in str(shown)
    known = await notices(city, receipt["number"])
    # That it was received is said by the same message, when the agency was found at once.
    assert known["received", "sms"]["state"] in ("cancelled", "delivered")


BECAME: list[tuple[dict[str, str], str, str, str]] = [
    ({"phone": "0900000011"}, "sms", "permanent_failure", r"sms\.(invdstadr|gateway_422)"),
    ({"phone": "0900000005"}, "sms", "permanent_failure", "undeliverable"),
    ({"phone": "0227208889"}, "sms", "suppressed", r"sms\.landline"),
    ({"email": "gone@mail.example"}, "mail", "permanent_failure", "undeliverable"),
    ({"email": "refused@mail.example"}, "mail", "permanent_failure", r"mail\.refused_550"),
    ({"email": "cut@mail.example"}, "mail", "delivered", ""),
    ({"phone": "0900000007"}, "sms", "delivered", ""),
    ({"phone": "0900000008"}, "sms", "delivered", ""),
]


async def test_what_became_of_a_message_is_said_with_its_reason(city: City) -> None:
    receipts = await asyncio.gather(*(told(city, **contact) for contact, *_ in BECAME))
    for receipt, (_, channel, state, reason) in zip(receipts, BECAME, strict=True):
        notice = await became(city, receipt, channel, state)
        assert re.fullmatch(reason, notice["reason"]), notice


async def test_a_throttled_message_waits_for_its_next_try_and_the_others_go(city: City) -> None:
    slow = await told(city, phone="0900000088")
    await became(city, await told(city), "sms", "delivered")
    notice = await became(city, slow, "sms", "temporary_failure")
    assert notice["reason"] == "sms.throttled"
    shown = await city.acommand("notices", "show", notice["notice_id"])
    # A definite refusal goes to the other provider at once.
    assert {one["provider"] for one in shown["attempts"]} == {"smpp", "gateway"}


async def test_a_link_in_a_mail_stops_messages_and_an_operator_lets_them_in_again(
    city: City,
) -> None:
    contact = {"phone": "0912777888", "email": "stop@mail.example"}
    receipt = await told(city, **contact)
    await became(city, receipt, "mail", "delivered")
    (mail, *_) = await city.messages("mailbox", receipt["number"])
    link = re.search(r"http\S+/p/\S+", mail["text"])
    assert link
    async with httpx.AsyncClient() as client:
        page = await client.get(link[0])
        assert "09•••••888" in page.text
        saved = await client.post(link[0], data={"all": "stop"}, follow_redirects=True)
        assert "已儲存" in saved.text
    second = await told(city, **contact)
    for channel in ("sms", "mail"):
        notice = await became(city, second, channel, "suppressed")
        assert notice["reason"] == "stopped by citizen"
    done = await city.acommand(
        *("notices", "suppress", second["number"], "--channel", "mail", "--allow"),
        *("--by", "wang", "--reason", "she called"),
    )
    assert done == {"settled": True, "outcome": "messages go there again"}
    third = await told(city, **contact)
    await became(city, third, "mail", "delivered")
    await became(city, third, "sms", "suppressed")


async def test_an_operator_sends_again_what_failed_and_not_what_was_heard(city: City) -> None:
    receipt = await told(city, phone="0900000005")
    failed = await became(city, receipt, "sms", "permanent_failure")
    by = ("--by", "wang", "--reason", "the number works again")
    done = await city.acommand("notices", "resend", failed["notice_id"], *by)
    assert done == {"settled": True, "outcome": "it goes out again"}
    await became(city, receipt, "sms", "permanent_failure")
    again = await city.acommand("notices", "show", failed["notice_id"])
    assert (again["notice"]["tries"], len(again["attempts"])) == (1, 2)
    heard = await became(city, receipt, "mail", "delivered")
    city.command("notices", "resend", heard["notice_id"], *by, status=2)
    city.command("notices", "resend", "nonsense", *by, status=2)
    city.command("notices", "resend", heard["notice_id"], status=2)


async def test_operators_see_how_each_provider_does(city: City) -> None:
    await became(city, await told(city), "sms", "delivered")
    found = {one["provider"]: one for one in await city.acommand("notices", "providers")}
    assert {"smpp", "relay"} <= found.keys() <= {"smpp", "gateway", "relay"}
    assert all(one["accepted"] > 0 for one in found.values())
    async with httpx.AsyncClient() as client:
        url = city.running.urls["console"]
        page = (await client.get(f"{url}/notices", params={"lang": "en"})).text
    assert "Citizens who heard nothing" in page
    assert "smpp" in page


async def test_a_citizen_who_can_be_reached_nowhere_is_on_the_list(city: City) -> None:
    receipt = await told(city, phone="0227208889", email="refused@mail.example")
    await became(city, receipt, "mail", "permanent_failure")
    connection = await city.database()
    try:
        # As if it had been some minutes ago.
        await connection.execute(
            "UPDATE notifier.notices SET happened_at = happened_at - interval '6 minutes'"
            " WHERE number = $1",
            receipt["number"],
        )
    finally:
        await connection.close()
    silent = await city.acommand("notices", "list", "--heard-nothing")
    (mine,) = [one for one in silent if one["number"] == receipt["number"]]
    assert (mine["template"], mine["perhaps"]) == ("assigned", False)
    assert "sms.landline" in mine["why"]
    async with httpx.AsyncClient() as client:
        page = (await client.get(city.running.urls["console"], params={"lang": "en"})).text
    assert "Cases whose citizen has not heard of the last step" in page
