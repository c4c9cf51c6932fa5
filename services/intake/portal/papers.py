"""Forms and receipts on paper: PDFs that print well and that a screen reader reads (PDF/UA-1).

Typst sets them, from the sources in services/intake/paper and with nothing else in its reach.
What citizens wrote goes to it as JSON, never as markup.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import segno
import typst

from catalogue.forms import Field, Form, Part, When
from services.intake.identity import CITY

_SOURCES = Path(__file__).parents[1] / "paper"
_FONTS = Path("/usr/share/fonts/opentype/noto")
_FAMILIES = ("Noto Sans CJK TC", "Noto Serif CJK TC")
_MONO = "Noto Sans Mono CJK TC"
_CHECKLISTS = ("documents", "consents")
# Millimetres for one line by hand, and for a text of some lines: the fewer questions stand above
# it, the more of the first page it gets.
_LINE = 8.0
_LINES, _MOST_LINES, _PER_QUESTION = 26.0, 60.0, 14.5
# Nothing to print: controls, halves of a character, what turns the direction of a line.
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
# Of private use: every machine draws something else.
_PRIVATE = re.compile(r"[\ue000-\uf8ff\U000f0000-\U0010ffff]")
_NOT_SHOWN = re.compile(r'the text `"(.+?)"` could not be displayed', re.DOTALL)
_ESCAPED = re.compile(r"\\u\{([0-9a-f]+)\}")
_TRIES = 4
_LINE_ENDS = re.compile(r"\r\n|[\r\x0b\x0c\x85\u2028\u2029]")

_WORDS: dict[str, dict[str, Any]] = {
    "zh-TW": {
        "city": "臺北市政府",
        "agency": "受理機關：{agency}",
        "version": "案件代碼 {service}　表單版本 {version}",
        "intro": "請以正楷填寫，並在適用的方格內打勾（☑）。標有 * 的欄位必填。",
        "qr": "QR Code：{url}",
        "qr_form": "掃描開啟線上表單",
        "qr_receipt": "掃描查詢進度",
        "none": "（無）",
        "only": "只在{field}為 {values} 時填寫",
        "or": "或",
        "yes": "是",
        "no": "否",
        "year": "年　　　　　月　　　　　日",
        "documents": "已附上的文件請打勾。",
        "declaration": "聲明與簽章",
        "declared": "本人聲明以上填寫內容及所附文件均屬實；如有不實，願負法律責任。",
        "lines": [
            {"words": "申請人簽名或蓋章", "inside": ""},
            {"words": "日期", "inside": "民國　　　　年　　　　月　　　　日"},
        ],
        "office": "機關填寫欄（申請人免填）",
        "cells": ["案件編號", "收件日期", "收件人員", "備註"],
        "receipt": "收件收據",
        "received": "本府已收到您的申請，請妥善保存本收據。",
        "number": "案件編號",
        "password": "查詢密碼",
        "secret": "以案件編號及查詢密碼可隨時查詢進度。請勿將密碼告訴他人；"
        "本府人員不會向您索取密碼。",
        "service": "申請項目",
        "received_at": "收件時間",
        "who": "承辦機關",
        "until": "辦理期限",
        "due": "{due}前辦結",
        "follow": "查詢網址",
        "answers": "您填寫的內容",
        "header": ["項目", "內容"],
        "help": "如有疑問，請撥 1999 市民熱線（外縣市請撥 02-2720-8889），並告知案件編號。",
    },
    "en": {
        "city": "Taipei City Government",
        "agency": "For: {agency}",
        "version": "Service {service} · Form version {version}",
        "intro": "Write clearly and tick (☑) the boxes that apply. "
        "Questions with a * must be answered.",
        "qr": "QR code: {url}",
        "qr_form": "Scan to open this form on the web",
        "qr_receipt": "Scan to follow your case",
        "none": "(none)",
        "only": "Only if {field} is {values}",
        "or": " or ",
        "yes": "Yes",
        "no": "No",
        "year": "Year / month / day",
        "documents": "Tick what you hand in with this form.",
        "declaration": "Declaration and signature",
        "declared": "I declare that what is written here and the papers that I hand in are true. "
        "I know that the law holds me to it.",
        "lines": [
            {"words": "Signature or seal of who applies", "inside": ""},
            {"words": "Date (year / month / day)", "inside": ""},
        ],
        "office": "For the office only",
        "cells": ["Case number", "Received on", "Received by", "Remarks"],
        "receipt": "Receipt",
        "received": "The city has your application. Please keep this receipt.",
        "number": "Case number",
        "password": "Password",
        "secret": "With both you can follow your case at any time. Tell nobody the password; "
        "nobody who works for the city will ask you for it.",
        "service": "Service",
        "received_at": "Received",
        "who": "Who has it",
        "until": "Until when",
        "due": "Decided by {due}",
        "follow": "On the web",
        "answers": "What you told us",
        "header": ["Question", "Your answer"],
        "help": "For help call 1999 (from outside Taipei: 02-2720-8889) and give the case number.",
    },
}


class FontError(RuntimeError):
    """There is no font with Chinese characters."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"no font of {' or '.join(_FAMILIES)} in {folder}: "
            "install Debian's package fonts-noto-cjk"
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the city says when it has an application. `limit_words` is the limit in words;
    `title` is the service's name, `service` its code."""

    number: str
    service: str
    title: str
    agency: str
    received_at: datetime
    due_on: date | None
    limit_words: str
    # Not for logs.
    password: str = field(repr=False)
    follow_url: str = field(repr=False)
    answers: Sequence[tuple[str, str]] = field(repr=False)


