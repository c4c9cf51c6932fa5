"""The portal's pages of applying: what is typed stays, what is wrong is said, a case is made once.

Everything runs on a real PostgreSQL, and what is posted are the forms that the pages have.
"""

import asyncio
import hashlib
import io
import re
import unicodedata
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import itsdangerous
import pytest
from PIL import Image

from catalogue.forms import MOST_DOCUMENTS
from services.intake import domain, drafts
from services.intake.clerks import Tokens
from services.intake.drafts import Attached, Draft, cleaned, unreadable
from services.intake.draftstore import PostgresDrafts
from services.intake.portal.documents import document_link
from services.intake.store import PostgresApplications
from shared.contract.events import ApplicationConfirmationRequested, ApplicationSubmitted
from shared.runtime.postgres import Pool
from tests.conformance.conftest import Database
from tests.conformance.portal import LIN, URL, WANG, City, Form, Page, Part, opened, pdf, went

CHINESE = re.compile("[\u3400-\u9fff]")
ENGLISH = re.compile("[A-Za-z]{3,}")
PARK = WANG | {"answers.participants": "120"}


@pytest.fixture(scope="module")
async def built(pools: dict[str, Pool], database: Database) -> AsyncIterator[City]:
    async with opened(database, pools["intake"]) as found:
        yield found


@pytest.fixture
async def city(built: City, clean: Database) -> City:
    await built.anew()
    return built


def png() -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (9, 7), (1, 2, 3)).save(output, "PNG")
    return output.getvalue()


def path_of(page: Page) -> str:
    return page.response.request.url.path


async def form_of(city: City, path: str) -> Form:
    return (await city.get(path)).form(path)


async def shown(city: City, path: str) -> dict[str, str]:
    """What the form of a draft holds."""
    return (await form_of(city, path)).shown


# --- Beginning


@pytest.mark.parametrize("language", ["zh-TW", "en"])
async def test_beginning_leads_to_a_draft_with_an_address_of_its_own(
    city: City, language: str
) -> None:
    one, other = await city.begun(language=language), await city.begun(language=language)

    assert re.fullmatch(rf"/{language}/apply/[a-z2-7]{{16}}", one)
    assert one != other
    page = await city.get(one)
    assert (page.response.status_code, page.lang) == (200, language)
    assert page.form(one).shown["contact.language"] == language
    assert await city.count("intake.drafts") == 2


async def test_looking_leaves_no_draft_behind(city: City) -> None:
    for language in ("zh-TW", "en"):
        for path in ("", "/apply", "/form", "/form.pdf", "/qr.svg"):
            found = await city.client.get(f"/{language}/services/SVC-056{path}")
            assert found.status_code == 200
        for path in (f"apply/{'a' * 16}", f"confirm/{'a' * 16}", "counter?service=SVC-056"):
            await city.client.get(f"/{language}/{path}")

    assert await city.count("intake.drafts") == 0
    assert await city.count("vault.keys") == 0


@pytest.mark.parametrize("code", ["SVC-007", "SVC-089", "SVC-999"])
async def test_what_cannot_be_applied_for_online_is_not_begun(city: City, code: str) -> None:
    found = await city.client.post(f"/zh-TW/services/{code}/apply")

    assert found.status_code == 404
    assert await city.count("intake.drafts") == 0


async def test_nothing_typed_and_no_link_stands_in_the_database_in_clear(city: City) -> None:
    path = await city.begun()
    went(await city.save(path, WANG))

    row = await city.database.admin.fetchval("SELECT d::text FROM intake.drafts d")
    for secret in ("王小明", "A123456789", "wang@example.com", path.rpartition("/")[2]):
        assert secret not in row
    clear = await city.drafts.find(path.rpartition("/")[2], city.now)
    assert clear is not None
    assert clear.values["applicant.name"] == "王小明"


# --- Saving


async def test_what_was_typed_stays_even_when_it_is_wrong(city: City) -> None:
    path = await city.begun()
    wrong = WANG | {
        "applicant.id_number": "A123456780",
        "contact.phone": "call me",
        "contact.email": "at home",
        "answers.remarks": 'one\ntwo <b>&amp;</b> "three"',
    }

    went(await city.save(path, wrong), f"{path}?notice=saved")

    assert wrong.items() <= (await shown(city, path)).items()
    refused = Page(await city.save(path, {}, "review"))
    assert refused.response.status_code == 422
    assert wrong.items() <= refused.form(path).shown.items()
    assert wrong.items() <= (await shown(city, path)).items()


WRONG = {
    "applicant.name": "王" * 101,
    "applicant.id_number": "A123456780",
    "contact.phone": "123",
    "contact.email": "nowhere",
    "answers.participants": "many",
}


async def told_wrong(city: City, language: str, typed: dict[str, str]) -> Page:
    path = await city.begun("SVC-025", language)
    page = Page(await city.save(path, typed, "review"))
    assert page.response.status_code == 422
    assert page.lang == language
    return page


async def errors_of(city: City, language: str) -> dict[str, str]:
    """What is said of everything that can be wrong; what is missing hides the rest."""
    missing = await told_wrong(city, language, {})
    long = await told_wrong(city, language, PARK | {"applicant.name": WRONG["applicant.name"]})
    broken = await told_wrong(city, language, PARK | {"address.line": "路\ue000"})
    wrong = {name: said for name, said in WRONG.items() if name != "applicant.name"}
    checked = await told_wrong(city, language, PARK | wrong)
    assert checked.errors.keys() == wrong.keys()
    assert set(long.errors) == {"applicant.name"}
    assert set(broken.errors) == {"address.line"}
    assert missing.errors.keys() == {
        *("applicant.kind", "applicant.name", "applicant.id_number", "contact.phone"),
        *("address.district", "address.line", "answers.participants"),
    }
    for page in (missing, long, broken, checked):
        for said in page.errors.values():
            assert said in page.alerts[0]
    found = {f"missing {name}": said for name, said in missing.errors.items()}
    return found | checked.errors | long.errors | broken.errors


async def test_errors_are_named_by_field_in_chinese_alone(city: City) -> None:
    found = await errors_of(city, "zh-TW")

    for said in found.values():
        assert CHINESE.search(said)
        assert not ENGLISH.search(said), said
    assert found["applicant.id_number"] == "證號檢查碼不符,請確認號碼是否正確"
    assert "101" in found["applicant.name"]


