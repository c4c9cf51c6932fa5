"""Forms and receipts on paper, as poppler and pikepdf read them back."""

import asyncio
import os
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path

import pikepdf
import pytest
import segno
import typst
from PIL import Image

from catalogue import load_catalogue
from catalogue.forms import Form, forms
from services.intake.portal.papers import FontError, Papers, Receipt

_POPPLER = Path("/usr/bin/pdftotext")
_FONT = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")
CITY = load_catalogue()
FORMS = forms(CITY)
URL = "https://city.example/services/SVC-025"
# One choice each, one yes, one paper.
FILLED = {
    "applicant.kind": "person",
    "applicant.name": "𠮷田 𨋢大文",
    "applicant.id_number": "A123456789",
    "contact.email": "a.rather.long.address.of.somebody@department.city.example",
    "contact.language": "en",
    "address.district": "士林區",
    "answers.participants": "1200",
    "answers.remarks": "第一行\n第二行",
    "documents.2": "yes",
    "consents.COMPANY": "no",
}
HOSTILE = (
    r"""#read("/etc/passwd") $x^2$ *bold* _it_ `raw` <label> @ref """
    r"""// no /* no */ \ \u{41} -- ~ 'q' ] } )"""
)
RECEIPT = Receipt(
    number="20261127-0000123-9",
    service="SVC-019",
    title="育兒津貼",
    agency="社會局",
    received_at=datetime(2026, 11, 27, 6, 5, tzinfo=UTC),
    due_on=date(2026, 12, 7),
    limit_words="6 個工作天",
    password="K7QM-2X4P-9TRD",
    follow_url="https://city.example/cases/20261127-0000123-9",
    answers=[("姓名或名稱", "𠮷田"), ("說明", HOSTILE)],
)


@pytest.fixture(scope="module")
def papers() -> Papers:
    """With poppler and the font; from Debian when this is root's machine."""
    if not (_POPPLER.exists() and _FONT.exists()):
        missing = "needs Debian's packages fonts-noto-cjk and poppler-utils"
        if os.geteuid() == 0 and Path("/usr/bin/apt-get").exists():
            env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            install = ["/usr/bin/apt-get", "-qq", "install", "--no-install-recommends", "--yes"]
            subprocess.run(["/usr/bin/apt-get", "-qq", "update"], env=env, check=True)
            subprocess.run([*install, "fonts-noto-cjk", "poppler-utils"], env=env, check=True)
        elif "CASEBUS_CI" in os.environ:
            pytest.fail(missing)
        else:
            pytest.skip(missing)
    return Papers()


def _paper(
    papers: Papers,
    code: str = "SVC-025",
    lang: str = "zh-TW",
    values: Mapping[str, str] | None = None,
    label: str = "",
) -> bytes:
    service = CITY.services[code]
    agency = CITY.agencies[service.agency] if service.agency else None
    title, who = (
        (service.name_zh, agency.zh if agency else "")
        if lang == "zh-TW"
        else (service.name_en, agency.en if agency else "")
    )
    return papers.form(FORMS[code], title, who, lang, values or {}, URL, label)


def _ask(program: str, pdf: bytes, *options: str) -> bytes:
    called = [f"/usr/bin/{program}", *options, "-"]
    if program == "pdftotext":
        called.append("-")
    return subprocess.run(called, input=pdf, capture_output=True, check=True).stdout


def _text(pdf: bytes) -> str:
    """In the order in which it is read."""
    return _ask("pdftotext", pdf, "-raw", "-enc", "UTF-8").decode()


def _squeezed(text: str) -> str:
    """Without blanks: a line may end anywhere in a Chinese text."""
    return re.sub(r"\s+", "", text)


def _info(pdf: bytes) -> dict[str, str]:
    lines = _ask("pdfinfo", pdf).decode().splitlines()
    return {key: said.strip() for key, _, said in (line.partition(":") for line in lines)}


def _is_accessible(pdf: bytes) -> bool:
    """It says of itself that it keeps to PDF/UA-1."""
    with pikepdf.open(BytesIO(pdf)) as opened, opened.open_metadata() as metadata:
        return metadata.get("pdfuaid:part") == "1"


