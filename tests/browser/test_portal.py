"""Citizens at the portal: find, apply, follow to the end; with and without script, by keyboard."""

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Response

from tests.city import City, eventually

LANGUAGES = ("zh-TW", "en")
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# A certificate of this service is looked up by the city itself.
WAIVING, AGENCY = "SVC-005", "DOSW"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8"
    "cfc000000301010018dd8db00000000049454e44ae426082"
)
_MOST_BYTES = 100 * 1024


def picture(name: str) -> Any:
    return {"name": name, "mimeType": "image/png", "buffer": PNG}


@dataclass(slots=True)
class Citizen:
    """Somebody at a browser. `weights` are the bytes of each page with all it loads."""

    page: Page
    city: City
    lang: str = "zh-TW"
    complaints: list[str] = field(default_factory=list)
    bytes_of_page: int = 0

    @property
    def portal(self) -> str:
        return self.city.running.urls["intake"]

    def watch(self) -> None:
        page = self.page
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda one: self._said(one.type, one.text))
        page.on("request", lambda one: one.url.startswith(self.portal) or self.complaints.append(
            f"asked elsewhere: {one.url}"))  # fmt: skip
        page.on("response", lambda one: self._weighed(one))

    def _said(self, kind: str, text: str) -> None:
        # That a form is sent back with what is wrong is no fault of the page.
        if kind != "verbose" and "422" not in text and "403" not in text:
            self.complaints.append(f"{kind}: {text}")

    def _weighed(self, response: Response) -> None:
        if response.request.resource_type in ("document", "stylesheet", "script", "image"):
            self.bytes_of_page += int(response.headers.get("content-length", 0))

    async def goto(self, path: str) -> None:
        self.bytes_of_page = 0
        await self.page.goto(f"{self.portal}/{self.lang}{path}")

    async def find(self, words: str) -> list[str]:
        await self.goto("/")
        await self.page.fill("#q", words)
        await self.page.click(".search button")
        return await self.page.locator(".services a").all_inner_texts()

    async def begin(self, service: str) -> None:
        await self.goto(f"/services/{service}")
        await self.page.click(f"a[href$='/{service}/apply']")
        await self.page.click("main button")
        await self.page.wait_for_url("**/apply/**")

    async def fill(self, email: str) -> None:
        page = self.page
        await page.check("#applicant-kind-person")
        await page.fill("#applicant-name", "王小明")
        await page.fill("#applicant-id_number", "A123456789")
        await page.fill("#contact-email", email)
        await page.select_option("#address-district", "大安區")
        await page.fill("#address-line", "和平東路一段 1 號")

    async def send(self) -> None:
        await self.page.click(".actions [value=review]")
        await self.page.wait_for_url("**/review")
        await self.page.check("#agree")
        await self.page.click("main form button")
        await self.page.wait_for_url("**/sent")

    async def confirm(self, email: str) -> tuple[str, str]:
        """Follow the link of the mail; the number and the password of the case."""
        link = await self.city_link(email)
        await self.page.goto(link)
        await self.page.click("main form button")
        await self.page.wait_for_url("**/done")
        number = await self.page.inner_text(".number >> nth=0")
        return number, await self.page.inner_text(".secret")

    async def city_link(self, email: str) -> str:
        async def links() -> list[str]:
            mails = await self.city.messages("mailbox", "")
            texts = [one["text"] for one in mails if email in str(one)]
            return [
                found[0] for text in texts if (found := re.search(r"http\S+/confirm/\S+", text))
            ]

        return (await eventually(links))[0]

    async def enter(self, number: str, password: str) -> None:
        await self.goto(f"/case?number={number}")
        await self.page.fill("#password", password)
        await self.page.click("main form button")
        await self.page.wait_for_url("**/case/*")

    async def stands(self, words: str) -> None:
        """Wait until the page of the case says so."""

        async def said() -> str:
            await self.page.reload()
            return await self.page.inner_text("main")

        await eventually(said, lambda text: words in text)


New = Callable[..., Any]


