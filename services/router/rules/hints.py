"""What was probably meant by a value that cannot be read: the end of an error's sentence."""

import re
import unicodedata

from services.router.rules.errors import unseen

# Signs that people and their spreadsheets write, and what the cells have for them.
_DASHES = dict.fromkeys("‐‑‒–—―−", "-")
_SIGNS = str.maketrans({**_DASHES, "、": ";", "≥": ">=", "≤": "<=", "~": "..", "～": ".."})
_DATE = re.compile(r"([0-9]{2,4})[-/.年]\s*([0-9]{1,2})[-/.月]\s*([0-9]{1,2})日?")
INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,14})")


def folded(text: str) -> str:
    """In small letters and half-width signs."""
    return unicodedata.normalize("NFKC", text.translate(_SIGNS)).casefold()


def date_hint(text: str) -> str:
    if found := _DATE.fullmatch(text):
        year, month, day = map(int, found.groups())
        # 115 is a year of the Republic, 26 may be anything.
        year += 1911 if 99 < year < 1000 else 0
        plain = f"{year}-{month:02}-{day:02}"
        return f"; write {plain}" if year > 999 else "; write the year with four digits"
    return _common_hint(text) or ("; write it as 2026-11-24" if re.search("[0-9]", text) else "")


def number_hint(text: str) -> str:
    plain = text.replace(",", "").replace("_", "").replace(" ", "")
    if plain != text and INTEGER.fullmatch(plain):
        return f"; write {plain}"
    if re.fullmatch(r"-?[0-9]+\.0*", text):
        return f"; write {text.partition('.')[0]}"
    if text == "-0":
        return "; write 0"
    if re.fullmatch(r"-?0[0-9]+", text):
        return "; leave out the leading zeros"
    if re.fullmatch(r"-?[0-9]{16,}", text):
        return ": more than 15 digits"
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?[Ee]\+?[0-9]+", text):
        return ": a spreadsheet has shortened it; write all digits, in a column of text"
    if found := re.fullmatch(r"([0-9]+)\s*-\s*([0-9]+)", text):
        return f"; a range is written {found[1]}..{found[2]}"
    return _common_hint(text)


def _common_hint(text: str) -> str:
    if '"' in text:
        return "; only texts are quoted"
    if len(text.split()) > 1:
        return "; values are separated by ';'"
    if hidden := unseen(text):
        return f"; it holds {hidden}, which nobody sees: type it anew"
    return ""