async def test_errors_are_named_by_field_in_english_alone(city: City) -> None:
    found = await errors_of(city, "en")

    for said in found.values():
        assert ENGLISH.search(said)
        assert not CHINESE.search(said), said
    assert found["applicant.id_number"].startswith("The check digit does not fit")


@pytest.mark.parametrize(
    ("language", "strange"),
    [("zh-TW", ENGLISH), ("en", CHINESE)],
)
async def test_a_choice_that_is_none_is_refused_in_the_language_of_the_page(
    city: City, language: str, strange: re.Pattern[str]
) -> None:
    path = await city.begun("SVC-025", language)
    form = await form_of(city, path)
    sent = [
        (name, value)
        for name, value in form.fill(PARK | {"address.district": "士林區", "answers.park_m2": "9"})
        if not name.startswith("answers.side")
    ]
    page = Page(
        await city.post(path, [*sent, ("answers.side_of_zhongshan_n_road", "up"), ("do", "review")])
    )

    assert page.response.status_code == 422
    said = page.errors["answers.side_of_zhongshan_n_road"]
    assert not strange.search(said), said


async def test_the_script_is_told_the_same_errors_and_nothing_is_kept(city: City) -> None:
    path = await city.begun("SVC-025", "en")
    form = await form_of(city, path)
    sent = [*form.fill(PARK | {"applicant.id_number": "A123456780"})]

    found = (await city.post(f"{path}/check", sent)).json()

    assert found.keys() == {"applicant.id_number"}
    assert found["applicant.id_number"].startswith("The check digit")
    assert (await shown(city, path))["applicant.id_number"] == ""


async def test_full_width_digits_and_letters_are_as_good_as_others(city: City) -> None:
    path = await city.begun("SVC-025")
    wide = PARK | {
        "applicant.id_number": "Ａ１２３４５６７８９",
        "contact.phone": "０９１２－３４５－６７８",
        "answers.participants": "１，２００",
    }
    await city.received(wide, path)

    (event,) = await city.told(ApplicationSubmitted)
    said = await city.unsealed(event)
    assert event.facts["participants"] == 1200
    assert said["applicant"]["id_number"] == "A123456789"
    assert said["contact"]["phone"] == "+886912345678"


async def test_big5_bytes_become_what_they_were(city: City) -> None:
    path = await city.begun()
    went(
        await city.save(
            path, {"applicant.name": "王小明".encode("big5"), "address.line": "路".encode()}
        )
    )

    assert (await shown(city, path))["applicant.name"] == "王小明"
    assert (await shown(city, path))["address.line"] == "路"
    assert cleaned("臺北市".encode("big5").decode("latin-1")) == "臺北市"
    assert cleaned("Café Ångström") == "Café Ångström"


@pytest.mark.parametrize("name", ["François Lefèvre", "Jörg Bäcker", "Löfgren-Mårtensson"])
async def test_accented_names_are_left_as_they_are(city: City, name: str) -> None:
    path = await city.begun(language="en")
    went(await city.save(path, {"applicant.name": name}))

    assert (await shown(city, path))["applicant.name"] == name


RARE = ["𠮷田秀", "陳𨋢", "林😀", "👨‍👩‍👧🇹🇼", "葛󠄀城", "한국", "ŁŽ"]


@pytest.mark.parametrize("name", RARE)
async def test_rare_characters_come_through_to_the_event(city: City, name: str) -> None:
    await city.received(WANG | {"applicant.name": name, "answers.remarks": name * 3})

    (event,) = await city.told(ApplicationSubmitted)
    said = await city.unsealed(event)
    assert said["applicant"]["name"] == unicodedata.normalize("NFC", name)
    assert said["answers"]["remarks"] == unicodedata.normalize("NFC", name * 3)


def test_the_newest_characters_of_names_are_readable() -> None:
    assert unreadable("\U00031350\U0002ebf0") == ""


async def test_nul_vanishes_and_line_ends_become_one_kind(city: City) -> None:
    path = await city.begun()
    typed = {"applicant.name": "王\x00小明\x00", "answers.remarks": b"a\r\nb\rc\nd"}
    went(await city.save(path, typed))

    found = await shown(city, path)
    assert found["applicant.name"] == "王小明"
    assert found["answers.remarks"] == "a\nb\nc\nd"


@pytest.mark.parametrize("encoding", ["multipart", "urlencoded"])
async def test_a_lone_surrogate_is_kept_as_a_mark_and_told(city: City, encoding: str) -> None:
    path = await city.begun()
    form = await form_of(city, path)
    broken = b"\xed\xa0\x80\xed\xa0\x80"
    if encoding == "multipart":
        page = Page(await city.press(form, WANG | {"applicant.name": broken}, "review"))
    else:
        form.multipart = False
        page = Page(await city.press(form, WANG | {"applicant.name": broken}, "review"))

    assert page.response.status_code == 422
    assert page.errors.keys() == {"applicant.name"}
    assert page.form(path).shown["address.line"] == WANG["address.line"]
    assert page.form(path).shown["applicant.name"]


async def test_what_is_too_long_is_kept_and_told(city: City) -> None:
    path = await city.begun()
    page = Page(await city.save(path, WANG | {"answers.remarks": "長" * 3900}, "review"))

    assert page.errors["answers.remarks"] == "共 3900 字，最多 1000 字"
    assert (await shown(city, path))["answers.remarks"] == "長" * 3900


async def test_5000_characters_are_kept_or_their_loss_is_told(city: City) -> None:
    path = await city.begun()
    page = Page(await city.save(path, WANG | {"answers.remarks": "長" * 5000}, "review"))

    assert "5000" in page.errors["answers.remarks"]
    assert (await shown(city, path))["answers.remarks"] == "長" * 5000


async def test_unknown_fields_are_left_out(city: City) -> None:
    path = await city.begun()
    form = await form_of(city, path)
    more = [("applicant.rank", "king"), ("answers.fee", "0"), ("case_id", str(uuid4())), ("", "x")]
    went(await city.press(form, WANG, "save", more=more))

    found = await city.drafts.find(path.rpartition("/")[2], city.now)
    assert found is not None
    assert found.values.keys() <= {one.name for one in city.shop.forms["SVC-056"].fields()}