def _structure(pdf: bytes) -> str:
    return _ask("pdfinfo", pdf, "-struct-text").decode(errors="replace")


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_the_form_of_every_service_asks_every_question(papers: Papers, lang: str) -> None:
    assert len(FORMS) == 122
    for code, form in FORMS.items():
        found = _text(_paper(papers, code, lang))
        squeezed = _squeezed(found)
        missing = [
            said
            for one in (*form.fields(), *form.parts)
            if _squeezed(said := one.zh if lang == "zh-TW" else one.en) not in squeezed
        ]
        assert missing == [], code
        for one in form.fields():
            for choice in one.choices:
                said = choice.zh if lang == "zh-TW" else choice.en
                assert f"☐{_squeezed(said)}" in squeezed, (code, one.name)
        assert form.version in squeezed
        assert "\f" in found and found.count("\f") == 2, f"{code} has not two pages"


@pytest.mark.parametrize(("lang", "none"), [("zh-TW", "（無）"), ("en", "(none)")])
def test_the_parts_are_those_of_every_form_and_an_empty_one_says_so(
    papers: Papers, lang: str, none: str
) -> None:
    for code in ("SVC-001", "SVC-025", "SVC-031"):
        lines = _text(_paper(papers, code, lang)).splitlines()
        parts = FORMS[code].parts
        wanted = [
            f"{letter} {part.zh if lang == 'zh-TW' else part.en}"
            for letter, part in zip("ABCDEFG", parts, strict=True)
        ]
        assert [line for line in lines if line in wanted] == wanted
        assert lines.count(none) == sum(not part.fields for part in parts)


def test_chinese_reads_back_as_it_was_written(papers: Papers) -> None:
    lines = _text(_paper(papers)).splitlines()
    for said in (
        "臺北市政府",
        "公園處場地使用(一般性活動)",
        "受理機關：公園路燈工程管理處",
        "只在行政區為 士林區 時填寫",
        "身分證字號、居留證號或統一",
        "本人聲明以上填寫內容及所附文件均屬實；如有不實，願負法律責任。",
        "機關填寫欄（申請人免填）",
    ):
        assert said in lines
    assert "1 / 2" in " ".join(lines) and "2 / 2" in " ".join(lines)


def test_a_condition_is_printed_where_there_is_one(papers: Papers) -> None:
    assert _text(_paper(papers, lang="en")).count("Only if District is 士林區 Shilin") == 2
    assert "Only if" not in _text(_paper(papers, "SVC-001", "en"))


def test_what_is_filled_in_is_printed(papers: Papers) -> None:
    found = _text(_paper(papers, values=FILLED))
    for said in (FILLED["applicant.name"], "A123456789", "1200 人", "第一行\n第二行"):
        assert said in found
    # It may break, but nothing is put into it.
    assert FILLED["contact.email"] in _squeezed(found)
    assert FILLED["applicant.name"] not in _text(_paper(papers))


def test_only_what_was_chosen_is_ticked(papers: Papers) -> None:
    blank = _squeezed(_text(_paper(papers)))
    filled = _squeezed(_text(_paper(papers, values=FILLED)))
    # The first one is in the words that tell how to tick.
    assert blank.count("☑") == 1
    assert filled.count("☑") == 5
    assert blank.count("☐") == filled.count("☐") + 4
    for said in ("個人", "英文", "士林區", "活動計畫書及安全維護計畫"):
        assert f"☑{said}" in filled
        assert f"☐{said}" in blank
    assert "☐公司行號" in filled


def test_yes_and_no_are_told_apart(papers: Papers) -> None:
    asked = "answers.newborn"
    yes, no, none = (
        _squeezed(_text(_paper(papers, "SVC-019", values={asked: said})))
        for said in ("yes", "no", "")
    )
    assert "☑是☐否" in yes
    assert "☐是☑否" in no
    assert "☐是☐否" in none
    name = next(one.name for one in FORMS["SVC-001"].parts[-1].fields)
    agreed, refused = (
        _text(_paper(papers, "SVC-001", values={name: said})).count("☑") for said in ("yes", "no")
    )
    assert (agreed, refused) == (2, 1)


