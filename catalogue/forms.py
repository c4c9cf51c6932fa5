"""The city's one form: what each service asks, as data. `python -m catalogue.forms` checks all.

A form is a JSON Schema (what may be in it) and a layout (how it is asked), under a version that
changes with either. Web page, printed page and PDF show the same layout, part by part in the
same order for every service. Both are derived: from services.csv, from what the rules ask
(catalogue/facts.py), and from the parts below. `outside` says what does not follow the format.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from catalogue.building.readings import WAIVABLE
from catalogue.facts import Input, RoutingFacts, load_facts
from catalogue.loader import Catalogue, load_catalogue
from catalogue.rows import Service

Kind = Literal["text", "long_text", "choice", "yes_no", "integer", "date", "phone", "email", "file"]
REMARKS = "answers.remarks"
MOST_DOCUMENTS = 20
# The parts of every form, in their order: code, Chinese, English.
PARTS = (
    ("applicant", "申請人", "Who applies"),
    ("contact", "聯絡方式", "How we reach you"),
    ("address", "地址", "Where you live"),
    ("location", "案件地點", "Where the case lies"),
    ("answers", "申請內容", "What you apply for"),
    ("documents", "應備文件", "Papers to bring or send"),
    ("consents", "免附文件與查詢同意", "Papers that we look up ourselves"),
)
_HAS_LOCATION = ("land", "park")
_NO_PAPER = ("application", "none")


@dataclass(frozen=True, slots=True)
class Choice:
    value: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class When:
    """Asked only when the answer to `field` is one of `values`; of several fields the first
    that has an answer counts."""

    fields: tuple[str, ...]
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """One question. `name` is its path in an application (POST /api/applications).

    `least` and `most` bound a number or a date, `longest` counts characters.
    """

    name: str
    kind: Kind
    zh: str
    en: str
    required: bool = False
    choices: tuple[Choice, ...] = ()
    least: str = ""
    most: str = ""
    longest: int = 0
    unit: str = ""
    when: When | None = None
    hint_zh: str = ""
    hint_en: str = ""
    autocomplete: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    code: str
    zh: str
    en: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Form:
    """The form of one service."""

    service: str
    parts: tuple[Part, ...]

    def fields(self) -> Iterator[Field]:
        for part in self.parts:
            yield from part.fields

    @cached_property
    def layout(self) -> dict[str, Any]:
        return {"parts": [asdict(part) for part in self.parts]}

    @cached_property
    def schema(self) -> dict[str, Any]:
        return _schema(self)

    @cached_property
    def version(self) -> str:
        """Eight characters of the digest of schema and layout."""
        text = json.dumps([self.schema, self.layout], ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def form_of(service: Service, catalogue: Catalogue, routing: RoutingFacts | None = None) -> Form:
    """The form of a service; `routing` is what the rules ask, the city's own when None."""
    routing = routing or load_facts()
    fields: Mapping[str, Iterable[Field]] = {
        "applicant": _applicant(),
        "contact": _contact(),
        "address": _address(catalogue),
        "location": _location(service, catalogue, routing),
        "answers": _answers(service, catalogue, routing),
        "documents": _documents(service, catalogue),
        "consents": _consents(service, catalogue),
    }
    return Form(service.code, tuple(Part(*part, tuple(fields[part[0]])) for part in PARTS))


def forms(catalogue: Catalogue, routing: RoutingFacts | None = None) -> dict[str, Form]:
    """The form of every service, by its code."""
    return {code: form_of(one, catalogue, routing) for code, one in catalogue.services.items()}


def _applicant() -> Iterator[Field]:
    kinds = (Choice("person", "個人", "A person"), Choice("company", "公司行號", "A company"))
    yield Field("applicant.kind", "choice", "申請人身分", "You apply as", True, kinds)
    yield Field(
        "applicant.name", "text", "姓名或名稱", "Full name", True, longest=100, autocomplete="name"
    )
    yield Field(
        "applicant.id_number",
        "text",
        "身分證字號、居留證號或統一編號",
        "National ID, residence permit or company number",
        True,
        longest=20,
        hint_zh="例如 A123456789;公司行號請填 8 碼統一編號",
        hint_en="Such as A123456789; a company gives its 8 digits",
    )