async def test_a_body_that_is_no_form_changes_nothing(city: City) -> None:
    path = await city.begun()
    for kind, content in (
        ("application/json", b"{}"),
        ("text/plain", b"revision=1"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=edge", b"--another\r\nbroken"),
    ):
        found = await city.client.post(path, content=content, headers={"Content-Type": kind})
        assert found.status_code in (400, 415), kind
        assert Page(found).alerts, kind

    assert (await shown(city, path))["revision"] == "1"


async def test_a_revision_of_5000_digits_is_another_revision(city: City) -> None:
    path = await city.begun()
    found = await city.post(path, [("revision", "9" * 5000), ("do", "save")])

    assert found.status_code == 409


async def test_a_box_without_its_tick_is_no_consent_any_more(city: City) -> None:
    path = await city.begun()
    went(await city.save(path, {"consents.HH_RECORD": "yes"}))
    assert (await shown(city, path))["consents.HH_RECORD"] == "yes"

    went(await city.save(path, {"consents.HH_RECORD": ""}))

    assert (await shown(city, path))["consents.HH_RECORD"] == ""


# --- Questions that depend on others


@pytest.mark.parametrize(
    ("code", "place", "question", "answer"),
    [
        ("SVC-056", {"address.district": "中正區"}, "location.side_of_aiguo", "south"),
        ("SVC-056", {"location.district": "中正區"}, "location.side_of_aiguo", "north"),
        ("SVC-025", {"address.district": "士林區"}, "answers.park_m2", "9000"),
    ],
)
async def test_a_conditional_question_must_be_answered_where_it_is_asked(
    city: City, code: str, place: dict[str, str], question: str, answer: str
) -> None:
    path = await city.begun(code)
    typed = WANG | place
    if code == "SVC-025":
        typed |= {"answers.participants": "9", "answers.side_of_zhongshan_n_road": "southeast"}

    assert Page(await city.save(path, typed, "review")).errors.keys() == {question}
    review = await city.reviewed(path, {question: answer})
    went(await city.press(review.form("/review"), {"agree": "yes"}))


async def test_a_conditional_question_does_not_count_elsewhere(city: City) -> None:
    path = await city.begun()
    await city.reviewed(path, WANG | {"location.side_of_aiguo": "south"})
    # What was answered before the place was changed is kept, but not sent.
    await city.received({}, path)

    (event,) = await city.told(ApplicationSubmitted)
    assert event.facts["side_of_aiguo"] is None
    assert event.facts["district"] == "大安區"


async def test_the_place_of_the_case_counts_before_the_address(city: City) -> None:
    path = await city.begun()
    typed = WANG | {"address.district": "中正區", "location.district": "文山區"}
    await city.received(typed, path)

    (event,) = await city.told(ApplicationSubmitted)
    assert event.facts["district"] == "文山區"


# --- Two windows


async def test_a_second_window_overwrites_nothing_and_shows_both(city: City) -> None:
    path = await city.begun()
    first, second = await form_of(city, path), await form_of(city, path)
    went(await city.press(first, WANG, "save"))

    typed = {"applicant.name": "王大明", "answers.remarks": "mine"}
    page = Page(await city.press(second, typed, "save"))

    assert page.response.status_code == 409
    assert page.form(path).shown["applicant.name"] == "王大明"
    assert page.others["applicant.name"].endswith("王小明")
    assert page.form(path).shown["answers.remarks"] == "mine"
    assert "answers.remarks" in page.others
    assert WANG.items() <= (await shown(city, path)).items()


async def test_saving_again_keeps_what_is_shown(city: City) -> None:
    path = await city.begun()
    first, second = await form_of(city, path), await form_of(city, path)
    went(await city.press(first, WANG, "save"))
    page = Page(await city.press(second, {"applicant.name": "王大明"}, "save"))

    went(await city.press(page.form(path), {}, "save"), f"{path}?notice=saved")

    assert (await shown(city, path))["applicant.name"] == "王大明"


async def test_of_two_saves_at_once_the_loser_sees_what_the_winner_saved(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await city.begun()
    first, second = await form_of(city, path), await form_of(city, path)
    save = PostgresDrafts.save

    async def overtaken(*args: Any) -> Draft | None:
        monkeypatch.undo()
        went(await city.press(first, {"applicant.name": "王小明"}, "save"))
        return await save(*args)

    monkeypatch.setattr(PostgresDrafts, "save", overtaken)
    page = Page(await city.press(second, {"applicant.name": "王大明"}, "save"))

    assert page.response.status_code == 409
    assert (await shown(city, path))["applicant.name"] == "王小明"
    assert page.others["applicant.name"].endswith("王小明")


async def test_files_of_a_second_window_are_kept_or_their_loss_is_told(city: City) -> None:
    path = await city.begun(language="en")
    first, second = await form_of(city, path), await form_of(city, path)
    went(await city.press(first, WANG, "save"))
    page = Page(await city.press(second, {}, "save", [("documents.2", "id.pdf", pdf())]))

    assert page.response.status_code == 409
    assert "id.pdf" in page.text or "file" in " ".join(page.alerts)


async def test_what_was_reviewed_in_an_old_window_is_not_sent(city: City) -> None:
    path = await city.begun()
    review = await city.reviewed(path)
    went(await city.save(path, {"applicant.name": "王大明"}))

    page = Page(await city.press(review.form("/review"), {"agree": "yes"}))

    assert page.response.status_code == 409
    assert "王大明" in page.text
    assert await city.events() == []
    went(await city.press(page.form("/review"), {"agree": "yes"}), f"{path}/sent")


# --- Expired drafts


async def test_an_expired_draft_is_gone_but_an_open_form_of_it_goes_into_a_new_one(
    city: City,
) -> None:
    path = await city.begun()
    form = await form_of(city, path)
    city.now += timedelta(days=30)
    gone = await city.get(path)

    anew = went(await city.press(form, WANG | {"answers.remarks": "早就打好了"}, "review"))

    assert gone.response.status_code == 404
    assert re.fullmatch(r"/zh-TW/apply/[a-z2-7]{16}\?notice=anew", anew)
    page = await city.get(anew)
    path_anew = anew.partition("?")[0]
    assert path_anew != path
    assert "逾期" in page.notices[0]
    found = page.form(path_anew).shown
    assert (WANG | {"answers.remarks": "早就打好了"}).items() <= found.items()
    await city.sent({}, path_anew)


async def test_every_save_prolongs_a_draft(city: City) -> None:
    path = await city.begun()
    city.now += timedelta(days=29)
    went(await city.save(path, WANG))
    city.now += timedelta(days=29)

    assert (await city.get(path)).response.status_code == 200


@pytest.mark.parametrize("page", ["", "/review", "/sent", "/done", "/form.pdf", "/receipt.pdf"])
async def test_a_link_that_is_none_leads_to_a_page_that_says_so(city: City, page: str) -> None:
    for link in ("a" * 16, "%00", "%ED%A0%80", "x" * 3000, "王"):
        found = await city.get(f"/en/apply/{link}{page}")
        assert found.response.status_code == 404
        assert found.lang == "en"


# --- Documents


async def test_a_document_is_kept_once_for_two_drafts_and_sealed(city: City) -> None:
    one, other = await city.begun(), await city.begun()
    for path in (one, other):
        went(await city.save(path, {}, files=[("documents.2", "身分證.pdf", pdf())]))

    assert await city.count("intake.uploads") == 1
    assert await city.count("intake.attachments") == 2
    found = []
    for path in (one, other):
        page = await city.get(path)
        (link,) = [link for link in page.links if "/documents/" in link]
        assert "身分證.pdf" in page.text
        found.append((await city.client.get(link)).content)
    assert found[0] == found[1]
    row = await city.database.admin.fetchrow("SELECT * FROM intake.uploads")
    everything = b"".join(bytes(v) if isinstance(v, bytes) else str(v).encode() for v in row)
    clear = found[0]
    assert clear.startswith(b"%PDF")
    assert not any(clear[at : at + 12] in everything for at in range(0, len(clear) - 12, 4))
    (digest,) = {link.rpartition("/")[2] for link in page.links if "/documents/" in link}
    # By a keyed hash: who has the same file cannot tell that it is here.
    assert digest != hashlib.sha256(clear).hexdigest()


@pytest.mark.parametrize(
    ("name", "content", "zh", "en"),
    [
        ("a.pdf", b"%PDF-1.7 no", "檔案損壞", "damaged"),
        ("a.exe", b"MZ....", "只接受 PDF、JPEG、PNG", "only PDF, JPEG and PNG"),
        ("a.pdf", png(), "副檔名不符", "another kind"),
        ("a.png", b"x" * (10 * 1024 * 1024 + 1), "超過 10 MB", "larger than 10 MB"),
        ("a.pdf", b"", "檔案是空的", "empty"),
    ],
)
@pytest.mark.parametrize("language", ["zh-TW", "en"])
async def test_a_refused_file_is_told_beside_its_field_and_all_else_is_kept(
    city: City, language: str, name: str, content: bytes, zh: str, en: str
) -> None:
    path = await city.begun("SVC-025", language)
    files = [("documents.2", name, content), ("documents.3", "good.pdf", pdf())]
    page = Page(await city.save(path, PARK, "review", files))

    assert page.response.status_code == 422
    assert page.errors.keys() == {"documents.2"}
    said = page.errors["documents.2"]
    assert (zh if language == "zh-TW" else en) in said.replace("Only", "only")
    if language == "en":
        assert not CHINESE.search(said)
    assert PARK.items() <= page.form(path).shown.items()
    assert "good.pdf" in page.text
    assert PARK.items() <= (await shown(city, path)).items()
    assert "good.pdf" in (await city.get(path)).text


async def test_a_document_is_taken_away(city: City) -> None:
    path = await city.begun()
    went(await city.save(path, WANG, files=[("documents.2", "id.pdf", pdf())]))
    page = await city.get(path)
    (link,) = [link for link in page.links if "/documents/" in link]
    digest = link.rpartition("/")[2]

    went(await city.press(page.form(path), {}, digest))

    assert "id.pdf" not in (await city.get(path)).text
    assert (await city.client.get(link)).status_code == 404
    assert WANG.items() <= (await shown(city, path)).items()


async def test_a_document_that_was_taken_away_is_not_kept(city: City) -> None:
    path = await city.begun()
    went(await city.save(path, WANG, files=[("documents.2", "id.pdf", pdf())]))
    form = await form_of(city, path)
    (digest,) = [value for name, value in form.buttons if name == "remove"]
    went(await city.press(form, {}, digest))
    await city.received({}, path)

    await city.drafts.sweep(await city.much_later())

    assert await city.count("intake.attachments") == 0
    assert await city.count("intake.uploads") == 0


async def test_one_file_may_answer_two_questions(city: City) -> None:
    path = await city.begun("SVC-025")
    files = [("documents.2", "a.pdf", pdf()), ("documents.3", "b.pdf", pdf())]
    went(await city.save(path, PARK, files=files))

    found = await city.drafts.find(path.rpartition("/")[2], city.now)
    assert found is not None
    assert [one.field for one in found.documents] == ["documents.2", "documents.3"]


async def filled(city: City, path: str, count: int) -> None:
    """A draft with this many documents, as so many saves would leave it."""
    draft = await city.drafts.find(path.rpartition("/")[2], city.now)
    assert draft is not None
    one = await city.shop.inspector.inspect("a.pdf", pdf(), "203.0.113.1")
    kept = await city.drafts.attach(draft.case_id, "documents.2", one)
    more = [
        Attached("documents.2", f"{n}.pdf", f"{n:064x}", kept.media_type, 1, 1)
        for n in range(count - 1)
    ]
    changed = Draft(
        draft.case_id,
        draft.service,
        draft.channel,
        draft.filed_by,
        draft.language,
        draft.values,
        (kept, *more),
        draft.revision,
    )
    assert await city.drafts.save(changed, city.now) is not None


async def test_more_documents_than_fit_are_told_and_the_others_stay(city: City) -> None:
    path = await city.begun("SVC-025")
    await filled(city, path, MOST_DOCUMENTS - 1)
    files = [
        ("documents.3", "last.pdf", pdf("last")),
        ("documents.4", "over.pdf", pdf("over")),
        ("documents.5", "more.pdf", pdf("more")),
    ]
    page = Page(await city.save(path, PARK, "save", files))

    assert page.response.status_code == 422
    assert page.errors["documents.4"] == "上傳的文件已達上限"
    assert "documents.3" not in page.errors
    assert "last.pdf" in page.text
    assert PARK.items() <= (await shown(city, path)).items()
    found = await city.drafts.find(path.rpartition("/")[2], city.now)
    assert found is not None
    assert len(found.documents) == MOST_DOCUMENTS


async def test_documents_that_are_too_large_together_are_told(city: City) -> None:
    path = await city.begun("SVC-025")
    files = [(f"documents.{n}", "a.pdf", b"%PDF" + b"x" * (9 * 2**20)) for n in range(2, 6)]
    found = await city.save(path, PARK, "save", files)

    assert found.status_code == 413
    assert "檔案太大" in Page(found).alerts[0]
    assert (await city.get(path)).response.status_code == 200


async def test_what_was_uploaded_is_let_go_of(city: City) -> None:
    path = await city.begun()
    went(await city.save(path, WANG, files=[("documents.2", "id.pdf", pdf())]))

    assert Part.made
    assert all(one.closed for one in Part.made)


async def test_a_document_of_another_draft_is_not_shown(city: City) -> None:
    one, other = await city.begun(), await city.begun()
    went(await city.save(one, {}, files=[("documents.2", "id.pdf", pdf())]))
    (link,) = [link for link in (await city.get(one)).links if "/documents/" in link]
    digest = link.rpartition("/")[2]

    for strange in (
        f"{other}/documents/{digest}",
        f"{one}/documents/{'0' * 64}",
        f"{one}/documents/x",
    ):
        assert (await city.client.get(strange)).status_code == 404
    assert (await city.client.get(link)).status_code == 200


async def test_a_file_for_a_question_that_is_none_is_left_out(city: City) -> None:
    path = await city.begun()
    sent = (await form_of(city, path)).fill(WANG)
    went(await city.post(path, [*sent, ("do", "save"), ("documents.99", "a.pdf", pdf())]))

    assert await city.count("intake.uploads") == 0
    assert (await shown(city, path))["applicant.name"] == WANG["applicant.name"]


# --- What nobody finishes goes


async def test_what_expired_goes_with_its_key_and_what_is_a_case_stays(city: City) -> None:
    files = [("documents.2", "id.pdf", pdf("case"))]
    number, _ = await city.received(WANG, files=files)
    kept = await city.case_id(number)
    both = [("documents.2", "id.pdf", pdf("case"))]
    shared, alone = await city.begun(), await city.begun()
    went(await city.save(shared, WANG, files=both))
    went(await city.save(alone, WANG, files=[("documents.2", "x.pdf", pdf("draft"))]))
    waiting = await city.sent(LIN)
    assert await city.count("intake.uploads") == 2

    await city.drafts.sweep(await city.much_later())

    city.now = await city.much_later()
    for path in (shared, alone, waiting):
        assert (await city.client.get(path)).status_code == 404
    assert await city.count("intake.drafts") == 0
    attached = await city.database.admin.fetch("SELECT case_id FROM intake.attachments")
    assert [row["case_id"] for row in attached] == [kept]
    assert await city.count("intake.uploads") == 1
    whole = "SELECT case_id FROM vault.keys WHERE wrapped IS NOT NULL"
    upload = await city.database.admin.fetchval("SELECT key_id FROM intake.uploads")
    assert {row["case_id"] for row in await city.database.admin.fetch(whole)} == {kept, upload}
    shredded = "vault.keys WHERE wrapped IS NULL AND shredded_at IS NOT NULL"
    assert await city.count(shredded) == 4
    (event,) = await city.told(ApplicationSubmitted)
    url = (await city.unsealed(event))["documents"][0]["url"]
    assert (await city.client.get(urlsplit(url).path)).status_code == 200


async def test_a_sweep_leaves_drafts_that_have_not_expired(city: City) -> None:
    path = await city.begun()
    went(await city.save(path, WANG, files=[("documents.2", "id.pdf", pdf())]))

    await city.drafts.sweep(city.now + timedelta(days=29))

    assert (await city.client.get(path)).status_code == 200
    assert await city.count("intake.uploads") == 1


async def test_an_upload_of_this_hour_that_nobody_has_yet_stays(city: City) -> None:
    path = await city.begun()
    went(await city.save(path, {}, files=[("documents.2", "id.pdf", pdf())]))
    await city.database.admin.execute("DELETE FROM intake.attachments")
    there = await city.database.admin.fetchval("SELECT now()")

    await city.drafts.sweep(there + timedelta(minutes=59))
    assert await city.count("intake.uploads") == 1
    await city.drafts.sweep(there + timedelta(minutes=61))
    assert await city.count("intake.uploads") == 0


# --- Sending


async def test_without_the_tick_nothing_is_sent(city: City) -> None:
    path = await city.begun()
    review = await city.reviewed(path)
    page = Page(await city.press(review.form("/review"), {}))

    assert page.response.status_code == 422
    assert "請勾選" in page.alerts[0]
    assert await city.events() == []
    assert (await city.client.get(f"{path}/review")).status_code == 200


async def test_a_form_that_is_wrong_cannot_be_reviewed_or_sent(city: City) -> None:
    path = await city.begun()
    review = await city.reviewed(path)
    went(await city.save(path, {"applicant.id_number": "A1"}))

    for found in (
        await city.client.get(f"{path}/review"),
        await city.press(review.form("/review"), {"agree": "yes"}),
    ):
        page = Page(found)
        assert page.response.status_code == 422
        assert page.errors.keys() == {"applicant.id_number"}
    assert await city.events() == []


async def test_the_link_to_confirm_with_goes_out_sealed(city: City) -> None:
    path = await city.sent()

    (event,) = await city.told(ApplicationConfirmationRequested)
    said = await city.unsealed(event)
    assert said["contact"] == {
        "phone": "+886912345678",
        "email": "wang@example.com",
        "language": "zh-TW",
    }
    assert re.fullmatch(rf"{URL}/zh-TW/confirm/[a-z2-7]{{16}}", said["confirm_url"])
    assert (event.channel, event.service) == ("mail", "SVC-056")
    assert re.fullmatch(r"20261124-[0-9]{7}-[0-9]", event.number)
    (row,) = await city.outbox()
    everything = repr(dict(row))
    link = said["confirm_url"].rpartition("/")[2]
    for secret in (link, "/confirm/", "wang@", "912345678", "王小明", path.rpartition("/")[2]):
        assert secret not in everything
    assert row["topic"] == "applications.events"
    assert "wang@example.com" in (await city.get(f"{path}/sent")).text
    assert await city.count("intake.applications") == 0


async def test_sending_many_times_is_one_event_and_one_number(city: City) -> None:
    path = await city.begun()
    form = (await city.reviewed(path)).form("/review")

    found = await asyncio.gather(*(city.press(form, {"agree": "yes"}) for _ in range(5)))
    found.append(await city.press(form, {"agree": "yes"}))

    assert {went(one) for one in found} == {f"{path}/sent"}
    (event,) = await city.told(ApplicationConfirmationRequested)
    number = await city.database.admin.fetchval("SELECT number FROM intake.drafts")
    assert number == event.number


async def test_a_phone_alone_is_written_a_text_message(city: City) -> None:
    path = await city.sent(WANG | {"contact.email": ""})

    (event,) = await city.told(ApplicationConfirmationRequested)
    assert event.channel == "sms"
    assert "0912345678" in (await city.get(f"{path}/sent")).text


@pytest.mark.parametrize(("language", "said"), [("zh-TW", "手機號碼"), ("en", "mobile number")])
async def test_a_landline_alone_is_not_enough(city: City, language: str, said: str) -> None:
    path = await city.begun(language=language)
    review = await city.reviewed(path, WANG | {"contact.email": "", "contact.phone": "02-27208889"})
    page = Page(await city.press(review.form("/review"), {"agree": "yes"}))

    assert page.response.status_code == 422
    assert said in page.alerts[0]
    assert await city.events() == []
    await city.sent({"contact.phone": "0912345678"}, path)


async def test_changing_what_was_sent_makes_the_old_link_void(city: City) -> None:
    path = await city.sent()
    old = await city.link()
    page = await city.get(f"{path}/sent")
    went(await city.press(page.form(path), {}, "save"))
    gone = await city.get(old)
    assert gone.response.status_code == 404

    await city.sent({"contact.email": "wang.new@example.com"}, path)
    new = await city.link()

    assert new != old
    assert (await city.client.post(old)).status_code == 404
    assert await city.count("intake.applications") == 0
    first, second = await city.told(ApplicationConfirmationRequested)
    assert first.number == second.number
    assert first.id != second.id
    went(await city.press((await city.get(new)).forms[0]))
    (event,) = await city.told(ApplicationSubmitted)
    assert event.number == first.number
    assert (await city.unsealed(event))["contact"]["email"] == "wang.new@example.com"


async def test_the_link_to_confirm_with_is_in_the_language_of_the_page(city: City) -> None:
    path = (await city.begun(language="zh-TW")).replace("/zh-TW/", "/en/")
    await city.sent(WANG, path)

    assert (await city.link()).startswith("/en/confirm/")


# --- Confirming


async def test_looking_at_the_link_confirms_nothing(city: City) -> None:
    await city.sent()
    for _ in range(3):
        page = await city.get(await city.link())
        assert page.response.status_code == 200
        assert len(page.forms) == 1

    assert await city.told(ApplicationSubmitted) == []
    assert await city.count("intake.applications") == 0


async def test_the_link_of_the_draft_does_not_confirm_it(city: City) -> None:
    path = await city.sent()
    found = await city.client.post(path.replace("/apply/", "/confirm/"))

    assert found.status_code == 404
    assert await city.count("intake.applications") == 0


async def test_confirming_many_times_makes_one_case(city: City) -> None:
    path = await city.sent()
    link = await city.link()
    form = (await city.get(link)).forms[0]
    rung = city.rung

    found = [*await asyncio.gather(*(city.press(form) for _ in range(5))), await city.press(form)]
    later = went(await city.client.get(link))

    assert await city.count("intake.applications") == 1
    (event,) = await city.told(ApplicationSubmitted)
    assert city.rung > rung
    pages = [await city.get(to) for to in {later, *map(went, found), f"{path}/done"}]
    said = {tuple(page.numbers) for page in pages}
    password = domain.password(b"c" * 32, event.case_id)
    assert said == {(event.number, password)}
    assert event.received_at == city.now


async def test_what_is_received_is_changed_no_more(city: City) -> None:
    path = await city.begun()
    await city.sent(WANG, path)
    page = await city.get(f"{path}/sent")
    review = f"{path}/review"
    went(await city.press((await city.get(await city.link())).forms[0]))

    went(await city.press(page.form(path), {"applicant.name": "X"}, "save"), f"{path}/done")
    went(await city.client.get(path), f"{path}/done")
    went(await city.client.get(review), f"{path}/done")
    went(await city.client.get(f"{path}/sent"), f"{path}/done")
    sent = await city.client.post(review, data={"agree": "yes", "revision": "2"})
    went(sent, f"{path}/done")
    assert len(await city.events()) == 2


async def test_an_expired_link_confirms_nothing(city: City) -> None:
    await city.sent()
    link = await city.link()
    form = (await city.get(link)).forms[0]
    city.now += timedelta(days=30)

    assert (await city.press(form)).status_code == 404
    assert await city.count("intake.applications") == 0


async def test_the_event_holds_all_that_was_said_and_facts_that_name_nobody(city: City) -> None:
    path = await city.begun("SVC-025")
    typed = PARK | {
        "answers.remarks": "請先\n電話聯絡",
        "location.district": "大同區",
        "consents.BIZ_REG": "yes",
    }
    number, _ = await city.received(typed, path)

    (event,) = await city.told(ApplicationSubmitted)
    said = await city.unsealed(event)
    assert (event.number, event.service, event.source) == (number, "SVC-025", "intake")
    assert said["applicant"] == {"kind": "person", "name": "王小明", "id_number": "A123456789"}
    assert said["address"]["line"] == "和平東路二段1號3樓"
    assert said["answers"] == {"participants": 120, "remarks": "請先\n電話聯絡"}
    assert "documents" not in said
    assert "filed_by" not in said
    assert event.facts["channel"] == "online"
    assert event.facts["participants"] == 120
    for secret in ("王小明", "A123456789", "和平東路", "912345678"):
        assert secret not in repr(event.facts)
        assert all(secret.encode() not in row["value"] for row in await city.outbox())


async def test_documents_are_fetched_with_the_link_that_is_sealed(city: City) -> None:
    files = [("documents.2", "身分證.pdf", pdf())]
    await city.received(WANG, files=files)

    (event,) = await city.told(ApplicationSubmitted)
    (document,) = (await city.unsealed(event))["documents"]
    assert (document["field"], document["name"]) == ("documents.2", "身分證.pdf")
    assert (document["media_type"], document["pages"]) == ("application/pdf", 1)
    assert document["url"].startswith(f"{URL}/documents/")
    found = await city.client.get(urlsplit(document["url"]).path)
    assert found.status_code == 200
    assert found.content.startswith(b"%PDF")
    assert len(found.content) == document["bytes"]
    assert found.headers["content-disposition"].startswith("attachment;")
    assert found.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert found.headers["content-type"] == "application/pdf"
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["cache-control"] == "no-store"


async def test_documents_of_a_case_whose_data_was_destroyed_are_gone(city: City) -> None:
    number, _ = await city.received(files=[("documents.2", "id.pdf", pdf())])
    (event,) = await city.told(ApplicationSubmitted)
    (document,) = (await city.unsealed(event))["documents"]
    link = urlsplit(document["url"]).path
    assert (await city.client.get(link)).status_code == 200
    await city.database.admin.execute(
        "SELECT vault.shred_key(case_id) FROM intake.applications WHERE number = $1", number
    )

    assert (await city.client.get(link)).status_code == 404


async def test_a_forged_document_link_opens_nothing(city: City) -> None:
    files = [("documents.2", "id.pdf", pdf())]
    await city.received(WANG, files=files)
    (event,) = await city.told(ApplicationSubmitted)
    path = urlsplit((await city.unsealed(event))["documents"][0]["url"]).path
    digest = await city.database.admin.fetchval("SELECT encode(digest, 'hex') FROM intake.uploads")

    forged = document_link(b"another secret" * 3, "", event.case_id, digest)
    strange = document_link(b"c" * 32, "", uuid4(), digest)
    for one in (forged, strange, path + "x", path[:-1], "/documents/x.y", "/documents/%00"):
        found = await city.client.get(one)
        assert found.status_code == 404
        assert found.headers["content-type"] == "application/problem+json"


# --- Duplicates


async def number_and_review(city: City, typed: dict[str, str]) -> Page:
    return await city.reviewed(await city.begun(), typed)


async def test_the_same_person_with_the_same_contact_is_told_of_an_earlier_one(city: City) -> None:
    number, _ = await city.received(WANG)
    page = await number_and_review(city, WANG | {"applicant.name": "王先生"})
    # Before the address is proven anybody could ask so.
    assert number not in page.text
    went(await city.press(page.form("/review"), {"agree": "yes"}))
    confirm = await city.get(await city.link())
    assert number in confirm.text
    went(await city.press(confirm.forms[0]))
    assert (await city.told(ApplicationSubmitted))[-1].duplicates == (number,)


async def test_who_has_another_contact_is_not_told_but_the_clerk_is(city: City) -> None:
    number, _ = await city.received(WANG)
    other = WANG | {"contact.email": "x@example.com", "contact.phone": "0911111111"}
    page = await number_and_review(city, other)
    went(await city.press(page.form("/review"), {"agree": "yes"}))
    confirm = await city.get(await city.link())

    for one in (page, confirm):
        assert number not in one.response.text
        assert "先前" not in one.text
    went(await city.press(confirm.forms[0]))
    assert (await city.told(ApplicationSubmitted))[-1].duplicates == (number,)


async def test_an_application_that_was_taken_back_is_no_duplicate(city: City) -> None:
    number, _ = await city.received(WANG)
    await city.happened(number, status="WITHDRAWN")

    await city.sent(WANG)
    assert number not in (await city.get(await city.link())).text
    await city.received(WANG)
    assert (await city.told(ApplicationSubmitted))[-1].duplicates == ()


async def test_an_application_of_long_ago_is_no_duplicate(city: City) -> None:
    number, _ = await city.received(WANG)
    city.now += timedelta(days=30) - timedelta(seconds=1)
    await city.sent(WANG)
    link = await city.link()
    assert number in (await city.get(link)).text
    city.now += timedelta(seconds=1)

    assert number not in (await city.get(link)).text


async def test_another_person_or_service_is_no_duplicate(city: City) -> None:
    number, _ = await city.received(WANG)
    alike = WANG | {"applicant.id_number": LIN["applicant.id_number"]}
    assert number not in (await number_and_review(city, alike)).text
    path = await city.begun("SVC-025")

    assert number not in (await city.reviewed(path, PARK)).text


# --- The counter


def token_of(city: City, name: str = "陳櫃員") -> str:
    return city.tokens.make(name)


async def at_counter(city: City, channel: str, code: str = "SVC-056") -> str:
    page = await city.get(f"/zh-TW/counter?service={code}")
    typed = {"token": token_of(city), "channel": channel}
    return went(await city.press(page.form("/counter"), typed))


@pytest.mark.parametrize("language", ["zh-TW", "en"])
async def test_nobody_files_for_others_without_a_token(
    city: City, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = await city.get(f"/{language}/counter?service=SVC-056")
    form = page.form("/counter")
    with monkeypatch.context() as patch:
        timestamp = itsdangerous.TimestampSigner.get_timestamp
        patch.setattr(
            itsdangerous.TimestampSigner,
            "get_timestamp",
            lambda self: timestamp(self) - 12 * 3600 - 1,
        )
        expired = token_of(city)
    forged = Tokens("f" * 32).make("陳櫃員")

    for token in ("", "x", forged, expired, token_of(city) + "x", token_of(city)[1:], "王"):
        found = await city.press(form, {"token": token})
        assert found.status_code == 403, token
        assert "set-cookie" not in found.headers
    city.client.cookies.set("counter", forged)
    assert (await city.press(form, {})).status_code == 403
    assert await city.count("intake.drafts") == 0


def test_without_a_secret_no_token_is_any_good() -> None:
    assert Tokens("").name(Tokens("").make("x")) is None


@pytest.mark.parametrize("channel", ["counter", "phone"])
async def test_what_a_clerk_files_is_received_at_once(city: City, channel: str) -> None:
    path = await at_counter(city, channel)
    # Who comes to the counter may have a landline only.
    typed = WANG | {"contact.email": "", "contact.phone": "02-27208889"}
    review = await city.reviewed(path, typed)
    done = went(await city.press(review.form("/review"), {"agree": "yes"}), f"{path}/done")

    page = await city.get(done)
    (event,) = await city.events()
    assert isinstance(event, ApplicationSubmitted)
    assert event.facts["channel"] == channel
    assert (await city.unsealed(event))["filed_by"] == {"clerk": "陳櫃員", "channel": channel}
    assert page.numbers == [event.number, domain.password(b"c" * 32, event.case_id)]


async def test_whom_no_link_can_reach_is_told_so(city: City) -> None:
    path = await at_counter(city, "counter")
    typed = WANG | {"contact.email": "", "contact.phone": "02-27208889"}
    review = await city.reviewed(path, typed)
    done = await city.get(went(await city.press(review.form("/review"), {"agree": "yes"})))
    number, password = done.numbers
    case = await city.get(await city.followed(number, password))
    page = Page(await city.press(case.form("/preferences")))

    assert page.response.status_code == 422
    assert "1999" in page.alerts[0]
    assert [type(one) for one in await city.events()] == [ApplicationSubmitted]


async def test_a_clerk_who_sends_many_times_makes_one_case(city: City) -> None:
    path = await at_counter(city, "counter")
    form = (await city.reviewed(path)).form("/review")
    found = await asyncio.gather(*(city.press(form, {"agree": "yes"}) for _ in range(5)))

    assert {went(one) for one in found} == {f"{path}/done"}
    assert len(await city.events()) == 1


async def test_the_token_is_kept_where_no_script_and_no_other_site_gets_it(city: City) -> None:
    page = await city.get("/en/counter?service=SVC-056")
    found = await city.press(page.form("/counter"), {"token": token_of(city)})

    cookie = found.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" in cookie
    assert "max-age=43200" in cookie
    again = await city.get("/en/counter?service=SVC-025")
    assert "陳櫃員" in again.text
    assert "token" not in again.form("/counter").shown
    went(await city.press(again.form("/counter")))


async def test_a_clerk_is_told_of_every_earlier_application(city: City) -> None:
    number, _ = await city.received(WANG)
    path = await at_counter(city, "phone")
    page = await city.reviewed(path, WANG | {"contact.email": "", "contact.phone": "0911111111"})

    assert number in page.text


@pytest.mark.parametrize("code", ["SVC-999", "SVC-089", "<script>"])
async def test_a_service_that_is_none_is_told_to_the_clerk(city: City, code: str) -> None:
    page = await city.get("/en/counter")
    found = Page(
        await city.press(page.form("/counter"), {"token": token_of(city), "service": code})
    )

    assert found.response.status_code == 422
    assert "no such service" in found.alerts[0]
    assert await city.count("intake.drafts") == 0


# --- The database away


async def test_while_the_database_is_away_nothing_is_lost(
    city: City, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, counted = await city.begun(), await at_counter(city, "counter")
    form = await form_of(city, path)
    review = (await city.reviewed(counted)).form("/review")
    waiting = await city.sent(LIN)
    confirm = (await city.get(await city.link())).forms[0]
    closed = await database.pool("intake")
    await closed.close()
    desk = (await city.get("/zh-TW/counter?service=SVC-056")).form("/counter")
    began = (await city.get("/zh-TW/services/SVC-056/apply")).form("/apply")
    with monkeypatch.context() as patch:
        patch.setattr(city.drafts, "_pool", closed)
        found = [
            await city.press(began),
            await city.press(desk),
            await city.press(form, WANG, "save", [("documents.2", "id.pdf", pdf())]),
            await city.press(review, {"agree": "yes"}),
            await city.press(confirm),
            await city.client.get(path),
            await city.client.get(f"{counted}/review"),
            await city.client.get(f"{waiting}/sent"),
            await city.client.get(f"{waiting}/done"),
            await city.client.get(f"{path}/form.pdf"),
            await city.client.get(f"{path}/receipt.pdf"),
            await city.client.get(document_link(b"c" * 32, "", uuid4(), "00" * 32)),
        ]
    for one in found:
        assert one.status_code == 503, one.request.url
        assert ("稍後再試" in one.text) == ("/documents/" not in one.request.url.path)
        assert one.headers["cache-control"] == "no-store"

    went(await city.press(form, WANG, "save"))
    went(await city.press(review, {"agree": "yes"}))
    went(await city.press(confirm))
    assert await city.count("intake.applications") == 2
    assert await city.count("intake.drafts") == 3


BETWEEN = ["document", "by_number"]


@pytest.mark.parametrize("question", BETWEEN)
async def test_a_database_that_goes_between_two_questions_is_told_as_away(
    city: City, question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await city.begun()
    await city.received(WANG, path, [("documents.2", "id.pdf", pdf())])
    other = await city.begun()
    went(await city.save(other, {}, files=[("documents.2", "id.pdf", pdf())]))
    (link,) = [link for link in (await city.get(other)).links if "/documents/" in link]

    async def away(*_: Any) -> None:
        raise ConnectionResetError

    kind: Any = PostgresDrafts if question == "document" else PostgresApplications
    monkeypatch.setattr(kind, question, away)
    found = await city.client.get(link if question == "document" else f"{path}/done")

    assert found.status_code == 503


# --- Headers


async def test_every_page_has_strict_headers(city: City) -> None:
    path = await city.begun()
    form = await form_of(city, path)
    counted = await at_counter(city, "counter")
    waiting = await city.sent(LIN)
    link = await city.link()
    received = await city.begun()
    await city.received(WANG, received)
    found = [
        await city.client.get(one)
        for one in (
            *("/zh-TW/services/SVC-056/apply", "/en/counter", path, counted, f"{waiting}/sent"),
            *(link, f"{received}/done", f"{received}/receipt.pdf", f"{path}/form.pdf"),
            *(f"/en/apply/{'a' * 16}", f"/en/confirm/{'a' * 16}", "/en/nowhere", "/documents/x"),
            f"{waiting}/review",
        )
    ]
    found += [
        await city.press(form, WANG, "save"),
        await city.press(form, {}, "save"),
        await city.save(path, {"contact.phone": "1"}, "review"),
        await city.client.post(path),
    ]

    assert {one.status_code for one in found} == {200, 303, 404, 409, 415, 422}
    for one in found:
        policy = one.headers["content-security-policy"]
        assert "unsafe" not in policy, one.request.url
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy or "sandbox" in policy
        assert one.headers["x-content-type-options"] == "nosniff"
        assert one.headers["referrer-policy"] == "no-referrer"
        assert one.headers["cache-control"] == "no-store", one.request.url


async def test_what_anybody_types_is_never_taken_for_a_piece_of_a_page(city: City) -> None:
    path = await city.begun()
    nasty = "\"><script>alert(1)</script><img src=x onerror=y>'{{7*7}}"
    went(await city.save(path, WANG | {"applicant.name": nasty, "answers.remarks": nasty}))

    for page in (await city.get(path), await city.reviewed(path, {})):
        assert "<script>alert" not in page.response.text
        assert "<img" not in page.response.text
    assert (await shown(city, path))["applicant.name"] == nasty
    assert drafts.cleaned(nasty) == nasty
