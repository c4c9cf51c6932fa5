"""The portal's two languages: texts, dates, and which of two names to show.

Texts stand in the templates in English; locale/zh_TW.po has the Chinese. `python -m
services.intake.texts` writes new ones into it, to be translated.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.dates import format_date, format_datetime
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from services.intake.identity import CITY

FOLDER = Path(__file__).parent
PO = FOLDER / "locale" / "zh_TW.po"


@dataclass(frozen=True)
class Language:
    """`tag` is what stands in addresses and in <html lang>."""

    tag: str
    locale: str
    name: str
    texts: Mapping[str, str]

    def text(self, english: str, **values: object) -> str:
        """A text with {names} filled in."""
        found = self.texts.get(english) or english
        return found.format(**values) if values else found

    def pick(self, zh: str, en: str) -> str:
        return zh if self.tag == "zh-TW" else en

    def day(self, day: date) -> str:
        """2026年11月27日 星期五, or Friday, 27 November 2026."""
        return format_date(day, "full", locale=self.locale)

    def moment(self, at: datetime) -> str:
        """Day and time in the city."""
        return format_datetime(at.astimezone(CITY), "d MMMM y, HH:mm" if self.tag == "en" else
                               "y年M月d日 HH:mm", locale=self.locale)  # fmt: skip

    def listed(self, parts: list[str]) -> str:
        return ("、" if self.tag == "zh-TW" else ", ").join(parts)


def _chinese() -> dict[str, str]:
    with PO.open("rb") as file:
        found = read_po(file, locale="zh_TW", abort_invalid=True)
    return {str(one.id): str(one.string) for one in found if one.id and one.string}


@cache
def languages() -> Mapping[str, Language]:
    """By tag; the first is the city's own."""
    return {
        "zh-TW": Language("zh-TW", "zh_Hant_TW", "中文", _chinese()),
        "en": Language("en", "en_GB", "English", {}),
    }


def said() -> set[str]:
    """Every English text of the templates and of the portal's code."""
    found = extract_from_dir(
        FOLDER,
        [("pages/**.jinja", "jinja2"), ("portal/**.py", "python")],
        keywords={"_": None, "text": None, "N_": None},
    )
    return {message for _, _, message, _, _ in found if isinstance(message, str)}


def main() -> None:
    """Bring zh_TW.po up to date: new texts are added without Chinese, old ones go."""
    known = _chinese() if PO.exists() else {}
    catalog = Catalog(locale="zh_TW", project="casebus", charset="utf-8")
    texts = said()
    for english in sorted(texts):
        catalog.add(english, known.get(english, ""))
    out = BytesIO()
    write_po(out, catalog, width=0, omit_header=True)
    PO.write_bytes(out.getvalue())
    missing = sorted(texts - known.keys())
    print(f"{len(texts)} texts, {len(missing)} without Chinese", file=sys.stderr)
    print("\n".join(missing))


if __name__ == "__main__":
    main()