def test_a_choice_that_is_none_is_not_lost(papers: Papers) -> None:
    found = _text(_paper(papers, values={"address.district": "不存在區"}))
    assert "不存在區" in found
    assert found.count("☑") == 1


def test_a_label_is_printed_under_the_title_only_when_there_is_one(papers: Papers) -> None:
    label = "Made up for tests; not a service of the city"
    lines = _text(_paper(papers, lang="en", label=label)).splitlines()
    assert lines.index(label) == lines.index("Park venue use (general events)") + 1
    assert label not in _text(_paper(papers, lang="en"))


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_every_font_is_in_the_file_and_no_more_of_it_than_is_used(
    papers: Papers, lang: str
) -> None:
    for pdf in (_paper(papers, lang=lang, values=FILLED), papers.receipt(RECEIPT, lang)):
        names = []
        for line in _ask("pdffonts", pdf).decode().splitlines()[2:]:
            name, *_, embedded, subset, unicode, _number, _generation = line.split()
            assert (embedded, subset, unicode) == ("yes", "yes", "yes"), line
            names.append(name)
        assert {"NotoSansCJKtc-Regular", "NotoSansCJKtc-Bold"} <= {
            name.partition("+")[2].removesuffix("-Identity-H") for name in names
        }
        # The faces of other places draw some characters in another way.
        assert not [name for name in names if re.search("CJK(jp|kr|sc|hk)", name)]
        assert len(pdf) < 250_000


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_a_screen_reader_can_read_it(papers: Papers, lang: str) -> None:
    for pdf, title in (
        (
            _paper(papers, lang=lang),
            "公園處場地使用(一般性活動)" if lang == "zh-TW" else "Park venue use (general events)",
        ),
        (papers.receipt(RECEIPT, lang), "收件收據" if lang == "zh-TW" else "Receipt"),
    ):
        said = _info(pdf)
        assert said["Tagged"] == "yes"
        assert _is_accessible(pdf)
        assert re.fullmatch(r"595\.\d+ x 841\.\d+ pts \(A4\)", said["Page size"])
        with pikepdf.open(BytesIO(pdf)) as opened:
            assert opened.Root.Lang == lang
            assert opened.Root.ViewerPreferences.DisplayDocTitle
            with opened.open_metadata() as metadata:
                assert metadata["dc:title"] == title


def test_headings_tables_and_pictures_are_what_they_look_like(papers: Papers) -> None:
    form = _structure(_paper(papers, lang="en"))
    assert len(re.findall(r"^ *H1 ", form, re.M)) == 1
    # Seven parts, the declaration, and what the office fills in.
    assert len(re.findall(r"^ *H2 ", form, re.M)) == 9
    assert len(re.findall(r"^ *LI ", form, re.M)) == len(FORMS["SVC-025"].parts[5].fields) + 1
    receipt = _structure(papers.receipt(RECEIPT, "en"))
    assert len(re.findall(r"^ *Table", receipt, re.M)) == 1
    assert len(re.findall(r"^ *TH\b", receipt, re.M)) == 2
    assert len(re.findall(r"^ *TD\b", receipt, re.M)) == 2 * len(RECEIPT.answers)
    for pdf, url in (
        (_paper(papers, lang="en"), URL),
        (papers.receipt(RECEIPT, "en"), RECEIPT.follow_url),
    ):
        assert _alternatives(pdf) == [f"QR code: {url}"]


def _alternatives(pdf: bytes) -> list[str]:
    with pikepdf.open(BytesIO(pdf)) as opened:
        return [
            str(one["/Alt"])
            for one in opened.objects
            if isinstance(one, pikepdf.Dictionary) and one.get("/S") == "/Figure"
        ]


