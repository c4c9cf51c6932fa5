"""The texts of notices, from catalogue/messages, checked as a whole when they are loaded.

A file `LANGUAGE/KEY.jinja` has the blocks `subject`, `mail` and `sms`. Templates may name only
what a notice's context has, use `if` and a date filter, and nothing else: a text that loops or
computes is refused with its file and line. An SMS may not name the free text of a clerk (reason,
items): it may be personal, and an SMS lies open on a locked screen.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from catalogue import Catalogue
from services.notifier.channels.segments import segment
from services.notifier.domain import CHANNELS, TEMPLATE_OF_STATUS, Notice
from shared.contract.events import Event

FOLDER = Path(__file__).parents[2] / "catalogue" / "messages"
LANGUAGES = ("zh-TW", "en")
# Those of events, and those of statuses; see template_of in domain.py.
KEYS = (
    "confirm",
    "preferences",
    "received",
    "assigned",
    "reassigned",
    "triage",
    "step_completed",
    "approved",
    "rejected",
    *TEMPLATE_OF_STATUS.values(),
)
_FREE_TEXT = frozenset({"reason", "items"})
_NAMES = {
    "number",
    "service_name",
    "agency_name",
    "due_on",
    "correct_by",
    "track_url",
    "preferences_url",
    "confirm_url",
} | _FREE_TEXT
# A link of its own length would cost every text message a part; but for the one that is about it.
_IN_MAILS_ONLY = _FREE_TEXT | {"preferences_url"}
_ABOUT_THE_LINK = "preferences.jinja"
_MOST_PARTS = 4
_BLOCKS = ("subject", "mail", "sms")
_ALLOWED = (
    nodes.Template,
    nodes.Block,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.Name,
    nodes.Filter,
)
_SAMPLE = {
    "number": "20261124-0000123-9",
    "service_name": "臺北市育兒津貼",
    "agency_name": "大安區公所",
    "reason": "缺少文件",
    "items": "戶籍謄本、存摺影本",
    "due_on": "2026-12-01",
    "correct_by": "2026-12-09",
    "track_url": "https://cases.example/",
    "preferences_url": "https://cases.example/p/ab-abcdefghijklmnop",
    "confirm_url": "https://cases.example/zh-TW/confirm/abcdefghijklmnop",
}
# What an event leaves out is empty.
_SPARSE = _SAMPLE | dict.fromkeys(
    ("agency_name", "reason", "items", "due_on", "correct_by", "preferences_url"), ""
)


class MessagesError(Exception):
    """Texts are missing or broken; `problems` has a line for each, with file and line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text ready to be sent. The subject is one line, and empty for an SMS; `segments` are the
    parts that a phone joins, 0 for a mail."""

    subject: str
    text: str
    segments: int = 0


class Messages:
    """The texts of every key in every language for every channel."""

    def __init__(self, templates: Mapping[tuple[str, str], Template]) -> None:
        self._templates = templates

    @classmethod
    def load(cls, folder: Path = FOLDER, catalogue: Catalogue | None = None) -> "Messages":
        """Read and try every text, with the longest names of `catalogue` too. Raises MessagesError
        with all problems at once."""
        environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(folder), undefined=StrictUndefined
        )
        environment.filters = {"long_date": long_date, "roc_date": roc_date}
        templates: dict[tuple[str, str], Template] = {}
        problems: list[str] = []
        for language in LANGUAGES:
            for key in KEYS:
                name = f"{language}/{key}.jinja"
                found = list(_problems(environment, folder / name))
                problems += [f"{folder.name}/{name}:{problem}" for problem in found]
                if not found:
                    templates[key, language] = environment.get_template(name)
        if problems:
            raise MessagesError(problems)
        messages = cls(templates)
        messages._try_all(folder, catalogue)
        return messages

    def render(
        self, template: str, language: str, channel: str, context: Mapping[str, Any]
    ) -> Rendered:
        """The text of `template` in `language` for `channel` ("sms" or "mail").

        `context` has every name of `_NAMES`, each a string; raises KeyError for a text that
        does not exist and jinja2.UndefinedError for a name that is missing.
        """
        found = self._templates[template, language]
        text = _block(found, channel, context).strip()
        if channel == "sms":
            line = " ".join(text.split())
            return Rendered("", line, len(segment(line, 0).parts) if line else 0)
        # What an `if` left out leaves blank lines behind.
        paragraphs = re.sub(r"\n{3,}", "\n\n", text) + "\n"
        return Rendered(" ".join(_block(found, "subject", context).split()), paragraphs)

    def _try_all(self, folder: Path, catalogue: Catalogue | None) -> None:
        problems = []
        for key, language in self._templates:
            contexts = [_SAMPLE, _SPARSE]
            if catalogue is not None:
                contexts.append(_longest(catalogue, language))
            for channel in CHANNELS:
                for context in contexts:
                    where = f"{folder.name}/{language}/{key}.jinja"
                    try:
                        rendered = self.render(key, language, channel, context)
                    except (TemplateError, ValueError) as error:
                        problems.append(f"{where}:1: {error}")
                        continue
                    if not rendered.text.strip() or (channel == "mail" and not rendered.subject):
                        problems.append(f"{where}:1: {channel} is empty")
                    if rendered.segments > _MOST_PARTS:
                        problems.append(
                            f"{where}:1: an SMS has {_MOST_PARTS} parts at most; with the longest "
                            f"names of the catalogue this has {rendered.segments}"
                        )
        if problems:
            raise MessagesError(problems)


def _longest(catalogue: Catalogue, language: str) -> dict[str, str]:
    """A context with the longest names that there are."""
    zh = language == "zh-TW"
    services = (one.name_zh if zh else one.name_en for one in catalogue.services.values())
    agencies = (one.zh if zh else one.en for one in catalogue.agencies.values())
    return _SAMPLE | {
        "service_name": max(services, key=len),
        "agency_name": max(agencies, key=len),
    }


def names_of(event: Event, catalogue: Catalogue) -> dict[str, Any]:
    """The names of an event's service and agency, by language; empty where it has none."""
    service = catalogue.services.get(getattr(event, "service", ""))
    agency = catalogue.agencies.get(getattr(event, "agency", ""))
    return {
        "service_name": {
            "zh-TW": service.name_zh if service else "",
            "en": service.name_en if service else "",
        },
        "agency_name": {"zh-TW": agency.zh if agency else "", "en": agency.en if agency else ""},
    }


