"""From HTTP to the agency's topic, the back office, and the citizen's mail and phone."""

import asyncio

from tests.city import City, application, eventually


async def test_an_application_reaches_its_agency_and_the_citizen_hears_of_it(city: City) -> None:
    receipt = await city.submit(application("SVC-001"))
    case = await city.at(receipt, "IPC", "ASSIGNED")
    assert case["application"]["applicant"]["name"] == "陳怡君"
    assert case["facts"]["district"] == "大安區"
    mails = await eventually(
        lambda: city.messages("mailbox", receipt["number"]),
        lambda found: any("原住民族事務委員會辦理" in mail["text"] for mail in found),
    )
    assert {mail["to"] for mail in mails} == {"yichun@mail.example"}
    texts = await eventually(
        lambda: city.messages("sms", receipt["number"]),
        lambda found: any("原住民族事務委員會辦理" in text["text"] for text in found),
    )
    assert all(receipt["number"] in text["text"] for text in texts)
    # That it was received is said by the same message, when the agency was found at once.
    assert max(len(mails), len(texts)) <= 2
    seen = await eventually(
        lambda: city.follow(receipt),
        lambda found: [s["status"] for s in found["steps"]].count("delivered") >= 2,
    )
    assert (seen["agency"], seen["status"]) == ("IPC", "ASSIGNED")


async def test_every_step_can_be_traced(city: City) -> None:
    receipt = await city.submit(application("SVC-001"))
    await city.at(receipt, "IPC", "ASSIGNED")
    assert (await city.do(receipt, "IPC", "accept")).status_code == 200

    async def whats() -> list[tuple[str, str]]:
        trace = await city.acommand("trace", receipt["number"])
        return [(step["what"], step["topic"]) for step in trace["steps"]]

    steps = await eventually(
        whats,
        lambda found: (
            sum(topic == "notices.events" for _, topic in found) >= 8
            and ("status", "cases.events") in found
        ),
    )
    assert steps[:3] == [
        ("submitted", "applications.events"),
        ("assigned", "agency.IPC.cases"),
        ("routed", "cases.events"),
    ]


async def test_a_correction_is_asked_for_and_the_case_is_completed(city: City) -> None:
    receipt = await city.submit(application("SVC-001"))
    await city.at(receipt, "IPC", "ASSIGNED")
    answer = await city.do(receipt, "IPC", "request-correction", items=["存摺影本"])
    assert answer.json()["status"] == "CORRECTION_REQUESTED"
    mails = await eventually(
        lambda: city.messages("mailbox", receipt["number"]),
        lambda found: any("存摺影本" in mail["text"] for mail in found),
    )
    assert all("補正" in mail["subject"] for mail in mails if "存摺影本" in mail["text"])
    refused = await city.do(receipt, "IPC", "complete", outcome="APPROVED")
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:casebus:problem:command.not-now"
    answer = await city.do(receipt, "IPC", "complete", outcome="REJECTED", reason="逾期未補正")
    assert answer.json()["status"] == "CLOSED"
    await eventually(lambda: city.follow(receipt), lambda found: found["status"] == "CLOSED")


async def test_a_service_with_a_chain_visits_its_agencies_in_turn(city: City) -> None:
    receipt = await city.submit(application("SVC-019", "大安區"))
    async with city.office("HRO-DA") as client:
        await city.at(receipt, "HRO-DA", "ASSIGNED")
        case = (await client.get(f"/api/cases/{receipt['number']}")).json()
    way = ["HRO-DA", *case["chain"]]
    assert way == ["HRO-DA", "DO-DA", "DOSW"]
    for step, agency in enumerate(way, start=1):
        assert (await city.at(receipt, agency, "ASSIGNED"))["step"] == step
        assert (await city.do(receipt, agency, "accept")).status_code == 200
        done = await city.do(receipt, agency, "complete", outcome="APPROVED")
        assert done.status_code == 200, done.text
    seen = await eventually(lambda: city.follow(receipt), lambda found: found["status"] == "CLOSED")
    routed = [step["agency"] for step in seen["steps"] if step["kind"] == "routed"]
    assert routed == way


async def test_a_case_that_comes_back_twice_is_placed_by_the_control_unit(city: City) -> None:
    receipt = await city.submit(application("SVC-001"))
    await city.at(receipt, "IPC", "ASSIGNED")
    await city.do(receipt, "IPC", "return", reason="非本會權責")
    # Nobody else is left in the rules: triage, which names an agency by hand.
    await city.at(receipt, "TRIAGE", "ASSIGNED")
    await city.do(receipt, "TRIAGE", "return", reason="人工分派", proposed="DOSW")
    await city.at(receipt, "DOSW", "ASSIGNED")
    await city.do(receipt, "DOSW", "return", reason="亦非本局權責")
    await city.at(receipt, "RDEC", "ASSIGNED")


async def test_a_land_case_goes_by_the_side_of_the_road(city: City) -> None:
    offices = {}
    for side in ("north", "south"):
        body = application(
            _land_service(), "中正區", location={"district": "中正區", "side_of_aiguo": side}
        )
        receipt = await city.submit(body)

        async def agency(receipt: dict[str, str] = receipt) -> str | None:
            return (await city.follow(receipt))["agency"]

        offices[side] = await eventually(agency)
    assert offices["north"] != offices["south"]
    assert all(office and office.startswith("LO-") for office in offices.values())


def _land_service() -> str:
    from catalogue import load_catalogue

    services = load_catalogue().services.values()
    return next(one.code for one in services if one.family == "land" and one.open)


async def test_counts_agree_after_traffic_over_all_services(city: City) -> None:
    # Another test may have put an assignment on a topic by its own hand.
    forged = (await city.acommand("audit", status=None))["unexpected"]
    sent = await city.acommand("traffic", "--cases", "200", "--rate", "50", "--seed", "7")
    assert sent["accepted"] + sent["refused"] == sent["submitted"] == 200
    assert len(sent["numbers"]) == sent["accepted"] > 150
    verdict = await city.acommand("audit", status=1 if forged else 0)
    assert verdict["applications"] == verdict["assigned"] == verdict["in_back_offices"]
    assert (verdict["lost"], verdict["duplicated"], verdict["out_of_order"]) == (0, 0, 0)
    assert (verdict["unexpected"], verdict["notices_missing"]) == (forged, 0)


async def test_two_at_once_with_one_key_are_one_case(city: City) -> None:
    body = application("SVC-001")
    receipts = await asyncio.gather(*(city.submit(body, "one-key") for _ in range(8)))
    assert len({receipt["number"] for receipt in receipts}) == 1
    assert len({receipt["password"] for receipt in receipts}) == 1
