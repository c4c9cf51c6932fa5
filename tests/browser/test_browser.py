"""Every page in a real browser: on a small screen, by keyboard, in Chinese, and by itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ViewportSize

from tests.browser.conftest import SCRIPT, Place, Watched
from tests.city import City

LANGUAGES = ("zh-TW", "en")
PLACES = (
    "console",
    "rules",
    "notices",
    "texts",
    "preferences",
    "mailbox",
    "mailbox search",
    "mailbox without a hit",
    "mail",
    "sms",
    "text message",
)
SMALL: ViewportSize = {"width": 320, "height": 640}
WIDE: ViewportSize = {"width": 1280, "height": 800}
Visit = Callable[..., Awaitable[Watched]]
every_page = pytest.mark.parametrize("name", PLACES)
every_language = pytest.mark.parametrize("lang", LANGUAGES)


@pytest_asyncio.fixture(scope="module")
async def tabs(browser: Browser) -> AsyncIterator[dict[str, Watched]]:
    """What is open, by its address."""
    found: dict[str, Watched] = {}
    yield found
    for one in found.values():
        await one.page.close()


@pytest_asyncio.fixture
async def visit(
    city: City, browser: Browser, places: dict[str, Place], tabs: dict[str, Watched]
) -> Visit:
    """A page by name. Who goes elsewhere from it takes a `fresh` one and leaves the rest alone."""

    async def opened(
        name: str, lang: str = "zh-TW", size: ViewportSize = WIDE, fresh: bool = False
    ) -> Watched:
        url = places[name].url(city, lang)
        if fresh or url not in tabs:
            watched = Watched(await browser.new_page(), urlsplit(url).netloc)
            watched.watch()
            await watched.page.goto(url)
            tabs[f"fresh {len(tabs)}" if fresh else url] = watched
        else:
            watched = tabs[url]
        await watched.page.set_viewport_size(size)
        return watched

    return opened


@every_language
@every_page
async def test_a_page_has_nothing_to_complain_of_and_asks_no_other_host(
    visit: Visit, name: str, lang: str
) -> None:
    watched = await visit(name, lang)
    await watched.page.wait_for_load_state("networkidle")
    assert await watched.page.evaluate("document.styleSheets[0].cssRules.length") > 5
    assert await watched.page.evaluate("document.documentElement.lang") == lang
    assert watched.complaints == []
    assert watched.foreign == []


@every_language
@every_page
async def test_on_a_small_screen_no_page_scrolls_sideways(
    visit: Visit, name: str, lang: str
) -> None:
    watched = await visit(name, lang, SMALL)
    width = await watched.page.evaluate("document.scrollingElement.scrollWidth")
    assert width <= SMALL["width"]


# Marks all that can be reached, and tells how many there are.
_MARK = """() => {
    const all = [...document.querySelectorAll(
        'a[href], button, input:not([type=hidden]), select, summary, [tabindex="0"]')]
        // Of radio buttons the chosen one; the arrow keys go on from there.
        .filter(one => one.checkVisibility() && (one.type !== 'radio' || one.checked));
    all.forEach((one, n) => one.dataset.n = n);
    return all.length;
}"""
_FOCUSED = """() => {
    const style = getComputedStyle(document.activeElement);
    return [document.activeElement.dataset.n ?? null,
        style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0];
}"""


@every_page
async def test_the_keyboard_reaches_everything_and_shows_where_it_is(
    visit: Visit, name: str
) -> None:
    watched = await visit(name, size=SMALL, fresh=True)
    count = await watched.page.evaluate(_MARK)
    assert count >= 2
    reached = []
    for _ in range(count):
        await watched.page.keyboard.press("Tab")
        where, seen = await watched.page.evaluate(_FOCUSED)
        assert seen, f"no outline at {where}"
        reached.append(where)
    assert reached == [str(n) for n in range(count)]


@every_page
async def test_what_can_be_tapped_on_a_phone_is_not_too_small(visit: Visit, name: str) -> None:
    """WCAG 2.2, 2.5.8: 24 pixels a side, but for links within a sentence."""
    watched = await visit(name, size=SMALL)
    small = await watched.page.evaluate(
        """() => [...document.querySelectorAll(
                    'header a, nav a, form a, button, input:not([type=hidden]), summary')]
            .filter(one => one.checkVisibility())
            .map(one => [one.innerText || one.name, one.getBoundingClientRect()])
            .filter(([, box]) => box.height < 24 || box.width < 24)
            .map(([text, box]) => `${text}: ${box.width} x ${box.height}`)"""
    )
    assert small == []


@every_page
async def test_chinese_is_drawn_with_a_font_that_has_it(visit: Visit, name: str) -> None:
    watched = await visit(name)
    devtools = await watched.page.context.new_cdp_session(watched.page)
    for domain in ("DOM", "CSS"):
        await devtools.send(f"{domain}.enable")
    root = (await devtools.send("DOM.getDocument"))["root"]["nodeId"]
    heading = await devtools.send("DOM.querySelector", {"nodeId": root, "selector": "h1"})
    used = await devtools.send("CSS.getPlatformFontsForNode", {"nodeId": heading["nodeId"]})
    text = await watched.page.inner_text("h1")
    glyphs = {font["familyName"]: font["glyphCount"] for font in used["fonts"]}
    chinese = sum(count for family, count in glyphs.items() if "CJK" in family)
    assert any("\u4e00" <= one <= "\u9fff" for one in text)
    assert chinese == len(text.replace(" ", "")), glyphs


@every_page
async def test_every_page_has_one_heading_and_names_what_it_asks_for(
    visit: Visit, name: str
) -> None:
    watched = await visit(name)
    page = watched.page
    assert await page.locator("h1").count() == 1
    assert await page.locator("main").count() == 1
    assert await page.title()
    for field in await page.locator("input:not([type=hidden]), select").all():
        label = page.locator(f"label[for={await field.get_attribute('id')}]")
        assert await label.inner_text()


@every_page
async def test_the_other_language_is_one_click_away_and_shows_the_same(
    visit: Visit, city: City, places: dict[str, Place], name: str
) -> None:
    watched = await visit(name, "zh-TW", fresh=True)
    await watched.page.click("header > a")
    assert await watched.page.evaluate("document.documentElement.lang") == "en"
    there, wanted = urlsplit(watched.page.url), urlsplit(places[name].url(city, "en"))
    assert there.path == wanted.path
    assert set(wanted.query.split("&")) <= set(there.query.split("&"))


async def test_a_script_in_a_mail_is_shown_as_text_and_not_run(visit: Visit) -> None:
    watched = await visit("mail")
    assert SCRIPT in await watched.page.inner_text("article")
    assert await watched.page.locator("article script").count() == 0
    assert await watched.page.title() != "run"
    assert watched.complaints == []


async def test_a_citizen_finds_the_mails_of_a_case_by_its_number(
    visit: Visit, lived_in: str
) -> None:
    watched = await visit("mailbox", fresh=True)
    await watched.page.fill("#number", lived_in)
    await watched.page.keyboard.press("Enter")
    await watched.page.wait_for_url(f"**number={lived_in}*")
    links = watched.page.locator("ol a")
    assert await links.count() >= 1
    await links.first.click()
    assert lived_in in await watched.page.inner_text("article")
    assert watched.complaints == []


# Text against the first background behind it, by WCAG's formula, in the theme of the context.
_FAINT = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = one => {
        for (; one; one = one.parentElement) {
            const colour = rgba(getComputedStyle(one).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        const probe = document.createElement('i');
        probe.style.backgroundColor = 'Canvas';
        document.body.append(probe);
        const colour = rgba(getComputedStyle(probe).backgroundColor);
        probe.remove();
        return colour;
    };
    const opacity = one => one ? getComputedStyle(one).opacity * opacity(one.parentElement) : 1;
    return [...document.querySelectorAll(
        'h1, h2, a, p, td, th, dt, dd, small, button, li, summary, div')]
        .filter(one => one.checkVisibility() && one.innerText.trim())
        .map(one => {
            const back = behind(one), share = opacity(one);
            const front = rgba(getComputedStyle(one).color)
                .map((v, i) => v * share + back[i] * (1 - share));
            const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
            return [one.innerText.slice(0, 20), (a + 0.05) / (b + 0.05)];
        })
        .filter(([, contrast]) => contrast < 4.5);
}"""


@every_page
async def test_text_stands_out_by_day_and_by_night(visit: Visit, name: str) -> None:
    watched = await visit(name)
    grounds = set()
    for theme in ("light", "dark"):
        await watched.page.emulate_media(color_scheme=theme)
        grounds.add(await watched.page.evaluate("getComputedStyle(document.body).color"))
        assert await watched.page.evaluate(_FAINT) == [], theme
    assert len(grounds) == 2
