"""The portal's catalogue: every service on a page, in both languages, found and labelled."""

import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from httpx import ASGITransport, AsyncClient

from catalogue import Catalogue, load_catalogue
from catalogue.forms import forms
from catalogue.generated import SIZES, generated
from services.intake.portal import finding
from services.intake.portal.site import Site
from services.intake.texts import PO, languages, said
from shared.runtime.web import new_app

CITY = load_catalogue()
URL = "https://portal.example"
LANGUAGES = ("zh-TW", "en")


def client_of(catalogue: Catalogue) -> AsyncClient:
    async def ready() -> dict[str, bool]:
        return {}

    app, site = new_app("portal", ready), Site(URL, catalogue)
    site.add_files(app)
    finding.add_routes(app, site, catalogue, forms(catalogue))
    finding.add_nowhere(app, site)
    return AsyncClient(transport=ASGITransport(app), base_url="http://test")


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[AsyncClient]:
    async with client_of(CITY) as found:
        yield found


@pytest.fixture(scope="module")
async def paper() -> AsyncIterator[AsyncClient]:
    async with client_of(generated(SIZES["paper"], 1)) as found:
        yield found


class _Checked(HTMLParser):
    """Ids, and what refers to them."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.referred: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("for", "aria-labelledby", "aria-describedby"):
                self.referred |= set((value or "").split())


@pytest.mark.parametrize("lang", LANGUAGES)
async def test_every_service_has_a_page_that_says_all_that_is_known(
    client: AsyncClient, lang: str
) -> None:
    zh = lang == "zh-TW"
    for code, one in CITY.services.items():
        answer = await client.get(f"/{lang}/services/{code}")
        text = answer.text
        assert answer.status_code == 200, code
        parser = _Checked()
        parser.feed(text)
        assert len(set(parser.ids)) == len(parser.ids)
        assert parser.referred <= set(parser.ids)
        plain = re.sub(r"\s+", " ", text.replace("&amp;", "&").replace("&#39;", "'"))
        agency = CITY.agencies.get(one.agency)
        wanted = [one.name_zh, one.name_en, f"{one.stage}"]
        wanted += [(agency.zh if zh else agency.en)] if agency else []
        wanted += [CITY.wordings[p].zh for p in (*one.documents, *one.waivable)] if zh else []
        wanted += list(CITY.listings[code].basis_zh if zh else CITY.listings[code].basis_en)
        for words in wanted:
            assert words in plain, (code, words)
        assert (f"/{lang}/services/{code}/apply" in text) == (one.open and one.stage >= 4)
        assert f'<span class="hidden">{"資料依據：" if zh else "Evidence:"}' in text


async def test_a_service_is_described_for_machines_by_schema_org(client: AsyncClient) -> None:
    text = (await client.get("/en/services/SVC-019")).text
    (block,) = re.findall(r'<script type="application/ld\+json">(.*?)</script>', text, re.DOTALL)
    data = json.loads(block)

    assert data["@type"] == "GovernmentService"
    assert data["name"] == "Taipei child allowance"
    assert data["url"] == f"{URL}/en/services/SVC-019"
    assert data["serviceOperator"]["name"] == "Department of Social Welfare"


async def test_the_sitemap_has_every_real_service_in_both_languages(
    client: AsyncClient, paper: AsyncClient
) -> None:
    for one in (client, paper):
        tree = ElementTree.fromstring((await one.get("/sitemap.xml")).text)  # noqa: S314 - ours
        found = {
            node.text for node in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")
        }
        services = {code for code, row in CITY.services.items() if row.open}
        wanted = {f"{URL}/{lang}{path}" for lang in LANGUAGES for path in ("/", "/services")}
        wanted |= {f"{URL}/{lang}/services/{code}" for lang in LANGUAGES for code in services}
        assert found == wanted
    assert "sitemap.xml" in (await client.get("/robots.txt")).text


@pytest.mark.parametrize(
    ("accepted", "lang"),
    [("", "zh-TW"), ("en-GB,en;q=0.9", "en"), ("zh;q=0.8,en;q=0.9", "en"), ("de", "zh-TW"),
     ("zh-TW,zh;q=0.9,en;q=0.8", "zh-TW"), ("en;q=banana, zh", "zh-TW")],
)  # fmt: skip
async def test_the_entrance_leads_to_the_language_that_the_browser_wants(
    client: AsyncClient, accepted: str, lang: str
) -> None:
    answer = await client.get("/", headers={"Accept-Language": accepted})
    assert (answer.status_code, answer.headers["location"]) == (302, f"/{lang}/")


async def test_what_is_looked_for_is_narrowed_down_by_every_filter(client: AsyncClient) -> None:
    async def codes(query: str) -> set[str]:
        text = (await client.get(f"/en/services?{query}")).text
        return set(re.findall(r'<a href="/en/services/(SVC-\d+)"', text))

    everything = await codes("q=subsidy")
    assert len(everything) > 5
    for query, holds in (
        ("agency=DOSW", lambda one: one.agency == "DOSW"),
        ("event=BIRTH", lambda one: "BIRTH" in CITY.listings[one.code].life_events),
        ("audience=SENIOR", lambda one: "SENIOR" in CITY.listings[one.code].audiences),
        ("online=1", lambda one: one.stage >= 4),
    ):
        found = await codes(f"q=subsidy&{query}")
        assert found < everything
        assert found
        assert all(holds(CITY.services[code]) for code in found)


async def test_pages_hold_twenty_and_together_all(client: AsyncClient) -> None:
    seen: list[str] = []
    for page in range(1, 8):
        text = (await client.get(f"/en/services?page={page}")).text
        found = re.findall(r'<li>\s*<a href="/en/services/(SVC-\d+)"', text)
        assert len(found) <= 20
        seen += found
    assert sorted(seen) == sorted(code for code, one in CITY.services.items() if one.open)
    for odd in ("0", "-1", "999", "x", "１"):
        assert (await client.get(f"/en/services?page={odd}")).status_code == 200


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize(
    "path", ["/services/SVC-999", "/services/<script>", "/no/such/page", "/services/SVC-001/%00"]
)
async def test_an_address_that_leads_nowhere_is_a_page_with_a_way_on(
    client: AsyncClient, lang: str, path: str
) -> None:
    answer = await client.get(f"/{lang}{path}")
    assert answer.status_code == 404
    assert 'role="search"' in answer.text
    assert "<script>" not in answer.text


@pytest.mark.parametrize("query", ["<script>alert(1)</script>", '" onfocus="x', "'><b>", "\x00"])
async def test_what_is_looked_for_is_shown_as_text(client: AsyncClient, query: str) -> None:
    answer = await client.get("/en/services", params={"q": query})
    assert answer.status_code == 200
    for harm in ("<script>alert", '" onfocus="x"', "'><b>"):
        assert harm not in answer.text


async def test_what_is_made_up_says_so_wherever_it_stands(paper: AsyncClient) -> None:
    text = (await paper.get("/en/services", params={"q": "street lamp"})).text
    assert "Made up" in text
    code = re.findall(r"/en/services/(GEN-\d+)", text)[0]
    page = (await paper.get(f"/en/services/{code}")).text
    assert "This service is made up for tests and shows" in page
    assert "application/ld+json" not in page
    assert 'role="note"' in (await paper.get("/en/")).text
    home = re.sub(r"<[^>]+>", " ", (await paper.get("/en/")).text)
    for number in ("774", "580", "120", "127"):
        assert number in home.split()


async def test_a_form_is_data_for_other_programs_too(client: AsyncClient) -> None:
    found = (await client.get("/api/services/SVC-056/form")).json()
    assert found["version"] == forms(CITY)["SVC-056"].version
    assert found["schema"]["properties"]["service"] == {"const": "SVC-056"}
    assert found["layout"]["parts"][0]["code"] == "applicant"
    missing = await client.get("/api/services/SVC-999/form")
    assert (missing.status_code, missing.json()["title"]) == (404, "service not found")


async def test_headers_are_strict_and_public_pages_may_be_kept_for_minutes(
    client: AsyncClient,
) -> None:
    answer = await client.get("/en/services/SVC-001")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["content-language"] == "en"
    missing = await client.get("/en/services/SVC-999")
    assert missing.headers["cache-control"] == "no-store"


def test_every_text_of_the_portal_has_its_chinese_and_no_other() -> None:
    """`python -m services.intake.texts` writes new ones into the file."""
    chinese = languages()["zh-TW"].texts
    assert said() == set(chinese), "run python -m services.intake.texts and translate"
    for english, text in chinese.items():
        names = set(re.findall(r"\{(\w+)\}", english))
        assert set(re.findall(r"\{(\w+)\}", text)) == names, english
        # Chinese sentences have Chinese punctuation.
        assert not re.search(r"[\u4e00-\u9fff][,;:?](?!\d)", text), text
    assert "fuzzy" not in PO.read_text("utf-8")