def _contact() -> Iterator[Field]:
    yield Field(
        "contact.phone",
        "phone",
        "手機或電話",
        "Phone",
        longest=30,
        hint_zh="電話與電子郵件至少填一項",
        hint_en="Give a phone or an e-mail address, or both",
        autocomplete="tel",
    )
    yield Field("contact.email", "email", "電子郵件", "E-mail", longest=254, autocomplete="email")
    languages = (Choice("zh-TW", "中文", "Chinese"), Choice("en", "英文", "English"))
    yield Field(
        "contact.language", "choice", "通知語言", "Language of our messages", True, languages
    )


def _districts(catalogue: Catalogue) -> tuple[Choice, ...]:
    return tuple(Choice(one.zh, one.zh, one.en) for one in catalogue.districts.values())


def _address(catalogue: Catalogue) -> Iterator[Field]:
    yield Field("address.district", "choice", "行政區", "District", True, _districts(catalogue))
    yield Field(
        "address.line",
        "text",
        "地址",
        "Street, number and floor",
        True,
        longest=200,
        hint_zh="路街、段、巷弄、號、樓",
        hint_en="Road, section, lane, number, floor",
        autocomplete="street-address",
    )


def _location(service: Service, catalogue: Catalogue, routing: RoutingFacts) -> Iterator[Field]:
    if service.family not in _HAS_LOCATION:
        return
    yield Field(
        "location.district",
        "choice",
        "行政區（與地址不同時填寫）",
        "District, when it is not that of your address",
        choices=_districts(catalogue),
    )
    if (asked := routing.asked.get("side_of_aiguo")) and asked.of(service.code):
        one = routing.inputs["side_of_aiguo"]
        yield _question("location.side_of_aiguo", one, service, routing)


def _answers(service: Service, catalogue: Catalogue, routing: RoutingFacts) -> Iterator[Field]:
    for name, asked in routing.asked.items():
        if not asked.of(service.code) or name in _ELSEWHERE or name.startswith("consents_"):
            continue
        yield _question(f"answers.{name}", routing.inputs[name], service, routing)
    yield Field(
        REMARKS,
        "long_text",
        "說明",
        "What else we should know",
        longest=1000,
        hint_zh="選填",
        hint_en="You may leave this empty",
    )


# What the rules ask that has a field of its own in every form.
_ELSEWHERE = ("service", "district", "side_of_aiguo", "applicant_kind", "channel")


def _question(name: str, one: Input, service: Service, routing: RoutingFacts) -> Field:
    """A question of the rules. It is required where they say that it is never missing."""
    districts = routing.required_in(one.name, service.code)
    choices = tuple(Choice(value, *_side(value)) for value in one.values)
    return Field(
        name,
        "choice" if one.type == "text" else one.type,  # type: ignore[arg-type]
        one.meaning_zh,
        one.meaning_en[:1].upper() + one.meaning_en[1:],
        required=districts is not None,
        choices=choices,
        least="" if one.least is None else str(one.least),
        most="" if one.most is None else str(one.most),
        unit=one.unit,
        when=When(("location.district", "address.district"), tuple(sorted(districts)))
        if districts
        else None,
    )


def _side(value: str) -> tuple[str, str]:
    """How a value of the rules reads, in Chinese and in English."""
    return _VALUES.get(value, (value, value))


_VALUES: Mapping[str, tuple[str, str]] = {
    "north": ("北側", "North"),
    "south": ("南側", "South"),
    "northwest": ("西北側", "North-west"),
    "southeast": ("東南側", "South-east"),
}


def _documents(service: Service, catalogue: Catalogue) -> Iterator[Field]:
    for number, paper in enumerate(service.documents, start=1):
        if paper in _NO_PAPER:
            continue
        english = paper[0].upper() + paper[1:]
        yield Field(f"documents.{number}", "file", catalogue.wordings[paper].zh, english)


def _consents(service: Service, catalogue: Catalogue) -> Iterator[Field]:
    codes = dict.fromkeys(code for one in service.waivable if (code := WAIVABLE.get(one)))
    for code in codes:
        document = catalogue.documents[code]
        yield Field(
            f"consents.{code}",
            "yes_no",
            f"同意本府查詢：{document.zh}",
            f"The city may look up: {document.en}",
            hint_zh="不同意者，請自行檢附",
            hint_en="If you do not agree, bring it yourself",
        )


