"""The portal's pages of a case: who may see it, what stands there, and what its citizen may do.

Everything runs on a real PostgreSQL, and what is posted are the forms that the pages have.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import itsdangerous
import pytest
from httpx import Response

from services.intake import gate
from services.intake.identity import case_number
from services.intake.texts import languages
from shared.contract.events import (
    ApplicationPreferencesRequested,
    ApplicationSupplemented,
    ApplicationWithdrawn,
    derived_id,
)
from shared.runtime.postgres import Pool
from tests.conformance.conftest import Database
from tests.conformance.portal import LIN, URL, WANG, City, Form, Page, opened, pdf, went

CHINESE = re.compile("[\u3400-\u9fff]")
NOBODYS = case_number(date(2026, 11, 24), 9_999_999)


@pytest.fixture(scope="module")
async def built(pools: dict[str, Pool], database: Database) -> AsyncIterator[City]:
    async with opened(database, pools["intake"]) as found:
        yield found


@pytest.fixture
async def city(built: City, clean: Database, monkeypatch: pytest.MonkeyPatch) -> City:
    monkeypatch.setattr(gate, "_WRONG_COSTS_S", 0)
    await built.anew()
    return built


async def entered(city: City, number: str, password: str, language: str = "zh-TW") -> Response:
    form = (await city.get(f"/{language}/case")).form("/case")
    return await city.press(form, {"number": number, "password": password})


async def case_of(city: City, language: str = "zh-TW") -> tuple[str, str]:
    """The number of a new case, and the address of its page."""
    number, password = await city.received()
    return number, await city.followed(number, password, language)


async def form_of(city: City, path: str, what: str) -> Form:
    return (await city.get(path)).form(f"/{what}")


async def guesses(city: City) -> int:
    """Wrong tries; two rows are of the link that was sent to confirm the case."""
    return await city.count("intake.guesses") - 2


# --- The door


@pytest.mark.parametrize("language", ["zh-TW", "en"])
async def test_number_and_password_open_the_case(city: City, language: str) -> None:
    number, password = await city.received()
    wide = number.translate({ord(str(n)): chr(0xFF10 + n) for n in range(10)})
    for typed, secret in (
        (number, password),
        (f" {wide} ", f" {password.upper()} "),
        (number.replace("-", " "), password.replace("-", "")),
    ):
        path = went(await entered(city, typed, secret, language))
        assert re.fullmatch(rf"/{language}/case/[\w.-]+", path)
        page = await city.get(path)
        assert (page.response.status_code, page.lang) == (200, language)
        assert page.numbers == [number]
    assert await guesses(city) == 0


@pytest.mark.parametrize("language", ["zh-TW", "en"])
async def test_a_wrong_number_and_a_wrong_password_look_the_same(city: City, language: str) -> None:
    number, password = await city.received()
    wrong = await entered(city, number, "aaaa-bbbb-cccc-dddd", language)
    nobodys = await entered(city, NOBODYS, password, language)
    empty = await entered(city, number, "", language)
    strange = await entered(city, number, "密碼\x00😀" * 50, language)

    assert {one.status_code for one in (wrong, nobodys, empty, strange)} == {403}
    said = wrong.content.replace(number.encode(), b"")
    for one in (nobodys, empty, strange):
        assert said == one.content.replace(number.encode(), b"").replace(NOBODYS.encode(), b"")
        assert [*wrong.headers] == [*one.headers]
    assert await guesses(city) == 8


async def test_a_wrong_answer_takes_its_time_whether_there_is_a_case_or_not(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, password = await city.received()
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(gate.asyncio, "sleep", sleep)
    await entered(city, number, "wrong")
    await entered(city, NOBODYS, "wrong")
    assert len(slept) == 2
    went(await entered(city, number, password))

    assert len(slept) == 2


@pytest.mark.parametrize(
    ("language", "form", "digit"),
    [
        ("zh-TW", "案件編號的格式", "檢查碼不符"),
        ("en", "A case number looks like", "The check digit does not fit"),
    ],
)
async def test_a_number_that_cannot_be_one_is_told(
    city: City, language: str, form: str, digit: str
) -> None:
    last = (int(NOBODYS[-1]) + 1) % 10
    for typed, said in (
        *((one, form) for one in ("", "1", "\x00", "王", "<b>", "9" * 15)),
        *((one, digit) for one in ("9" * 5000, f"{NOBODYS[:-1]}{last}")),
    ):
        page = Page(await entered(city, typed, "x", language))
        assert page.response.status_code == 422
        assert said in page.alerts[0]
    assert await city.count("intake.guesses") == 0


async def set_to_the_databases_clock(city: City) -> None:
    city.now = await city.database.admin.fetchval("SELECT clock_timestamp()")


@pytest.mark.parametrize("exists", [True, False])
async def test_after_five_wrong_tries_only_the_right_password_is_looked_at_for_a_quarter_of_an_hour(
    city: City, exists: bool
) -> None:
    number, password = await city.received()
    other, other_password = await city.received(LIN)
    number = number if exists else NOBODYS
    await set_to_the_databases_clock(city)
    for _ in range(5):
        assert (await entered(city, number, "wrong")).status_code == 403

    page = Page(await entered(city, number, "wrong"))
    assert page.response.status_code == 429
    assert "15 分鐘" in page.alerts[0]
    # However many others guess, whoever has the password comes in.
    assert (await entered(city, number, password)).status_code == (303 if exists else 429)
    went(await entered(city, other, other_password))

    await set_to_the_databases_clock(city)
    city.now += timedelta(minutes=15, seconds=1)
    again = await entered(city, number, password)
    assert again.status_code == (303 if exists else 403)


async def test_one_address_has_thirty_wrong_tries_an_hour(city: City) -> None:
    number, password = await city.received()
    await set_to_the_databases_clock(city)
    for sequence in range(6):
        for _ in range(5):
            nobodys = case_number(date(2026, 11, 23), sequence)
            assert (await entered(city, nobodys, "wrong")).status_code == 403

    fresh = case_number(date(2026, 11, 23), 99)
    assert (await entered(city, fresh, "wrong")).status_code == 429
    went(await entered(city, number, password))
    await set_to_the_databases_clock(city)
    city.now += timedelta(hours=1, seconds=1)
    assert (await entered(city, fresh, "wrong")).status_code == 403


async def test_five_wrong_tries_are_five_also_when_many_come_at_once(city: City) -> None:
    number, _ = await city.received()
    await set_to_the_databases_clock(city)
    form = (await city.get("/en/case")).form("/case")
    typed = {"number": number, "password": "wrong"}
    found = await asyncio.gather(*(city.press(form, typed) for _ in range(12)))

    assert sum(one.status_code == 403 for one in found) <= 5


async def test_no_number_and_no_address_stands_among_the_guesses(city: City) -> None:
    await entered(city, NOBODYS, "wrong")

    rows = await city.database.admin.fetch("SELECT subject FROM intake.guesses")
    assert len(rows) == 2
    assert all(len(row["subject"]) == 32 for row in rows)


# --- The signed link


async def test_a_link_ends_by_itself(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    number, password = await city.received()
    real = itsdangerous.TimestampSigner.get_timestamp
    paths = {}
    for ago in (7100, 7201):
        with monkeypatch.context() as patch:
            patch.setattr(
                itsdangerous.TimestampSigner,
                "get_timestamp",
                lambda self, ago=ago: real(self) - ago,
            )
            form = (await city.get("/en/case")).form("/case")
            found = await city.press(form, {"number": number, "password": password})
            paths[ago] = went(found)

    assert (await city.client.get(paths[7100])).status_code == 200
    page = await city.get(paths[7201])
    assert page.response.status_code == 403
    assert "two hours" in page.alerts[0]
    assert number not in page.response.text


async def test_a_forged_link_opens_nothing_and_changes_nothing(city: City) -> None:
    number, path = await case_of(city)
    token = path.rpartition("/")[2]
    signer = itsdangerous.URLSafeTimedSerializer
    other = signer(b"x" * 32, salt="casebus-follow").dumps(number)
    salt = signer(b"c" * 32, salt="casebus-counter").dumps(number)
    nobodys = signer(b"c" * 32, salt="casebus-follow").dumps(NOBODYS)
    before = len(await city.events())

    for one in (other, salt, nobodys, token[:-1], token + "x", token[1:], "x", "%00", "王"):
        found = [
            await city.client.get(f"/zh-TW/case/{one}"),
            await city.client.post(f"/zh-TW/case/{one}/supplement", data={"text": "x"}),
            await city.client.post(f"/zh-TW/case/{one}/withdraw", data={"sure": "yes"}),
        ]
        assert {answer.status_code for answer in found} == {403}, one
        assert all(number not in answer.text for answer in found)
    assert len(await city.events()) == before


# --- What stands there


AGENCY = {"zh-TW": "社會局", "en": "Department of Social Welfare"}
HISTORY: list[tuple[dict[str, Any], str, str]] = [
    (
        {"kind": "routed", "agency": "DOSW", "detail": {"outcome": "rule"}},
        "已分派給{who}。",
        "It went to {who}.",
    ),
    (
        {"kind": "routed", "agency": "DOSW", "detail": {"outcome": "manual"}},
        "已分派給{who}。",
        "It went to {who}.",
    ),
    (
        {"kind": "routed", "agency": "DOSW", "detail": {"outcome": "triage"}},
        "由本府人員為您尋找合適的承辦機關。",
        "A person at the city looks for the right agency.",
    ),
    (
        {"kind": "routed", "agency": "DOSW", "detail": {"outcome": "control_unit"}},
        "由本府人員為您尋找合適的承辦機關。",
        "A person at the city looks for the right agency.",
    ),
    (
        {"kind": "routed", "agency": "DOSW", "detail": {"outcome": "next_step"}},
        "已轉由下一個機關辦理：{who}。",
        "The next agency has it: {who}.",
    ),
    ({"agency": "DOSW", "status": "ACCEPTED"}, "{who}已開始辦理。", "{who} has begun."),
    (
        {"agency": "DOSW", "status": "CORRECTION_REQUESTED", "detail": {"items": ["7", "8"]}},
        "{who}請您補正；補正期間不計入期限。 7、8",
        "{who} needs something from you; the clock stands still. 7, 8",
    ),
    (
        {"agency": "DOSW", "status": "CORRECTED", "detail": {"reason": "123"}},
        "{who}已收到您的回覆，期限繼續計算。 123",
        "Your answer has come to {who}; the clock goes on. 123",
    ),
    ({"agency": "DOSW", "status": "UNDER_REVIEW"}, "{who}: 審核中", "{who}: Under review"),
    (
        {"agency": "DOSW", "status": "CLOSED"},
        "{who}已作成決定，案件已結案。",
        "{who} has decided. The case is closed.",
    ),
    (
        {"agency": "DOSW", "status": "WITHDRAWN"},
        "已依您的要求撤回案件。",
        "The case was taken back, as you asked.",
    ),
    (
        {"kind": "notice", "status": "delivered", "detail": {"channel": "sms"}},
        "簡訊已送達。",
        "Our text message has arrived.",
    ),
    (
        {"kind": "notice", "status": "permanent_failure", "detail": {"channel": "mail"}},
        "電子郵件無法送達。",
        "Our mail could not be delivered.",
    ),
    (
        {"kind": "notice", "status": "suppressed", "detail": {"channel": "sms"}},
        "未發簡訊：沒有門號，或您已停止接收。",
        "No text message was sent: there is no number, or you stopped them.",
    ),
    (
        {"kind": "notice", "status": "sent", "detail": {"channel": "mail"}},
        "已寄電子郵件給您。",
        "We wrote you a mail.",
    ),
    ({"kind": "added", "detail": {"documents": 1}}, "您補充了資料。", "You added something."),
    ({"kind": "withdrawn"}, "您要求撤回案件。", "You asked to take the case back."),
]


@pytest.mark.parametrize("language", ["zh-TW", "en"])
async def test_every_kind_of_step_is_told_in_plain_words(city: City, language: str) -> None:
    _, path = await case_of(city, language)
    number = (await city.get(path)).numbers[0]
    agency = city.shop.catalogue.agencies["DOSW"]
    who = languages()[language].pick(agency.zh, agency.en)
    for step, zh, en in HISTORY:
        await city.database.admin.execute("TRUNCATE intake.steps")
        await city.happened(number, **step)
        page = await city.get(path)

        assert page.response.status_code == 200
        sentence = languages()[language].pick(zh, en).format(who=who)
        assert sentence in page.text
        if language == "en":
            history = page.text.partition("What has happened")[2]
            assert not CHINESE.search(history), history


async def test_a_case_that_nobody_has_yet_says_so(city: City) -> None:
    _, path = await case_of(city, "en")
    page = await city.get(path)

    assert "We have received your application." in page.text
    assert "The city finds out whose it is" in page.text
    assert "Where it stands Received" in page.text


async def test_who_has_it_and_where_it_stands_is_what_came_last(city: City) -> None:
    number, path = await case_of(city, "en")
    agencies = city.shop.catalogue.agencies
    await city.happened(number, kind="routed", agency="DOSW", detail={"outcome": "rule"})
    page = await city.get(path)
    assert f"Who has it {agencies['DOSW'].en}" in page.text
    assert "Where it stands Assigned" in page.text

    await city.happened(number, kind="routed", agency="LAND", detail={"outcome": "manual"})
    await city.happened(number, agency="LAND", status="ACCEPTED")
    page = await city.get(path)
    assert f"Who has it {agencies['LAND'].en}" in page.text
    assert "Where it stands Accepted" in page.text


async def test_what_the_agency_needs_stands_there_while_it_does(city: City) -> None:
    number, path = await case_of(city)
    detail = {"items": ["身分證影本", "<b>圖</b>"], "reason": "缺件", "correct_by": "2026-12-08"}
    await city.happened(number, agency="LAND", status="CORRECTION_REQUESTED", detail=detail)
    page = await city.get(path)
    assert "機關請您補正" in page.text
    assert "身分證影本" in page.text
    assert "<b>圖</b>" in page.text
    assert "缺件" in page.text
    assert f"請於 {languages()['zh-TW'].day(date(2026, 12, 8))} 前送出。" in page.text

    await city.happened(number, agency="LAND", status="CORRECTED")
    assert "機關請您補正" not in (await city.get(path)).text


@pytest.mark.parametrize("language", ["zh-TW", "en"])
async def test_the_due_day_is_explained(city: City, language: str) -> None:
    # In Taipei the 30th has begun already.
    city.now = datetime(2026, 12, 29, 16, 30, tzinfo=UTC)
    _, path = await case_of(city, language)
    page, day = await city.get(path), languages()[language].day

    assert day(date(2027, 1, 6)) in page.text
    assert day(date(2026, 12, 30)) in page.text
    assert day(date(2026, 12, 31)) in page.text
    names = {date(2027, 1, n): city.files.calendar.name_of(date(2027, 1, n)) for n in (1, 2, 3)}
    assert all(names[date(2027, 1, 1)])
    for off, (zh, en) in names.items():
        name = languages()[language].pick(zh, en)
        assert (f"{day(off)} - {name}" if name else day(off)) in page.text
    limit = languages()[language].pick("4 個工作天", "4 working days")
    assert limit in page.text
    moved = languages()[language].pick("機關已調整期限", "The agency has moved the day")
    assert moved not in page.text


async def test_a_day_that_the_agency_moved_is_told_as_such(city: City) -> None:
    number, path = await case_of(city, "en")
    detail = {"due_on": "2026-12-24"}
    await city.happened(number, agency="LAND", status="UNDER_REVIEW", detail=detail)
    await city.happened(number, agency="LAND", status="JOINT_REVIEW", detail={"due_on": None})
    page = await city.get(path)

    assert languages()["en"].day(date(2026, 12, 24)) in page.text
    assert "The agency has moved the day" in page.text


@pytest.mark.parametrize("status", ["CLOSED", "WITHDRAWN", "ARCHIVED"])
async def test_after_the_end_nothing_can_be_done(city: City, status: str) -> None:
    number, path = await case_of(city, "en")
    supplement = await form_of(city, path, "supplement")
    withdraw = await form_of(city, path, "withdraw")
    before = len(await city.events())
    await city.happened(number, agency="LAND", status=status)

    page = await city.get(path)
    assert page.forms == []
    assert "Until when" not in page.text
    assert (await city.client.post(f"{path}/preferences")).status_code == 409
    found = [
        await city.press(supplement, {"text": "x"}, files=[("document", "a.pdf", pdf())]),
        await city.press(withdraw, {"sure": "yes"}),
    ]
    assert [one.status_code for one in found] == [409, 409]
    assert "come to its end" in Page(found[0]).alerts[0]
    assert len(await city.events()) == before
    assert await city.count("intake.uploads") == 0


# --- How we write to you


@pytest.mark.parametrize(
    ("changes", "channel"), [({}, "mail"), ({"contact.email": ""}, "sms")], ids=["mail", "sms"]
)
async def test_the_link_to_choose_with_goes_to_the_address_of_the_case_once_a_day(
    city: City, changes: dict[str, str], channel: str
) -> None:
    number, password = await city.received(WANG | changes)
    path = await city.followed(number, password)
    form, rung = await form_of(city, path, "preferences"), city.rung
    page = await city.get(went(await city.press(form), f"{path}?notice=link"))

    assert "寄到本案所留的聯絡方式" in page.notices[0]
    assert "您索取了通知設定的連結。" in page.text
    assert city.rung > rung
    again = await city.get(went(await city.press(form), f"{path}?notice=link_already"))
    assert "今天已寄過連結" in again.notices[0]
    (event,) = await city.told(ApplicationPreferencesRequested)
    assert (event.number, event.channel) == (number, channel)
    city.now += timedelta(days=1)
    path = await city.followed(number, password)
    form = await form_of(city, path, "preferences")
    went(await city.press(form), f"{path}?notice=link")
    assert len(await city.told(ApplicationPreferencesRequested)) == 2


async def test_a_link_goes_past_a_stop_only_where_the_address_is_proven(city: City) -> None:
    number, password = await city.received()
    for proven in (True, False):
        path = await city.followed(number, password)
        form = await form_of(city, path, "preferences")
        went(await city.press(form), f"{path}?notice=link")
        (*_, event) = await city.told(ApplicationPreferencesRequested)
        assert event.proven is proven
        # As one that came by the API: nobody followed a link.
        await city.database.admin.execute("UPDATE intake.applications SET proven = NULL")
        city.now += timedelta(days=1)


async def test_one_address_gets_few_links_in_an_hour_whatever_they_are_for(city: City) -> None:
    # Three links to confirm with have gone there.
    cases = [await city.received() for _ in range(3)]
    path = await city.followed(*cases[0])
    page = Page(await city.press(await form_of(city, path, "preferences")))

    assert page.response.status_code == 429
    assert page.alerts
    city.now = await city.much_later()
    path = await city.followed(*cases[0])
    went(await city.press(await form_of(city, path, "preferences")), f"{path}?notice=link")
    assert len(await city.told(ApplicationPreferencesRequested)) == 1


async def test_whose_data_was_destroyed_is_written_to_no_more(city: City) -> None:
    number, path = await case_of(city)
    form = await form_of(city, path, "preferences")
    await city.database.admin.execute(
        "SELECT vault.shred_key(case_id) FROM intake.applications WHERE number = $1", number
    )

    assert (await city.press(form)).status_code == 409
    assert await city.told(ApplicationPreferencesRequested) == []


# --- Adding something


async def test_what_the_citizen_adds_goes_out_sealed_and_stands_in_the_history(
    city: City,
) -> None:
    number, path = await case_of(city)
    form = await form_of(city, path, "supplement")
    rung = city.rung
    files = [("document", "補件.pdf", pdf("one")), ("document", "二.pdf", pdf("two"))]
    to = went(await city.press(form, {"text": " 請見附件\n謝謝 "}, files=files))

    assert to == f"{path}?notice=added"
    page = await city.get(to)
    assert "已收到" in page.notices[0]
    assert "您補充了資料。" in page.text
    assert city.rung > rung
    (event,) = await city.told(ApplicationSupplemented)
    assert (event.number, event.service) == (number, "SVC-056")
    said = await city.unsealed(event)
    assert said["text"] == "請見附件\n謝謝"
    assert [one["name"] for one in said["documents"]] == ["補件.pdf", "二.pdf"]
    for document in said["documents"]:
        assert document["url"].startswith(f"{URL}/documents/")
        found = await city.client.get(urlsplit(document["url"]).path)
        assert found.status_code == 200
        assert len(found.content) == document["bytes"]
        assert found.headers["content-disposition"].startswith("attachment;")
    rows = await city.database.admin.fetch("SELECT event_id, kind, detail FROM intake.steps")
    assert [tuple(row) for row in rows] == [(event.id, "added", {"documents": 2})]
    for secret in ("請見附件", "補件"):
        assert all(secret.encode() not in row["value"] for row in await city.outbox())
    # The case keeps them, as long as it is there.
    await city.drafts.sweep(await city.much_later())
    assert await city.count("intake.attachments") == 2


@pytest.mark.parametrize("typed", ["", "  \n ", "\x00"])
async def test_an_empty_addition_is_told(city: City, typed: str) -> None:
    _, path = await case_of(city, "en")
    form = await form_of(city, path, "supplement")
    page = Page(await city.press(form, {"text": typed}))

    assert page.response.status_code == 422
    assert "Write something" in page.alerts[0]
    assert await city.told(ApplicationSupplemented) == []


async def test_the_same_addition_again_is_one_event(city: City) -> None:
    _, path = await case_of(city)
    form = await form_of(city, path, "supplement")
    for _ in range(3):
        went(await city.press(form, {"text": "一次"}), f"{path}?notice=added")

    assert len(await city.told(ApplicationSupplemented)) == 1
    assert await city.count("intake.steps") == 1
    again = await form_of(city, path, "supplement")
    assert again.shown["once"] != form.shown["once"]
    went(await city.press(again, {"text": "二次"}))
    assert len(await city.told(ApplicationSupplemented)) == 2


@pytest.mark.parametrize("what", ["supplement", "withdraw"])
async def test_what_is_said_twice_at_once_is_one_event(city: City, what: str) -> None:
    number, path = await case_of(city)
    form, case_id = await form_of(city, path, what), await city.case_id(number)
    said = json.dumps({"text": "一次", "documents": []}, ensure_ascii=False).encode()
    once = f"supplement {form.shown.get('once')} {hashlib.sha256(said).hexdigest()}"
    label = "withdrawn" if what == "withdraw" else once
    before = len(await city.events())
    twin = await asyncpg.connect(city.database.admin_uri)
    try:
        # The first of the two: it has written its step, and is about to commit.
        async with twin.transaction():
            await twin.execute(
                "INSERT INTO intake.steps (event_id, case_id, happened_at, kind)"
                " VALUES ($1, $2, $3, 'added')",
                derived_id(case_id, label),
                case_id,
                city.now,
            )
            typed = {"sure": "yes"} if what == "withdraw" else {"text": "一次"}
            second = asyncio.create_task(city.press(form, typed))
            while not second.done() and not await city.count("pg_locks WHERE NOT granted"):
                pass
    finally:
        await twin.close()

    went(await second)
    assert await city.count("intake.steps") == 1
    # The first one's is not written here; the second one must not write another.
    assert len(await city.events()) == before


async def test_another_text_from_the_same_page_is_not_lost(city: City) -> None:
    _, path = await case_of(city)
    form = await form_of(city, path, "supplement")
    went(await city.press(form, {"text": "one"}))
    went(await city.press(form, {"text": "another"}))

    said = [(await city.unsealed(one))["text"] for one in await city.told(ApplicationSupplemented)]
    assert said == ["one", "another"]


@pytest.mark.parametrize(("language", "said"), [("zh-TW", "檔案損壞"), ("en", "damaged")])
async def test_a_refused_document_is_told_by_its_name_and_the_text_stays(
    city: City, language: str, said: str
) -> None:
    _, path = await case_of(city, language)
    form = await form_of(city, path, "supplement")
    files = [("document", "壞.pdf", b"%PDF-1.7 no")]
    page = Page(await city.press(form, {"text": "see\nfile"}, files=files))

    assert page.response.status_code == 422
    assert "壞.pdf" in page.alerts[0]
    assert said in page.alerts[0]
    assert page.form("/supplement").shown["text"] == "see\nfile"
    assert await city.told(ApplicationSupplemented) == []


async def test_of_a_refused_addition_no_document_is_kept(city: City) -> None:
    _, path = await case_of(city)
    form = await form_of(city, path, "supplement")
    files = [("document", "good.pdf", pdf()), ("document", "bad.pdf", b"%PDF-1.7 no")]
    assert (await city.press(form, {"text": "x"}, files=files)).status_code == 422

    assert await city.count("intake.attachments") == 0


async def test_too_many_documents_at_once_are_told_and_the_text_stays(city: City) -> None:
    _, path = await case_of(city)
    form = await form_of(city, path, "supplement")
    files = [("document", f"{n}.pdf", pdf()) for n in range(21)]
    page = Page(await city.press(form, {"text": "all of it"}, files=files))

    assert page.response.status_code == 422
    assert page.form("/supplement").shown["text"] == "all of it"


async def test_a_text_that_is_too_long_is_not_cut_without_a_word(city: City) -> None:
    _, path = await case_of(city)
    form = await form_of(city, path, "supplement")
    found = await city.press(form, {"text": "長" * 2001})

    assert found.status_code == 422
    assert Page(found).form("/supplement").shown["text"] == "長" * 2001


async def test_rare_characters_of_an_addition_come_through(city: City) -> None:
    _, path = await case_of(city)
    form = await form_of(city, path, "supplement")
    went(await city.press(form, {"text": "𠮷𨋢😀".encode()}))

    (event,) = await city.told(ApplicationSupplemented)
    assert (await city.unsealed(event))["text"] == "𠮷𨋢😀"


# --- Taking it back


async def test_a_case_is_taken_back_once(city: City) -> None:
    number, path = await case_of(city)
    form = await form_of(city, path, "withdraw")
    to = went(await city.press(form, {"sure": "yes"}), f"{path}?notice=withdrawn")

    page = await city.get(to)
    assert "已撤回" in page.notices[0]
    assert "您要求撤回案件。" in page.text
    assert not [one for one in page.forms if one.action.endswith("/withdraw")]
    again = Page(await city.press(form, {"sure": "yes"}))
    assert again.response.status_code == 409
    assert "無法撤回" in again.alerts[0]
    (event,) = await city.told(ApplicationWithdrawn)
    assert (event.number, event.service) == (number, "SVC-056")


async def test_without_the_tick_nothing_is_taken_back(city: City) -> None:
    _, path = await case_of(city)
    page = Page(await city.press(await form_of(city, path, "withdraw")))

    assert page.response.status_code == 422
    assert "請勾選" in page.alerts[0]
    assert await city.told(ApplicationWithdrawn) == []


@pytest.mark.parametrize("status", ["APPROVED", "REJECTED", "ISSUED", "READY_FOR_PICKUP"])
async def test_what_is_decided_cannot_be_taken_back(city: City, status: str) -> None:
    number, path = await case_of(city)
    form = await form_of(city, path, "withdraw")
    await city.happened(number, agency="LAND", status=status)

    assert not [one for one in (await city.get(path)).forms if one.action.endswith("/withdraw")]
    assert (await city.press(form, {"sure": "yes"})).status_code == 409
    assert await city.told(ApplicationWithdrawn) == []


# --- The database away, and headers


async def test_while_the_database_is_away_nothing_is_lost(
    city: City, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, password = await city.received()
    path = await city.followed(number, password)
    supplement = await form_of(city, path, "supplement")
    withdraw = await form_of(city, path, "withdraw")
    preferences = await form_of(city, path, "preferences")
    applications = city.files.applications
    closed = await database.pool("intake")
    await closed.close()
    with monkeypatch.context() as patch:
        patch.setattr(city.drafts, "_pool", closed)
        found = [
            await city.press(supplement, {"text": "x"}),
            await city.press(supplement, {"text": "x"}, files=[("document", "a.pdf", pdf())]),
            await city.press(preferences),
        ]
        patch.setattr(applications, "_pool", closed)
        found += [
            await entered(city, number, password),
            await city.client.get(path),
            await city.press(supplement, {"text": "x"}),
            await city.press(withdraw, {"sure": "yes"}),
        ]
    for one in found:
        assert one.status_code == 503, one.request.url
        assert Page(one).lang == "zh-TW"

    went(await city.press(supplement, {"text": "x"}))
    went(await city.press(withdraw, {"sure": "yes"}))
    assert len(await city.events()) == 4


async def test_every_page_has_strict_headers(city: City) -> None:
    number, password = await city.received()
    path = await city.followed(number, password)
    found = [
        await city.client.get("/en/case"),
        await city.client.get(f"/en/case?number={number}"),
        await city.client.get(path),
        await city.client.get("/en/case/forged"),
        await entered(city, number, password),
        await entered(city, number, "wrong"),
        await entered(city, "1", "wrong"),
        await city.press(await form_of(city, path, "supplement")),
        await city.press(await form_of(city, path, "withdraw")),
        await city.press(await form_of(city, path, "withdraw"), {"sure": "yes"}),
        await city.client.post(f"{path}/withdraw"),
        await city.press(await form_of(city, path, "preferences")),
    ]

    assert {one.status_code for one in found} == {200, 303, 403, 415, 422}
    for one in found:
        policy = one.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "form-action 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert one.headers["x-content-type-options"] == "nosniff"
        assert one.headers["referrer-policy"] == "no-referrer"
        assert one.headers["cache-control"] == "no-store"


async def test_the_number_in_an_address_is_filled_in_as_a_text(city: City) -> None:
    page = await city.get(f"/en/case?number={NOBODYS}")
    assert page.form("/case").shown["number"] == NOBODYS
    nasty = await city.get('/en/case?number="><script>x</script>')

    assert "<script>x" not in nasty.response.text
    assert WANG["applicant.name"] not in nasty.text