class Papers:
    """Makes PDFs; of any thread, one at a time. `fonts` is a folder, Debian's when None."""

    def __init__(self, fonts: Path | None = None) -> None:
        folder = fonts or _FONTS
        # Typst looks where it stands for a folder that is not there.
        own = (
            typst.Fonts(
                include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(folder)]
            ).families()
            if folder.is_dir()
            else []
        )
        family = next((one for one in _FAMILIES if one in own), None)
        if family is None:
            raise FontError(folder)
        self._fonts = {"font": family, "mono": _MONO if _MONO in own else family}
        # The others, of the machine and of Typst, are for characters that Noto has not.
        found = typst.Fonts(font_paths=[str(folder)])
        self._compiler = typst.Compiler(root=str(_SOURCES), font_paths=found)
        self._lock = Lock()

    def form(
        self,
        form: Form,
        title: str,
        agency: str,
        lang: str,
        values: Mapping[str, str],
        reference: str,
        label: str = "",
    ) -> bytes:
        """The paper form of a service, with what of it is filled in already.

        `values` are by the names of the fields: a choice's value, "yes" or "no", else the text.
        `reference` is the address in the QR code; `label` is said so that nobody overlooks it.
        """
        words = _WORDS[lang]
        version = words["version"].format(service=form.service, version=form.version)
        return self._pdf(
            "form.typ",
            _common(lang, title, reference, words["qr_form"])
            | {
                "label": label,
                "agency": words["agency"].format(agency=agency) if agency else "",
                "version": version,
                "footer": f"{words['city']}　{version}",
                "intro": words["intro"],
                "none": words["none"],
                "parts": [
                    _part(letter, part, form, lang, values)
                    for letter, part in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", form.parts, strict=False)
                ],
                "declaration": {
                    "title": words["declaration"],
                    "words": words["declared"],
                    "lines": words["lines"],
                },
                "office": {"title": words["office"], "cells": words["cells"]},
            },
        )

    def receipt(self, receipt: Receipt, lang: str) -> bytes:
        """What a citizen takes home: one page, more when the answers are long."""
        words = _WORDS[lang]
        limits = [receipt.limit_words]
        if receipt.due_on:
            limits.insert(0, words["due"].format(due=_day(receipt.due_on, lang)))
        facts = (
            (words["service"], f"{receipt.title}\n{receipt.service}"),
            (words["received_at"], _time(receipt.received_at, lang)),
            (words["who"], receipt.agency),
            (words["until"], "\n".join(one for one in limits if one)),
            (words["follow"], receipt.follow_url),
        )
        return self._pdf(
            "receipt.typ",
            _common(lang, words["receipt"], receipt.follow_url, words["qr_receipt"])
            | {
                "footer": f"{words['city']}　{receipt.number}",
                "intro": words["received"],
                "number": {"words": words["number"], "said": receipt.number},
                "password": {"words": words["password"], "said": receipt.password},
                "secret": words["secret"],
                "facts": [{"words": name, "said": said} for name, said in facts if said],
                "table": {"title": words["answers"], "header": words["header"]},
                "answers": [list(one) for one in receipt.answers],
                "help": words["help"],
            },
        )

    def _pdf(self, source: str, data: dict[str, Any]) -> bytes:
        data = _each_text(_printable, data)
        with self._lock:
            for _ in range(_TRIES):
                try:
                    return self._compiled(source, data, "ua-1")
                except typst.TypstError as error:
                    # The standard wants that every character can be seen. What no font has is
                    # named by its number, which says more than an empty box.
                    if not (unseen := _not_shown(error.diagnostic)):
                        raise
                    data = _each_text(partial(_numbered, unseen), data)
            return self._compiled(source, data)

    def _compiled(self, source: str, data: Any, *standards: str) -> bytes:
        said = self._fonts | {"data": json.dumps(data, ensure_ascii=False)}
        made = self._compiler.compile(
            str(_SOURCES / source),
            format="pdf",
            sys_inputs=said,
            pdf_standards=list(standards),  # type: ignore[arg-type]
            timestamp=0,
        )
        assert isinstance(made, bytes)
        return made