@pytest.mark.parametrize("url", [URL, "https://city.example/?q=臺北&x=" + "y" * 120])
def test_the_printed_code_is_that_of_the_address(papers: Papers, url: str) -> None:
    """Module by module, as it is on the rendered page: 25 mm at the right margin of 17 mm."""
    pdf = papers.form(FORMS["SVC-001"], "題", "局", "zh-TW", {}, url)
    shown = _ask("pdftoppm", pdf, "-r", "300", "-gray", "-f", "1", "-l", "1", "-singlefile")
    with Image.open(BytesIO(shown)) as page:
        mm = 300 / 25.4
        right, side = page.width - 17 * mm, 25 * mm
        left = right - side
        column = page.crop((int(left) + 2, 0, int(left) + 6, page.height // 4)).convert("L")
        top = next(y for y in range(column.height) if max(map(column.getpixel, _row(y))) < 128)  # type: ignore[arg-type,type-var]
        matrix = segno.make(url, error="m", micro=False).matrix
        step = side / len(matrix)
        found = [
            [
                page.getpixel((int(left + (x + 0.5) * step), int(top + (y + 0.5) * step))) < 128  # type: ignore[operator]
                for x in range(len(matrix))
            ]
            for y in range(len(matrix))
        ]
    assert found == [[bool(module) for module in row] for row in matrix]


def _row(y: int) -> list[tuple[int, int]]:
    return [(x, y) for x in range(4)]


def test_what_looks_like_markup_is_printed_as_it_is(papers: Papers) -> None:
    wanted = _squeezed(HOSTILE)
    values = {"applicant.name": HOSTILE, "answers.remarks": HOSTILE, "address.district": HOSTILE}
    for pdf, times in (
        (papers.form(FORMS["SVC-001"], HOSTILE, HOSTILE, "en", values, URL, HOSTILE), 6),
        (papers.receipt(RECEIPT, "en"), 1),
    ):
        found = _squeezed(_text(pdf))
        assert found.count(wanted) == times
        assert "root:" not in found


def test_the_sources_reach_no_other_file(papers: Papers) -> None:
    compiler = papers._compiler
    assert compiler.compile(b'#let read-back = read("/form.typ")', format="pdf")
    for path in ("/etc/passwd", "../portal/papers.py", "/../portal/papers.py"):
        with pytest.raises(typst.TypstError):
            compiler.compile(f'#read("{path}")'.encode(), format="pdf")


@pytest.mark.parametrize("one", ["x", "W", "臺", "。", "𠮷", "é", "-", "/"])
def test_the_longest_words_stay_on_the_page(papers: Papers, one: str) -> None:
    values = {"answers.remarks": one * 10_000, "applicant.name": one * 100}
    pdf = _paper(papers, "SVC-001", values=values)
    printed, blank = (
        # Every page has a foot.
        "".join(line for line in _text(made).splitlines() if "表單版本" not in line).count(one)
        for made in (pdf, _paper(papers, "SVC-001"))
    )
    assert printed == blank + 10_100
    boxes = re.findall(r'<word xMin="([\d.]+)" .*?xMax="([\d.]+)"', _bbox(pdf))
    margin = 17 / 25.4 * 72
    # A bracket at the begin of a line has its blank half in the margin.
    assert min(float(left) for left, _ in boxes) >= margin - 5.5
    assert max(float(right) for _, right in boxes) <= 595.28 - margin + 0.5


def _bbox(pdf: bytes) -> str:
    return _ask("pdftotext", pdf, "-bbox").decode()


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("\U00031350", "[U+31350]"),
        ("\U00031351\U00031350\U00031351", "[U+31351][U+31350][U+31351]"),
        ("\ue000", "[U+E000]"),
        ("\U000f0000", "[U+F0000]"),
        # What combines with it takes no known character away.
        ("林\U0001e8d0", "林[U+1E8D0]"),
        ("\U00031350\U0001e8d0", "[U+31350][U+1E8D0]"),
    ],
)
def test_a_character_that_no_font_has_is_named_by_its_number(
    papers: Papers, said: str, wanted: str
) -> None:
    pdf = _paper(papers, values={"applicant.name": f"王{said}明"})
    assert f"王{wanted}明" in _text(pdf)
    assert _is_accessible(pdf)


