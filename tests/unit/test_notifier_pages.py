"""The pages behind a citizen's signed link, and the one with all texts."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient, Response

from services.notifier.http import add_routes
from services.notifier.links import Links
from services.notifier.messages import KEYS, Messages
from services.notifier.preferences import Preferences, Shown, masked
from shared.runtime.web import new_app

LINKS = Links(b"secret" * 5, "https://notices.example")
WANTED = Preferences(sms=True, mail=True, language="zh-TW", quiet="city")
FORM = {"sms": "on", "mail": "on", "language": "en", "quiet": "city", "from": "21", "until": "8"}


class FakeChoices:
    """One citizen, of number 7; `broken` while the database is away."""

    def __init__(self) -> None:
        self.shown = Shown("20261124-0000123-9", "09•••••678", "w•••@m•••.example", WANTED)
        self.chosen: list[Preferences] = []
        self.broken = False

    async def of(self, number: int) -> Shown | None:
        if self.broken:
            raise ConnectionError
        return self.shown if number == 7 else None

    async def choose(self, number: int, preferences: Preferences, at: datetime) -> None:
        assert number == 7
        self.chosen.append(preferences)


@pytest.fixture
def choices() -> FakeChoices:
    return FakeChoices()


@pytest.fixture
async def client(choices: FakeChoices) -> AsyncIterator[AsyncClient]:
    async def ready() -> dict[str, bool]:
        return {}

    app = new_app("notifier", ready)
    messages = Messages.load()
    add_routes(app, choices, LINKS, messages, Decimal("0.75"), (21, 8), lambda: datetime.now(UTC))
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as found:
        yield found


PAGE = f"/p/{LINKS.token(7)}"


async def post(client: AsyncClient, **form: Any) -> Response:
    return await client.post(PAGE, data=FORM | form)


async def test_the_page_shows_the_case_and_no_address(client: AsyncClient) -> None:
    page = await client.get(PAGE)
    assert page.status_code == 200
    for shown in ("20261124-0000123-9", "09•••••678", "w•••@m•••.example", "21:00 - 08:00"):
        assert shown in page.text
    assert 'lang="zh-TW"' in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text


async def test_it_speaks_the_language_that_was_chosen_unless_another_is_asked_for(
    client: AsyncClient, choices: FakeChoices
) -> None:
    assert "Your messages" in (await client.get(PAGE, params={"lang": "en"})).text
    preferences = Preferences(sms=True, mail=True, language="en", quiet="none")
    choices.shown = Shown("1", None, "w•••@m•••.example", preferences)
    page = (await client.get(PAGE)).text
    assert "Your messages" in page
    assert "none was given" in page


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ({}, Preferences(True, True, "en", "city")),
        ({"sms": ""}, Preferences(False, True, "en", "city")),
        ({"quiet": "none"}, Preferences(True, True, "en", "none")),
        ({"quiet": "own", "from": "22", "until": "7"}, Preferences(True, True, "en", (22, 7))),
        ({"all": "stop"}, Preferences(False, False, "zh-TW", "city")),
        ({"language": ["en", "zh-TW"]}, Preferences(True, True, "zh-TW", "city")),
    ],
)
async def test_what_is_chosen_is_kept_and_said_to_be(
    client: AsyncClient, choices: FakeChoices, form: dict[str, Any], wanted: Preferences
) -> None:
    answer = await post(client, **form)
    assert answer.status_code == 303
    assert choices.chosen == [wanted]
    saved = await client.get(answer.headers["location"])
    assert "已儲存" in saved.text


@pytest.mark.parametrize(
    "form",
    [
        {"language": "fr"},
        {"language": ""},
        {"quiet": "sometimes"},
        {"quiet": "own", "from": "25"},
        {"quiet": "own", "from": "x"},
        {"quiet": "own", "until": "8-9"},
    ],
)
async def test_what_no_such_form_sends_changes_nothing(
    client: AsyncClient, choices: FakeChoices, form: dict[str, Any]
) -> None:
    answer = await post(client, **form)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert choices.chosen == []


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"\xff\xfe", 400), (b"a=1&" * 60, 400), (b"x" * 5000, 413), (b"", 422)],
)
async def test_a_body_that_is_no_form_is_an_answer_and_no_error(
    client: AsyncClient, choices: FakeChoices, content: bytes, status: int
) -> None:
    assert (await client.post(PAGE, content=content)).status_code == status
    assert choices.chosen == []


async def test_where_there_is_no_phone_nothing_is_said_about_text_messages(
    client: AsyncClient, choices: FakeChoices
) -> None:
    choices.shown = Shown("1", None, "w•••@m•••.example", WANTED)
    await post(client, sms="", mail="")
    assert choices.chosen == [Preferences(True, False, "en", "city")]


@pytest.mark.parametrize(
    "token", ["", "x", "ab-abcdefghijklmnop", LINKS.token(8), LINKS.token(7) + "x", "%00", "é"]
)
async def test_every_link_that_leads_nowhere_gets_the_same_answer(
    client: AsyncClient, choices: FakeChoices, token: str
) -> None:
    page = await client.get(f"/p/{token}")
    assert page.status_code == 404
    if token:
        nobody = await client.get("/p/zz-zzzzzzzzzzzzzzzz")
        assert page.text == nobody.text
        assert "1999" in page.text
        assert (await client.post(f"/p/{token}", data=FORM)).status_code == 404
    assert choices.chosen == []


async def test_one_click_of_a_mail_program_stops_mails_and_no_more(
    client: AsyncClient, choices: FakeChoices
) -> None:
    answer = await client.post(f"{PAGE}/unsubscribe", data={"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    assert choices.chosen == [Preferences(True, False, "zh-TW", "city")]


async def test_who_looks_at_the_one_click_address_changes_nothing(
    client: AsyncClient, choices: FakeChoices
) -> None:
    looked = await client.get(f"{PAGE}/unsubscribe")
    assert (looked.status_code, looked.headers["location"]) == (303, PAGE)
    assert (await client.post(f"{PAGE}/unsubscribe", content=b"")).status_code == 422
    assert choices.chosen == []


async def test_while_the_database_is_away_nothing_is_said_to_be_kept(
    client: AsyncClient, choices: FakeChoices
) -> None:
    choices.broken = True
    for answer in (await client.get(PAGE), await post(client)):
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:casebus:problem:try-again"


@pytest.mark.parametrize("lang", ["zh-TW", "en", "fr"])
async def test_all_texts_are_on_one_page_with_parts_and_cost(
    client: AsyncClient, lang: str
) -> None:
    page = (await client.get("/preview", params={"lang": lang})).text
    for key in KEYS:
        assert key in page
    assert "1.50" in page


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("+886912345678", "09•••••678"),
        ("+886227208889", "02•••••889"),
        ("wang@mail.example", "w•••@m•••.example"),
        ("a@b.tw", "a•••@b•••.tw"),
        (None, None),
        ("", None),
    ],
)
def test_of_an_address_enough_is_shown_to_know_ones_own(
    address: str | None, shown: str | None
) -> None:
    assert masked(address) == shown