def _common(lang: str, title: str, url: str, qr_words: str) -> dict[str, Any]:
    language, _, region = lang.partition("-")
    words = _WORDS[lang]
    return {
        "lang": language,
        "region": region or None,
        "city": words["city"],
        "title": title,
        "qr": _qr(url),
        "qr_alt": words["qr"].format(url=url),
        "qr_words": qr_words,
    }


def _qr(url: str) -> str:
    made = BytesIO()
    segno.make(url, error="m", micro=False).save(made, kind="svg", border=0, xmldecl=False)
    return made.getvalue().decode()


def _part(
    letter: str, part: Part, form: Form, lang: str, values: Mapping[str, str]
) -> dict[str, Any]:
    checklist = part.code in _CHECKLISTS
    rows = [_row(one, form, lang, values.get(one.name, "")) for one in part.fields]
    intro = _WORDS[lang]["documents"] if part.code == "documents" and rows else ""
    hints = {row["hint"] for row in rows}
    if checklist and len(hints) == 1 and len(rows) > 1 and not intro:
        intro = hints.pop()
        rows = [row | {"hint": ""} for row in rows]
    return {
        "letter": letter,
        "name": _in(lang, part),
        "intro": intro,
        "checklist": checklist,
        "own_page": part.code == _CHECKLISTS[0],
        "rows": rows,
    }


def _row(one: Field, form: Form, lang: str, value: str) -> dict[str, Any]:
    words = _WORDS[lang]
    choices = [(choice.value, _in(lang, choice)) for choice in one.choices]
    if one.kind == "yes_no":
        choices = [("yes", words["yes"]), ("no", words["no"])]
    known = value in dict(choices)
    if value and one.kind == "integer" and one.unit:
        value = f"{value} {_unit(one, lang)}".rstrip()
    return {
        "label": _in(lang, one),
        "hint": one.hint_zh if lang == "zh-TW" else one.hint_en,
        "required": one.required,
        "when": _when(one.when, form, lang) if one.when else "",
        "options": [{"words": said, "ticked": key == value} for key, said in choices],
        "across": 6 if lang == "zh-TW" else 5,
        "ticked": value not in ("", "no"),
        "height": _height(one, form),
        "unit": words["year"] if one.kind == "date" else _unit(one, lang),
        # What is none of the choices is written beside them, not lost.
        "value": "" if known else value,
    }


