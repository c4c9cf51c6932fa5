"""The portal: how fast a question is answered, how well, and how many forms come out of it."""

import asyncio
import csv
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from playwright.async_api import async_playwright
from rich.console import Console

from benchmarks.report import Section, Table, percentile, ratio, spread
from benchmarks.scale import Scale
from benchmarks.stand import Stand
from catalogue import Catalogue, load_catalogue
from catalogue.forms import form_of
from catalogue.generated import SIZES, generated
from services.intake.portal import views
from services.intake.portal.papers import Papers
from services.intake.portal.search import Index, normal
from services.intake.portal.site import Site
from services.intake.texts import FOLDER, languages

_QUESTIONS = Path(__file__).parent / "questions.csv"
_CHROMIUM = "/usr/bin/chromium"
_SEED = 7
_FIRST = 3
Search = Callable[[str], list[str]]


def questions() -> list[tuple[str, frozenset[str]]]:
    """What citizens type, and the services that answer it; any one of them will do."""
    with _QUESTIONS.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return [(row["typed"], frozenset(row["services"].split(";"))) for row in rows]


async def measure(stand: Stand, scale: Scale, console: Console) -> Section:
    del stand  # neither a broker nor a database is asked
    asked = questions()
    rows = []
    for name, label in (("paper", "774"), ("large", "10,000")):
        with console.status(f"searching {label} services ..."):
            city = generated(SIZES[name], _SEED)
            for engine, search in (
                ("the portal's", _own(city)),
                ("FTS5 trigrams", _trigrams(city)),
            ):
                times, first, among = _asked(search, asked, scale.search_turns)
                rows.append(
                    (
                        label,
                        engine,
                        f"{statistics.median(times):.2f}",
                        f"{percentile(times, 95):.2f}",
                        f"{percentile(times, 99):.2f}",
                        f"{first} of {len(asked)}",
                        f"{among} of {len(asked)}",
                    )
                )
    with console.status("making forms ..."):
        papers = _papers(scale.forms)
        printed = await _printed(scale.forms)
    forms = [("Typst, as the portal does", spread(papers), "")]
    if printed:
        forms.append(("Chromium prints the page", spread(printed), ratio(papers, printed)))
    return Section(
        title="The portal: searching, and forms on paper",
        question="How soon does a question have its answer, how often the right one, and how many "
        "forms come out in a second?",
        how=f"Each of {len(asked)} questions of citizens (benchmarks/questions.csv: Chinese, "
        f"English, slips of the keyboard) {scale.search_turns} times, in one process, over a "
        "city with made-up services beside its own. The peer is SQLite's own tokenizer for texts "
        "without blanks, over the same texts. The forms: blank ones of as many services, one "
        "after the other; the peer is Chromium, warm, that prints the portal's page of the form.",
        tables=(
            Table(
                ("services", "search", "p50 ms", "p95 ms", "p99 ms", "right one first", "in three"),
                tuple(rows),
            ),
            Table(("PDF forms by", "forms a second", "ratio"), tuple(forms)),
        ),
        limits=(
            "The questions were written by who wrote the search; its words and these know each "
            "other. Real citizens will ask otherwise: casebus_searches_total counts how often "
            "nothing is found.",
            "Submitting stands under Latency: the time to the answer at 200 applications a second.",
        ),
    )


def _own(city: Catalogue) -> Search:
    index = Index(city)
    return lambda text: [hit.code for hit in index.search(text)]


def _trigrams(city: Catalogue) -> Search:
    base = sqlite3.connect(":memory:")
    base.execute("CREATE VIRTUAL TABLE found USING fts5(code UNINDEXED, text, tokenize='trigram')")
    for code, one in city.services.items():
        listing = city.listings[code]
        parts = (one.name_zh, one.name_en, *listing.words_zh, *listing.words_en)
        base.execute("INSERT INTO found VALUES (?, ?)", (code, normal(" ".join(parts))))

    def search(text: str) -> list[str]:
        terms = [
            word[at : at + 3]
            for word in normal(text).split()
            for at in range(max(1, len(word) - 2))
        ]
        query = " OR ".join('"' + term.replace('"', "") + '"' for term in terms if len(term) == 3)
        if not query:
            # Shorter than three characters: all that is left is to look through everything.
            like = f"%{normal(text)}%"
            return [c for (c,) in base.execute("SELECT code FROM found WHERE text LIKE ?", (like,))]
        found = base.execute("SELECT code FROM found WHERE found MATCH ? ORDER BY rank", (query,))
        return [code for (code,) in found]

    return search


def _asked(
    search: Search, asked: Sequence[tuple[str, frozenset[str]]], turns: int
) -> tuple[list[float], int, int]:
    """Milliseconds of each question, the shortest first; how often the right one stands first,
    and how often in three."""
    times, first, among = [], 0, 0
    for text, codes in asked:
        search(text)  # warm
        for _ in range(turns):
            began = time.perf_counter()
            found = search(text)
            times.append((time.perf_counter() - began) * 1000)
        first += bool(found and found[0] in codes)
        among += bool(codes & set(found[:_FIRST]))
    return sorted(times), first, among


def _papers(count: int) -> list[float]:
    """Forms a second, in three turns."""
    city, papers = load_catalogue(), Papers()
    services = list(city.services.values())
    forms = [(form_of(one, city), one.name_zh) for one in services[:count]]
    rates = []
    for turn in range(4):
        began = time.perf_counter()
        for form, name in forms:
            papers.form(form, name, "", "zh-TW", {}, "https://portal.example/counter")
        if turn:
            rates.append(len(forms) / (time.perf_counter() - began))
    return rates


async def _printed(count: int) -> list[float]:
    """The same by Chromium; nothing where there is none."""
    if shutil.which(_CHROMIUM) is None:
        return []
    pages = _sheets(count)
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=_CHROMIUM, chromium_sandbox=False)
        page = await browser.new_page()
        rates = []
        for turn in range(4):
            began = time.perf_counter()
            for html in pages:
                await page.set_content(html)
                await page.pdf()
            if turn:
                rates.append(len(pages) / (time.perf_counter() - began))
        await browser.close()
    return rates


def _sheets(count: int) -> list[str]:
    """The portal's pages of the forms, with their style inside."""
    city, language = load_catalogue(), languages()["zh-TW"]
    site = Site("https://portal.example", city)
    style = f"<style>{(FOLDER / 'pages' / 'style.css').read_text('utf-8')}</style>"
    pages = []
    for service in list(city.services.values())[:count]:
        form = form_of(service, city)
        shown = views.whole(service, form, city, language)
        path = f"/services/{service.code}/form"
        page = site.page("sheet.jinja", language, path, shown=shown, form=form)
        pages.append(bytes(page.body).decode().replace("</head>", f"{style}</head>"))
    return pages


if __name__ == "__main__":
    from benchmarks.scale import QUICK

    print(asyncio.run(measure(None, QUICK, Console())).markdown())  # type: ignore[arg-type]