def context_of(
    notice: Notice, language: str, track_url: str, preferences_url: str
) -> dict[str, str]:
    """What a notice's template may name, each a string."""
    context = dict(notice.context)
    names = {name: context[name][language] for name in ("service_name", "agency_name")}
    items = "、" if language == "zh-TW" else ", "
    return {
        "due_on": "",
        "correct_by": "",
        "reason": "",
        **context,
        **names,
        "items": items.join(context.get("items", ())),
        "track_url": track_url,
        "preferences_url": preferences_url,
        "confirm_url": "",
    }


def sample(language: str) -> dict[str, str]:
    """A made-up context, for those who read the texts."""
    if language == "zh-TW":
        return dict(_SAMPLE)
    return _SAMPLE | {
        "service_name": "Childcare allowance",
        "agency_name": "Daan District Office",
        "reason": "papers are missing",
        "items": "household registration transcript, copy of the passbook",
    }


def roc_date(iso: str) -> str:
    """2026-12-01 as 115年12月1日, the calendar of the Republic."""
    day = date.fromisoformat(iso)
    return f"{day.year - 1911}年{day.month}月{day.day}日"


def long_date(iso: str) -> str:
    """2026-12-01 as 1 December 2026."""
    day = date.fromisoformat(iso)
    return f"{day.day} {day:%B} {day.year}"


def _block(template: Template, name: str, context: Mapping[str, Any]) -> str:
    return "".join(template.blocks[name](template.new_context(dict(context))))


def _problems(environment: ImmutableSandboxedEnvironment, file: Path) -> Iterator[str]:
    """What is wrong with one file, each "line: why"."""
    try:
        tree = environment.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield "1: the file is missing"
        return
    except TemplateError as error:
        yield f"{getattr(error, 'lineno', 1)}: {error.message}"
        return
    blocks = {block.name: block for block in tree.find_all(nodes.Block)}
    if missing := [name for name in _BLOCKS if name not in blocks]:
        yield f"1: no block named {', '.join(missing)}"
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            yield f"{node.lineno}: {type(node).__name__.lower()} is not for messages"
        elif isinstance(node, nodes.Name) and node.name not in _NAMES:
            yield f"{node.lineno}: nothing is called {node.name}"
        elif isinstance(node, nodes.Filter) and node.name not in environment.filters:
            yield f"{node.lineno}: no filter is called {node.name}"
    if "sms" in blocks:
        for name in blocks["sms"].find_all(nodes.Name):
            about = name.name == "preferences_url" and file.name == _ABOUT_THE_LINK
            if name.name in _IN_MAILS_ONLY and not about:
                yield f"{name.lineno}: an SMS may not name {name.name}"