def _schema(form: Form) -> dict[str, Any]:
    """JSON Schema 2020-12 of the body that an application of this service has."""
    parts: dict[str, dict[str, Any]] = {}
    required: dict[str, list[str]] = {}
    rules: list[dict[str, Any]] = [
        {"anyOf": [_has("contact", "phone"), _has("contact", "email")]},
    ]
    for field in form.fields():
        part, _, name = field.name.partition(".")
        if part in ("documents", "consents"):
            continue
        parts.setdefault(part, {})[name] = _type(field)
        if field.required and field.when is None:
            required.setdefault(part, []).append(name)
        if field.required and field.when is not None:
            rules.append(_when(field))
    consents = [field.name.partition(".")[2] for field in form.fields() if _is_consent(field)]
    properties: dict[str, Any] = {
        "service": {"const": form.service},
        **{
            part: {
                "type": "object",
                "properties": fields,
                "required": required.get(part, []),
                "additionalProperties": False,
            }
            for part, fields in parts.items()
        },
        "consents": {"type": "array", "uniqueItems": True, "items": {"enum": consents}}
        if consents
        else {"type": "array", "maxItems": 0},
    }
    always = ["service", "applicant", "contact", "address"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": always + (["answers"] if "answers" in required else []),
        "additionalProperties": False,
        "allOf": rules,
    }


def _is_consent(field: Field) -> bool:
    return field.name.startswith("consents.")


def _type(field: Field) -> dict[str, Any]:
    match field.kind:
        case "choice":
            return {"enum": [choice.value for choice in field.choices]}
        case "yes_no":
            return {"type": "boolean"}
        case "integer":
            bounds = {"minimum": field.least, "maximum": field.most}
            return {"type": "integer"} | {key: int(said) for key, said in bounds.items() if said}
        case "date":
            return {"type": "string", "format": "date"}
        case "email":
            return {"type": "string", "format": "email", "maxLength": field.longest}
    least = {"minLength": 1} if field.required else {}
    return {"type": "string", "maxLength": field.longest} | least


def _has(*path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in reversed(path):
        found = {"required": [name], "properties": {name: found}} if found else {"required": [name]}
    return found


def _when(field: Field) -> dict[str, Any]:
    """required, under the condition that the first answered field has one of the values."""
    assert field.when is not None
    clauses = []
    earlier: list[dict[str, Any]] = []
    for name in field.when.fields:
        part, _, key = name.partition(".")
        holds = _has(part, key)
        holds["properties"][part] |= {"properties": {key: {"enum": list(field.when.values)}}}
        clauses.append({"allOf": [*({"not": one} for one in earlier), holds]})
        earlier.append(_has(part, key))
    return {"if": {"anyOf": clauses}, "then": _has(*field.name.split("."))}


def outside(form: Form, catalogue: Catalogue, routing: RoutingFacts | None = None) -> list[str]:
    """What of a form is not of the one format; empty when all is."""
    routing = routing or load_facts()
    found = []
    if [part.code for part in form.parts] != [code for code, _, _ in PARTS]:
        found.append("its parts are not those of every form, in their order")
    seen: set[str] = set()
    for part in form.parts:
        for field in part.fields:
            found += [f"{field.name}: {said}" for said in _strange(field, part, seen)]
            seen.add(field.name)
    for name in ("applicant.name", "applicant.id_number", "address.line", REMARKS):
        if name not in seen:
            found.append(f"{name}: is missing")
    for name in routing.required(form.service, ""):
        if name not in _ELSEWHERE and f"answers.{name}" not in seen:
            found.append(f"answers.{name}: the rules ask for it, the form does not")
    return found


def _strange(field: Field, part: Part, seen: set[str]) -> Iterator[str]:
    if field.name.partition(".")[0] != part.code:
        yield f"stands in the part {part.code}"
    if field.name in seen:
        yield "is asked twice"
    if not field.zh or not field.en:
        yield "has no words in one of the languages"
    if (field.kind == "choice") != bool(field.choices):
        yield "has choices and is none, or the other way round"
    if field.kind in ("text", "long_text", "phone", "email") and not field.longest:
        yield "has no longest length"
    for name in field.when.fields if field.when else ():
        if name not in seen and not name.startswith("location."):
            yield f"depends on {name}, which is not asked before"


def main() -> None:
    catalogue = load_catalogue()
    found = forms(catalogue)
    problems = [
        f"{code}: {said}" for code, form in found.items() for said in outside(form, catalogue)
    ]
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(found)} forms, all in the one format")


if __name__ == "__main__":
    main()
