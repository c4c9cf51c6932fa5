"""Debian's Chromium, driven by Playwright; and pages that have something to show."""

import os
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from tests.city import City, application, eventually

_CHROMIUM = Path("/usr/bin/chromium")
_FONT = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")
SCRIPT = "<script>document.title = 'run'</script>"


@dataclass(slots=True)
class Watched:
    """A page, and all that went wrong or elsewhere while it was open."""

    page: Page
    host: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def watch(self) -> None:
        page = self.page
        page.on("console", lambda one: self.complaints.append(f"{one.type}: {one.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", lambda one: self.complaints.append(f"failed: {one.url}"))
        page.on("request", lambda one: self._asked(one.url))
        page.on(
            "response",
            lambda one: one.ok or self.complaints.append(f"{one.status}: {one.url}"),
        )

    def _asked(self, url: str) -> None:
        if urlsplit(url).netloc != self.host:
            self.foreign.append(url)


@dataclass(frozen=True, slots=True)
class Place:
    """A page of the city: which site, and its path."""

    site: str
    path: str

    def url(self, city: City, lang: str) -> str:
        joint = "&" if "?" in self.path else "?"
        return f"{city.running.urls[self.site]}{self.path}{joint}lang={lang}"


@pytest.fixture(scope="session")
def _installed() -> None:
    """Chromium and a font with Chinese characters, from Debian when this is root's machine."""
    if _CHROMIUM.exists() and _FONT.exists():
        return
    if os.geteuid() == 0 and Path("/usr/bin/apt-get").exists():
        quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "check": True}
        install = ["/usr/bin/apt-get", "-qq", "install", "--no-install-recommends", "--yes"]
        subprocess.run(["/usr/bin/apt-get", "-qq", "update"], **quiet)
        subprocess.run([*install, "chromium", "fonts-noto-cjk"], **quiet)
        return
    missing = "needs Debian's packages chromium and fonts-noto-cjk"
    if "CASEBUS_CI" in os.environ:
        pytest.fail(missing)
    pytest.skip(missing)


@pytest_asyncio.fixture(scope="session")
async def browser(_installed: None) -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        found = await driver.chromium.launch(
            executable_path=_CHROMIUM,
            # Chromium's sandbox refuses to run as root.
            chromium_sandbox=os.geteuid() != 0,
        )
        yield found
        await found.close()


@pytest_asyncio.fixture(scope="session")
async def lived_in(city: City) -> str:
    """The number of a case about which mails and texts came, some of them hard to show."""
    receipt = await city.submit(application())
    await city.at(receipt, "IPC", "ASSIGNED")
    items = [SCRIPT, "存摺影本", "https://very.long.example/" + "x" * 120]
    answer = await city.do(receipt, "IPC", "request-correction", items=items)
    assert answer.status_code == 200, answer.text
    for where, words in (("mailbox", SCRIPT), ("sms", "補正")):
        await eventually(
            lambda where=where: city.messages(where, receipt["number"]),  # type: ignore[misc]
            lambda found, words=words: any(words in one["text"] for one in found),  # type: ignore[misc]
        )
    number: str = receipt["number"]
    return number


@pytest_asyncio.fixture
async def places(city: City, lived_in: str) -> dict[str, Place]:
    """Every kind of page, by a name."""
    mails = await city.messages("mailbox", lived_in)
    texts = await city.messages("sms", lived_in)
    mail = next(one for one in mails if SCRIPT in one["text"])
    return {
        "console": Place("console", "/"),
        "rules": Place("console", "/rules"),
        "notices": Place("console", "/notices"),
        "texts": Place("notifier", "/preview"),
        "preferences": Place(
            "notifier", urlsplit(re.search(r"http\S+/p/\S+", mail["text"])[0]).path
        ),
        "mailbox": Place("mailbox", "/"),
        "mailbox search": Place("mailbox", f"/?number={lived_in}"),
        "mailbox without a hit": Place("mailbox", "/?number=nothing"),
        "mail": Place("mailbox", f"/messages/{mail['id']}"),
        "sms": Place("sms", "/"),
        "text message": Place("sms", f"/messages/{texts[0]['id']}"),
    }
