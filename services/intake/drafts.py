"""What a citizen has begun: the form as typed, what is wrong with it, what it becomes. Pure.

The answers are kept as they were typed, by the names of the form's fields, right or wrong, so
that nothing typed is ever lost.
"""

import hashlib
import hmac
import json
import re
import unicodedata
from base64 import b32encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ValidationError

from catalogue import Catalogue
from catalogue.facts import load_facts
from catalogue.forms import Field, Form
from services.intake.domain import ApplicationForm, Checked, FieldError, check
from services.intake.identity import (
    InvalidValue,
    address_line,
    company_number,
    email,
    personal_id,
    phone,
)

Channel = Literal["online", "counter", "phone"]
LONGEST_VALUE = 8000
_TRUE, _FALSE = "yes", "no"


@dataclass(frozen=True, slots=True)
class Attached:
    """An uploaded document: which paper of the form it is, and what it is kept by."""

    field: str
    name: str
    digest: str
    media_type: str
    pages: int
    size: int

    def told(self, url: str) -> dict[str, object]:
        """As it stands in what is sealed: `url` is where it can be fetched."""
        return {
            "name": self.name,
            "media_type": self.media_type,
            "pages": self.pages,
            "bytes": self.size,
            "url": url,
        }


@dataclass(frozen=True, slots=True)
class Draft:
    """`values` are the answers as typed, by field. `state`: open, sent (the citizen has yet to
    follow the link), or received (it is a case)."""

    case_id: UUID
    service: str
    channel: Channel
    filed_by: str
    language: str
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    documents: tuple[Attached, ...] = ()
    revision: int = 1
    state: str = "open"
    number: str | None = None
    expires_at: datetime | None = None

    def sealed_json(self) -> bytes:
        """The personal part, to be sealed."""
        documents = [
            [one.field, one.name, one.digest, one.media_type, one.pages, one.size]
            for one in self.documents
        ]
        said = {"values": dict(self.values), "documents": documents}
        return json.dumps(said, ensure_ascii=False).encode()

    def opened(self, clear: bytes) -> "Draft":
        """With what was sealed."""
        said = json.loads(clear)
        return replace(
            self,
            values=said["values"],
            documents=tuple(Attached(*one) for one in said["documents"]),
        )


def typed(form: Form, given: Mapping[str, str]) -> dict[str, str]:
    """The answers to this form's questions; what else was sent is left out."""
    return {
        one.name: cleaned(given[one.name])
        for one in form.fields()
        if one.kind != "file" and one.name in given
    }


def cleaned(text: str) -> str:
    """One normal form, one kind of line end, no NUL, no end of blanks; Big5 read as Latin-1
    becomes what it was."""
    # Cut first: to normalise a long run of accents takes time by the square of its length.
    text = _from_big5(text[:LONGEST_VALUE])
    text = "".join(one for one in text if one != "\x00" and not "\ud800" <= one <= "\udfff")
    return re.sub(r"\r\n?", "\n", unicodedata.normalize("NFC", text)).strip()


def _from_big5(text: str) -> str:
    """What an old program pasted or sent as Big5 arrives as Latin-1: 王小明 as ¤ý¤p©ú.

    The first bytes of common characters are signs in Latin-1, never letters: a name that is
    written with accents has none of them and stays as it is.
    """
    try:
        found = text.encode("latin-1").decode("big5")
    except UnicodeError:
        return text
    chinese = [one for one in found if ord(one) > 0x7F]
    plain = all(unicodedata.category(one) in ("Lo", "Po", "Ps", "Pe") for one in chinese)
    signs = sum(one.encode("big5")[0] in _SIGNS for one in chinese)
    return found if len(chinese) >= 2 and plain and signs * 2 >= len(chinese) else text


# In Latin-1 the signs from ¤ to ¿, without ª and º, which follow letters and numbers.
_SIGNS = frozenset(range(0xA4, 0xC0)) - {0xAA, 0xBA}


def is_asked(one: Field, values: Mapping[str, str]) -> bool:
    """Whether a question counts, after what was answered before it."""
    if one.when is None:
        return True
    answered = next((values[name] for name in one.when.fields if values.get(name)), "")
    return answered in one.when.values


def verify(
    draft: Draft, form: Form, catalogue: Catalogue
) -> tuple[Checked | None, list[FieldError]]:
    """The application that the draft makes, or None and what is wrong with each field."""
    errors = list(_wrong(form, draft.values))
    if errors:
        return None, errors
    try:
        said = ApplicationForm.model_validate(body(draft, form))
    except ValidationError as error:
        return None, [
            FieldError(".".join(map(str, item["loc"])), f"{item['msg']} / 這個欄位的內容無法讀取")
            for item in error.errors()
        ]
    return check(said, catalogue, channel=draft.channel)


