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

from services.notifier.domain import CHANNELS, TEMPLATE_OF_STATUS

FOLDER = Path(__file__).parents[2] / "catalogue" / "messages"
LANGUAGES = ("zh-TW", "en")
# Those of events, and those of statuses; see template_of in domain.py.
KEYS = (
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
_NAMES = {"number", "service_name", "agency_name", "due_on", "track_url"} | _FREE_TEXT
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
    "track_url": "https://cases.example/",
}
# What an event leaves out is empty.
_SPARSE = _SAMPLE | {"agency_name": "", "reason": "", "items": "", "due_on": ""}


class MessagesError(Exception):
    """Texts are missing or broken; `problems` has a line for each, with file and line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text ready to be sent. The subject is one line, and empty for an SMS."""

    subject: str
    text: str


class Messages:
    """The texts of every key in every language for every channel."""

    def __init__(self, templates: Mapping[tuple[str, str], Template]) -> None:
        self._templates = templates

    @classmethod
    def load(cls, folder: Path = FOLDER) -> "Messages":
        """Read and try every text. Raises MessagesError with all problems at once."""
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
        messages._try_all(folder)
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
            return Rendered("", " ".join(text.split()))
        # What an `if` left out leaves blank lines behind.
        paragraphs = re.sub(r"\n{3,}", "\n\n", text) + "\n"
        return Rendered(" ".join(_block(found, "subject", context).split()), paragraphs)

    def _try_all(self, folder: Path) -> None:
        problems = []
        for key, language in self._templates:
            for channel in CHANNELS:
                for sample in (_SAMPLE, _SPARSE):
                    try:
                        rendered = self.render(key, language, channel, sample)
                    except (TemplateError, ValueError) as error:
                        problems.append(f"{folder.name}/{language}/{key}.jinja: {error}")
                        continue
                    if not rendered.text.strip() or (channel == "mail" and not rendered.subject):
                        problems.append(f"{folder.name}/{language}/{key}.jinja: {channel} is empty")
        if problems:
            raise MessagesError(problems)


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
            if name.name in _FREE_TEXT:
                yield f"{name.lineno}: an SMS may not name {name.name}"