def _in(lang: str, one: Any) -> str:
    said: str = one.zh if lang == "zh-TW" else one.en
    return said


def _height(one: Field, form: Form) -> float:
    if one.kind != "long_text":
        return _LINE
    above = sum(field.name.startswith(("location.", "answers.")) for field in form.fields()) - 1
    return max(_LINES, _MOST_LINES - _PER_QUESTION * above)


def _unit(one: Field, lang: str) -> str:
    return _UNITS.get(one.unit, {}).get(lang, one.unit)


_UNITS: Mapping[str, Mapping[str, str]] = {
    "people": {"zh-TW": "人"},
    "m2": {"zh-TW": "平方公尺", "en": "m²"},
}


def _when(when: When, form: Form, lang: str) -> str:
    """A condition in words: of several fields the first that is filled in counts."""
    words = _WORDS[lang]
    # The last one is always answered, and has the plainest name of what is meant.
    meant = next(one for one in form.fields() if one.name == when.fields[-1])
    names = {choice.value: choice for choice in meant.choices}
    said = []
    for value in when.values:
        choice = names.get(value)
        here, there = (choice.zh, choice.en) if choice else (value, value)
        said.append(here if lang == "zh-TW" or here == there else f"{here} {there}")
    return str(words["only"].format(field=_in(lang, meant), values=words["or"].join(said)))


def _day(day: date, lang: str) -> str:
    if lang == "zh-TW":
        weekday = "一二三四五六日"[day.weekday()]
        return f"民國{day.year - 1911}年{day.month}月{day.day}日（星期{weekday}）"
    return f"{_WEEKDAYS[day.weekday()]}, {day.day} {_MONTHS[day.month - 1]} {day.year}"


_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def _time(moment: datetime, lang: str) -> str:
    here = moment.astimezone(CITY)
    if lang == "zh-TW":
        half = "上午" if here.hour < 12 else "下午"
        return f"{_day(here, lang)}{half}{here.hour % 12 or 12}時{here.minute:02}分"
    return f"{_day(here, lang)}, {here:%H:%M} (Taipei time)"


def _printable(text: str) -> str:
    """With one kind of line end, and a mark for what cannot be printed."""
    text = _UNPRINTABLE.sub("\ufffd", _LINE_ENDS.sub("\n", text))
    return _PRIVATE.sub(lambda found: _number(found[0]), text)


def _number(one: str) -> str:
    return f"[U+{ord(one):04X}]"


def _not_shown(diagnostic: str) -> re.Pattern[str] | None:
    """What Typst's error complains of: characters, and those that combine with one another."""
    texts = {
        _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
        for text in _NOT_SHOWN.findall(diagnostic)
    }
    some = sorted((text for text in texts if not text.isascii()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, some))) if some else None


def _numbered(unseen: re.Pattern[str], text: str) -> str:
    return unseen.sub(lambda found: _numbers(found[0]), text)


def _numbers(unseen: str) -> str:
    """Of several characters the first may be known: if it is not, Typst says so next time."""
    kept = unseen[0] if len(unseen) > 1 else ""
    return kept + "".join(map(_number, unseen[len(kept) :]))


def _each_text(change: Callable[[str], str], said: Any) -> Any:
    if isinstance(said, str):
        return change(said)
    if isinstance(said, dict):
        return {key: _each_text(change, one) for key, one in said.items()}
    if isinstance(said, list):
        return [_each_text(change, one) for one in said]
    return said