def _wrong(form: Form, values: Mapping[str, str]) -> Iterator[FieldError]:
    """Of each field the first thing that is wrong, as far as it can be told from the field."""
    for one in form.fields():
        value = values.get(one.name, "")
        if one.name == "contact.phone" and _unreachable(values):
            yield FieldError(one.name, "give a phone or an e-mail address / 請填寫電話或電子郵件")
        elif not value:
            if one.required and is_asked(one, values):
                yield FieldError(one.name, "answer this / 請填寫這一欄")
        elif one.longest and len(value) > one.longest:
            yield FieldError(
                one.name,
                f"{len(value)} characters; at most {one.longest} fit / "
                f"共 {len(value)} 字，最多 {one.longest} 字",
            )
        elif broken := unreadable(value):
            yield FieldError(
                one.name,
                f"these characters cannot be read, type them again: {broken} / "
                f"以下字元無法辨識，請重新輸入：{broken}",
            )
        elif said := _invalid(one, value, values):
            yield FieldError(one.name, said)


def _invalid(one: Field, value: str, values: Mapping[str, str]) -> str:
    """Why the answer is none; empty when it is one."""
    try:
        match one.name:
            case "applicant.id_number":
                person = values.get("applicant.kind", "person") != "company"
                (personal_id if person else company_number)(value)
            case "contact.phone":
                phone(value)
            case "contact.email":
                email(value)
            case "address.line":
                address_line(value)
            case name if name.startswith("answers.") and is_asked(one, values):
                if one.kind == "choice" and value not in {choice.value for choice in one.choices}:
                    en, zh = (
                        mark.join(getattr(choice, tag) for choice in one.choices)
                        for mark, tag in ((" or ", "en"), ("、", "zh"))
                    )
                    return f"choose one: {en} / 請選擇：{zh}"
                asked = load_facts().inputs.get(name.removeprefix("answers."))
                if asked is not None and not asked.is_open:
                    asked.read(_read(one, value))
    except InvalidValue as error:
        return f"{error.message_en} / {error.message_zh}"
    except ValueError as error:
        return str(error)
    return ""


def _unreachable(values: Mapping[str, str]) -> bool:
    return not values.get("contact.phone") and not values.get("contact.email")


def unreadable(text: str) -> str:
    """The characters that no register could keep: controls, private ones, what was broken."""
    found = [one for one in text if one == "\ufffd" or (_is_none(one) and one != "\n")]
    return " ".join(dict.fromkeys(f"U+{ord(one):04X}" for one in found[:5]))


def _is_none(one: str) -> bool:
    # Python's table ends somewhere: newer characters of names are in the planes 2 and 3.
    newer = 0x20000 <= ord(one) < 0x40000 and (ord(one) & 0xFFFE) != 0xFFFE
    return not newer and unicodedata.category(one) in ("Cc", "Co", "Cs", "Cn")


def body(draft: Draft, form: Form) -> dict[str, Any]:
    """The draft as the body of POST /api/applications."""
    values = draft.values
    found: dict[str, Any] = {"service": draft.service, "consents": []}
    for one in form.fields():
        part, _, name = one.name.partition(".")
        value = values.get(one.name, "")
        if not value or one.kind == "file" or not is_asked(one, values):
            continue
        if part == "consents":
            if value == _TRUE:
                found["consents"].append(name)
            continue
        found.setdefault(part, {})[name] = _read(one, value)
    location = found.get("location")
    if location and "district" not in location:
        location["district"] = values.get("address.district", "")
    return found


def _read(one: Field, value: str) -> Any:
    match one.kind:
        case "integer":
            plain = unicodedata.normalize("NFKC", value).replace(",", "").strip()
            return int(plain) if re.fullmatch(r"-?[0-9]{1,15}", plain) else value
        case "yes_no":
            return {_TRUE: True, _FALSE: False}.get(value, value)
        case "date":
            return unicodedata.normalize("NFKC", value)
    return value


def secret_link(secret: bytes, case_id: UUID, purpose: str) -> str:
    """80 bits that open one draft for one purpose; derived, so that they are kept nowhere."""
    digest = hmac.digest(secret, f"{purpose}:".encode() + case_id.bytes, hashlib.sha256)
    return b32encode(digest[:10]).decode().lower()