@pytest_asyncio.fixture
async def citizen(browser: Browser, city: City) -> AsyncIterator[New]:
    contexts = []

    async def new(script: bool = True, lang: str = "zh-TW", **options: Any) -> Citizen:
        context = await browser.new_context(java_script_enabled=script, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        found = Citizen(await context.new_page(), city, lang)
        found.watch()
        return found

    yield new
    for context in contexts:
        await context.close()


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without"])
async def test_a_citizen_finds_applies_corrects_and_follows_to_the_end(
    citizen: New, city: City, script: bool
) -> None:
    someone = await citizen(script)
    email = f"script{script}@mail.example".lower()
    page = someone.page

    assert "低收入戶及中低收入戶生育補助" in (await someone.find("生小孩補助"))[:3]
    await someone.begin(WAIVING)
    await someone.fill(email)
    # A certificate is waived: what the city may look up is named and asked for.
    assert "出生登記" in await page.inner_text("#part-consents")
    await page.check("#consents-BIRTH")
    await page.set_input_files("#documents-2", picture("存摺.png"))
    await someone.send()
    number, password = await someone.confirm(email)

    receipt = {"number": number}
    case = await city.at(receipt, AGENCY, "ASSIGNED")
    assert case["facts"]["consents_birth"] is True
    assert case["application"]["documents"][0]["name"] == "存摺.png"
    await someone.enter(number, password)
    await someone.stands("社會局")
    asked = await city.do(receipt, AGENCY, "request-correction", items=["診斷證明書"])
    assert asked.status_code == 200, asked.text
    await someone.stands("診斷證明書")
    await page.fill("#text", "隨信附上")
    await page.set_input_files("#document", picture("診斷.png"))
    await page.click("section button >> nth=0")
    await page.wait_for_url("**notice=added")
    await city.at(receipt, AGENCY, "CORRECTED")
    for command, body in (("accept", {}), ("complete", {"outcome": "APPROVED"})):
        answer = await city.do(receipt, AGENCY, command, **body)
        assert answer.status_code == 200, answer.text
    await someone.stands("已結案")
    assert await page.locator("form[action$=supplement]").count() == 0
    assert someone.complaints == []


async def test_all_of_it_can_be_done_by_keyboard_alone(citizen: New, city: City) -> None:
    someone = await citizen(lang="en")
    page, email = someone.page, "keyboard@mail.example"

    async def to(selector: str) -> None:
        """Tab until it has the focus."""
        for _ in range(80):
            if await page.evaluate("s => document.activeElement?.matches(s) ?? false", selector):
                return
            await page.keyboard.press("Tab")
        raise AssertionError(f"the keyboard does not reach {selector}")

    async def go(selector: str) -> None:
        """To what leads to another page, and there."""
        await to(selector)
        async with page.expect_navigation():
            await page.keyboard.press("Enter")

    async def write(selector: str, text: str) -> None:
        await to(selector)
        await page.keyboard.type(text)

    await someone.goto("/")
    await write("#q", "maternity subsidy")
    await go("#q")
    await go(".services a")
    await go("a.button[href$=apply]")
    await go("main button")
    await to("#applicant-kind-person")
    await page.keyboard.press("Space")
    await write("#applicant-name", "Wang Hsiao-ming")
    await write("#applicant-id_number", "A123456789")
    await write("#contact-email", email)
    await write("#address-district", "Da")
    await write("#address-line", "Heping E. Road 1")
    await to("#consents-BIRTH")
    await page.keyboard.press("Space")
    await go(".actions [value=review]")
    await to("#agree")
    await page.keyboard.press("Space")
    await go("main form button")
    await page.goto(await someone.city_link(email))
    await go("main form button")
    assert "We have it" in await page.inner_text("h1")
    assert someone.complaints == []


async def test_a_question_shows_when_it_counts_and_without_script_always(citizen: New) -> None:
    for script in (True, False):
        someone = await citizen(script)
        await someone.begin("SVC-056")
        question = someone.page.locator("[data-field='location.side_of_aiguo']")
        assert await question.is_visible() is not script
        await someone.page.select_option("#address-district", "中正區")
        assert await question.is_visible()
        await someone.page.select_option("#location-district", "大安區")
        assert await question.is_visible() is not script


async def test_what_is_wrong_is_said_while_one_types(citizen: New) -> None:
    someone = await citizen()
    await someone.begin(WAIVING)
    page = someone.page
    await page.check("#applicant-kind-person")
    await page.fill("#applicant-id_number", "A123456788")
    await page.press("#applicant-id_number", "Tab")

    wrong = page.locator("#error-applicant-id_number")
    await wrong.filter(has_text="檢查碼").wait_for()
    # Of what nobody has touched nothing is said yet.
    assert await page.locator(".error:visible").count() == 1
    await page.fill("#applicant-id_number", "A123456789")
    await page.press("#applicant-id_number", "Tab")
    await page.locator(".wrong").wait_for(state="detached")
    assert someone.complaints == []


async def test_nothing_typed_is_lost_by_back_reload_and_two_windows(citizen: New) -> None:
    someone = await citizen()
    await someone.begin(WAIVING)
    page = someone.page
    await someone.fill("back@mail.example")
    await page.click(".actions [value=review]")
    await page.wait_for_url("**/review")
    await page.go_back()
    assert await page.input_value("#applicant-name") == "王小明"

    address = page.url
    other = await page.context.new_page()
    await other.goto(address)
    await page.reload()
    await other.fill("#applicant-name", "王大明")
    await other.click(".actions [value=save]")
    await other.wait_for_url("**notice=saved")
    await page.fill("#applicant-name", "王中明")
    await page.click(".actions [value=save]")
    await page.locator("[role=alert]").wait_for()
    assert await page.input_value("#applicant-name") == "王中明"
    assert "王大明" in await page.inner_text("[data-field='applicant.name']")
    await page.click(".actions [value=save]")
    await page.wait_for_url("**notice=saved")
    assert await page.input_value("#applicant-name") == "王中明"


@pytest_asyncio.fixture(scope="module")
async def shown(browser: Browser, city: City) -> dict[str, str]:
    """Every kind of page of the portal, by its path without the language."""
    context = await browser.new_context()
    someone = Citizen(await context.new_page(), city)
    email = "pages@mail.example"
    await someone.begin(WAIVING)
    await someone.fill(email)
    await someone.page.set_input_files("#documents-2", picture("a.png"))
    await someone.page.click(".actions [value=save]")
    await someone.page.wait_for_url("**notice=saved")
    draft = someone.page.url.partition("?")[0].rpartition("/")[2]
    await someone.begin(WAIVING)
    await someone.fill(email)
    await someone.send()
    sent = someone.page.url.split("/")[-2]
    link = (await someone.city_link(email)).rpartition("/")[2]
    await someone.begin(WAIVING)
    await someone.fill("done@mail.example")
    await someone.send()
    number, password = await someone.confirm("done@mail.example")
    done = someone.page.url.split("/")[-2]
    await city.at({"number": number}, AGENCY, "ASSIGNED")
    asked = await city.do({"number": number}, AGENCY, "request-correction", items=["診斷證明書"])
    assert asked.status_code == 200
    await someone.enter(number, password)
    await someone.stands("診斷證明書")
    case = someone.page.url.rpartition("/")[2]
    await context.close()
    return {
        "home": "/",
        "services": "/services?q=補助",
        "nothing found": "/services?q=xqzzyk",
        "service": f"/services/{WAIVING}",
        "sheet": "/services/SVC-025/form",
        "before": f"/services/{WAIVING}/apply",
        "form": f"/apply/{draft}",
        "review": f"/apply/{draft}/review",
        "sent": f"/apply/{sent}/sent",
        "confirm": f"/confirm/{link}",
        "done": f"/confirm/{done}/done",
        "door": "/case",
        "case": f"/case/{case}",
        "counter": f"/counter?service={WAIVING}",
        "nowhere": "/services/SVC-999",
        "gone": "/apply/abcdefghijklmnop",
    }


PAGES = (
    "home", "services", "nothing found", "service", "sheet", "before", "form", "review", "sent",
    "confirm", "done", "door", "case", "counter", "nowhere", "gone",
)  # fmt: skip
every_page = pytest.mark.parametrize("name", PAGES)


@pytest.mark.parametrize("lang", LANGUAGES)
@every_page
async def test_every_page_can_be_used_by_everybody(
    citizen: New, shown: dict[str, str], name: str, lang: str
) -> None:
    """WCAG 2.2 AA by axe, by day and by night; 320 pixels wide; light to load; one language."""
    someone = await citizen(lang=lang, viewport={"width": 320, "height": 640})
    page = someone.page
    await someone.goto(shown[name])
    await page.wait_for_load_state("networkidle")

    assert await page.evaluate("document.scrollingElement.scrollWidth") <= 320
    assert await page.evaluate("document.documentElement.lang") == lang
    assert 1000 < someone.bytes_of_page < _MOST_BYTES
    assert [one for one in someone.complaints if "404" not in one] == []
    for theme in ("light", "dark"):
        await page.emulate_media(color_scheme=theme)
        found = await Axe().run(page, options={"runOnly": STANDARDS})
        assert found.violations_count == 0, found.generate_report()
    text = await page.inner_text("main")
    if lang == "en":
        assert not re.search(r"請|您|的", re.sub(r"「.*?」", "", _without_names(text)))
    else:
        assert re.search(r"[\u4e00-\u9fff]", text)


def _without_names(text: str) -> str:
    """Without what stands in Chinese on English pages too: names of services and what was typed."""
    return "\n".join(
        line for line in text.splitlines() if not re.search(r"[\u4e00-\u9fff]{6}", line)
    )


async def test_a_form_with_mistakes_can_be_used_by_everybody(citizen: New) -> None:
    someone = await citizen(viewport={"width": 320, "height": 640})
    page = someone.page
    await someone.begin("SVC-025")
    await page.click(".actions [value=review]")
    await page.locator("[role=alert]").wait_for()

    found = await Axe().run(page, options={"runOnly": STANDARDS})
    assert found.violations_count == 0, found.generate_report()
    # The list of mistakes has the focus, and each leads to its question.
    assert await page.evaluate("document.activeElement.id") == "problem"
    for link in await page.locator("[role=alert] a").all():
        target = (await link.get_attribute("href") or "").removeprefix("#")
        assert await page.locator(f"[id='{target}']").count() == 1


@pytest.mark.parametrize("lang", LANGUAGES)
async def test_on_paper_a_form_has_its_questions_and_nothing_of_the_site(
    citizen: New, lang: str
) -> None:
    someone = await citizen(lang=lang)
    await someone.goto("/services/SVC-025/form")
    await someone.page.emulate_media(media="print")
    assert not await someone.page.locator("header nav").is_visible()
    assert await someone.page.locator(".qr").is_visible()
    assert await someone.page.evaluate("document.querySelector('.qr').naturalWidth") > 0
    assert await someone.page.locator(".sheet fieldset").count() == 7
