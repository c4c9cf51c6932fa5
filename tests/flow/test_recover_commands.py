"""`casebus recover`: topics that were lost are filled again, and nothing is there twice."""

import asyncio
from typing import Any

from catalogue import load_catalogue
from deploy import topics as topics_of_city
from shared.contract import topics
from shared.runtime import kafka
from tests.broker.ground import put_position
from tests.city import City, application, eventually
from tests.flow.records import read


async def lose(city: City, name: str) -> None:
    """Delete a topic and make it again, empty, as `casebus topics apply` does."""
    settings = city.kafka("admin")
    async with kafka.started(kafka.admin(settings)) as admin:
        before = len(await read(settings, name))
        assert before
        await admin.delete_topics([name])
        await eventually(lambda: admin.list_topics(), lambda names: name not in names)
    shape = topics_of_city.Shape()
    await asyncio.to_thread(topics_of_city.apply, settings, load_catalogue(), {}, shape)
    assert await read(settings, name) == []


async def recover(city: City, *arguments: str) -> str:
    return await asyncio.to_thread(city.command, "recover", *arguments)


async def audited(city: City) -> dict[str, Any]:
    found: dict[str, Any] = await city.acommand("audit", status=None)
    return {name: found[name] for name in ("lost", "duplicated", "out_of_order")}


GOOD = {"lost": 0, "duplicated": 0, "out_of_order": 0}


async def test_where_everything_fits_nothing_is_sent(city: City) -> None:
    for service in ("intake", "backoffice", "notifier", "console"):
        assert " 0 are sent" in await recover(city, service)
    assert "every position fits" in await recover(city, "router")
    assert await audited(city) == GOOD


async def test_an_outbox_whose_position_is_ahead_of_the_database_is_shown_and_mended(
    city: City,
) -> None:
    """As after the restore of an older copy."""
    await put_position(city.kafka("admin"), "console", f"{2**48}:1")

    async def state() -> str:
        relays = (await city.acommand("lag"))["relays"]
        return next(str(one["state"]) for one in relays if one["outbox"] == "console")

    await eventually(state, lambda found: found == "OUT_OF_RANGE")
    assert " are sent" in await recover(city, "console")
    await eventually(state, lambda found: found == "OK")
    assert await audited(city) == GOOD


async def test_an_outbox_that_somebody_holds_is_left_alone_and_it_is_said(city: City) -> None:
    holder = await city.database()
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE console.outbox IN SHARE MODE")
            said = await asyncio.to_thread(city.command, "recover", "console", status=2)
    finally:
        await holder.close()
    assert "reading" in said
    assert " 0 are sent" in await recover(city, "console")


async def test_an_agencys_topic_that_was_lost_is_filled_again_by_the_router(city: City) -> None:
    receipts = [await city.submit(application()) for _ in range(3)]
    for receipt in receipts:
        await city.at(receipt, "IPC", "ASSIGNED")
    await lose(city, topics.agency_cases("IPC"))
    said = await recover(city, "router", "--everything")
    assert "lacked something" in said
    assert await audited(city) == GOOD
    said = await recover(city, "router", "--everything")
    assert ": 0 lacked something" in said
    receipt = await city.submit(application())
    await city.at(receipt, "IPC", "ASSIGNED")
    assert await audited(city) == GOOD


async def test_applications_that_were_lost_are_sent_again_and_routed_once(city: City) -> None:
    receipt = await city.submit(application())
    await city.at(receipt, "IPC", "ASSIGNED")
    await lose(city, topics.APPLICATIONS)
    assert " 0 are sent" not in await recover(city, "intake")

    async def recovered() -> str:
        return await recover(city, "router")

    assert "lacked something" in await recovered()
    receipt = await city.submit(application())
    await city.at(receipt, "IPC", "ASSIGNED")
    assert await audited(city) == GOOD


async def test_who_has_nothing_to_recover_is_told_so(city: City) -> None:
    for arguments in (("nobody",), ("intake", "--everything")):
        await asyncio.to_thread(city.command, "recover", *arguments, status=2)
