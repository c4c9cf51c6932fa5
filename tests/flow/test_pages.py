"""The operators' page, and those of the citizen's mailbox and phone."""

import re

import httpx
import pytest

from tests.city import City, application, eventually

PAGES = ("console", "mailbox", "sms")


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_in_its_language_and_runs_no_script(
    city: City, name: str, lang: str
) -> None:
    async with httpx.AsyncClient(base_url=city.running.urls[name]) as client:
        answer = await client.get("/", params={"lang": lang})
        assert answer.status_code == 200
        assert f'<html lang="{lang}"' in answer.text
        heading = re.search(r"<h1.*?</h1>", answer.text, re.DOTALL)
        assert heading is not None
        assert bool(re.search(r"[\u4e00-\u9fff]", heading[0])) is (lang == "zh-TW")
        assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=", answer.text)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        other = "en" if lang == "zh-TW" else "zh-TW"
        assert f"lang={other}" in answer.text


async def test_what_a_citizen_wrote_is_shown_as_text(city: City) -> None:
    body = application(
        "SVC-001", applicant={"kind": "person", "name": "<b>x</b>", "id_number": "A123456789"}
    )
    receipt = await city.submit(body)
    await city.at(receipt, "IPC", "ASSIGNED")
    reason = "<script>alert(1)</script>"
    await city.do(receipt, "IPC", "request-correction", items=[reason])
    mails = await eventually(
        lambda: city.messages("mailbox", receipt["number"]),
        lambda found: any(reason in mail["text"] for mail in found),
    )
    async with httpx.AsyncClient(base_url=city.running.urls["mailbox"]) as client:
        links = set(re.findall(r'href="(/[^"?]+)', (await client.get("/")).text))
        pages = [(await client.get(link)).text for link in links]
    assert any(reason in mail["text"] for mail in mails)
    assert not any(reason in page for page in pages)


async def test_the_console_says_where_everything_is_and_what_waits(city: City) -> None:
    async with httpx.AsyncClient(base_url=city.running.urls["console"]) as client:

        async def page() -> str:
            return (await client.get("/", params={"lang": "en"})).text

        shown = await eventually(page, lambda text: "notifier-ledger" in text)
        lag = (await client.get("/api/lag")).json()
        metrics = (await client.get("/metrics")).text
    for url in (city.running.urls["mailbox"], city.running.urls["sms"], city.running.kafka):
        assert url in shown
    assert {one["group"] for one in lag["groups"]} >= {"router", "backoffice-inbox"}
    assert {one["outbox"] for one in lag["relays"]} == {
        "intake",
        "backoffice",
        "notifier",
        "console",
    }
    assert 'kafka_consumergroup_lag{consumergroup="router"' in metrics