@pytest.mark.parametrize(
    "said",
    [
        "😀",
        "👨‍👩‍👧",
        "🇹🇼",
        "مرحبا",
        "e\u0301\u0302",
        "म",
        "".join(map(chr, range(0x1F300, 0x1F600))),
    ],
)
def test_no_character_stops_a_paper(papers: Papers, said: str) -> None:
    pdf = _paper(papers, values={"answers.remarks": f"王 {said} 明"})
    assert _is_accessible(pdf)
    assert "A 申請人" in _text(pdf)


@pytest.mark.parametrize("said", ["𠮷", "𨋢", "龘", "é", "ñ", "Ω"])
def test_rare_characters_read_back(papers: Papers, said: str) -> None:
    assert f"王{said}明" in _text(_paper(papers, values={"answers.remarks": f"王{said}明"}))


@pytest.mark.parametrize("said", ["\x00", "\x1b", "\ud800", "\ufffe", "\u202e"])
def test_what_cannot_be_printed_leaves_a_mark(papers: Papers, said: str) -> None:
    pdf = _paper(papers, values={"applicant.name": f"甲{said}乙"})
    assert "甲\ufffd乙" in _text(pdf)


def test_every_line_end_ends_a_line(papers: Papers) -> None:
    pdf = _paper(papers, values={"answers.remarks": "one\r\ntwo\rthree\u2028four"})
    assert "one\ntwo\nthree\nfour" in _text(pdf)


@pytest.mark.parametrize(
    ("lang", "wanted"),
    [
        (
            "zh-TW",
            [
                "育兒津貼",
                "民國115年11月27日（星期五）下午2時05分",
                "社會局",
                "民國115年12月7日（星期一）前辦結",
                "項目 內容",
                "姓名或名稱 𠮷田",
            ],
        ),
        (
            "en",
            [
                "Friday, 27 November 2026, 14:05 (Taipei time)",
                "Decided by Monday, 7 December 2026",
                "Question Your answer",
            ],
        ),
    ],
)
def test_a_receipt_says_all_that_a_citizen_needs(
    papers: Papers, lang: str, wanted: list[str]
) -> None:
    pdf = papers.receipt(RECEIPT, lang)
    found = _text(pdf)
    for said in (*wanted, RECEIPT.number, RECEIPT.password, "6 個工作天", RECEIPT.follow_url):
        assert said in found
    assert _info(pdf)["Pages"] == "1"


def test_a_receipt_without_a_day_gives_the_limit_alone(papers: Papers) -> None:
    without = Receipt(
        **{name: getattr(RECEIPT, name) for name in Receipt.__slots__} | {"due_on": None}
    )
    found = _text(papers.receipt(without, "zh-TW"))
    assert "前辦結" not in found
    assert "6 個工作天" in found


def test_a_receipt_keeps_its_password_out_of_logs() -> None:
    assert RECEIPT.password not in repr(RECEIPT)
    assert "𠮷田" not in repr(RECEIPT)


def test_the_same_input_gives_the_same_bytes(papers: Papers) -> None:
    first = _paper(papers, values=FILLED)
    papers.receipt(RECEIPT, "en")
    assert _paper(papers, values=FILLED) == first
    other = Papers()
    assert _paper(other, values=FILLED) == first
    assert other.receipt(RECEIPT, "en") == papers.receipt(RECEIPT, "en")
    assert _paper(papers, values=FILLED | {"applicant.name": "王"}) != first


async def test_threads_may_ask_at_the_same_time(papers: Papers) -> None:
    some: list[Form] = [FORMS[code] for code in list(FORMS)[:8]]
    alone = [papers.form(one, one.service, "局", "zh-TW", FILLED, URL) for one in some]
    together = await asyncio.gather(
        *(
            asyncio.to_thread(papers.form, one, one.service, "局", "zh-TW", FILLED, URL)
            for one in some
        )
    )
    assert together == alone


def test_without_a_font_it_says_what_to_install(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FontError, match="fonts-noto-cjk"):
            Papers(folder)
