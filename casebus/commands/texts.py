"""`casebus notices check` and `preview`: the texts of messages, without a city that runs."""

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer
from pydantic import ValidationError

from casebus.running import end
from catalogue import load_catalogue
from services.notifier.domain import CHANNELS, notices_of
from services.notifier.handlers import TAKEN
from services.notifier.messages import (
    FOLDER,
    KEYS,
    LANGUAGES,
    Messages,
    MessagesError,
    context_of,
    names_of,
    sample,
)
from shared.contract.events import Event

_TYPES = {model.type: model for model in TAKEN}
Language = Annotated[str, typer.Option("--lang", help="zh-TW or en; both when left out.")]


def check(
    folder: Annotated[Path, typer.Argument(help="A folder of texts; the city's own.")] = FOLDER,
) -> None:
    """Is every text there, in both languages, sound, and short enough?"""
    messages = _messages(folder)
    longest = max(
        messages.render(key, language, "sms", sample(language)).segments
        for key in KEYS
        for language in LANGUAGES
    )
    print(f"{len(KEYS)} texts in {len(LANGUAGES)} languages, SMS of {longest} parts at most: sound")


def preview(
    event: Annotated[Path, typer.Argument(help="A JSON file with an event; - is stdin.")],
    lang: Language = "",
    channel: Annotated[str, typer.Option(help="sms or mail; both when left out.")] = "",
    price: Annotated[str, typer.Option(help="What a part of an SMS costs, in TWD.")] = "",
    folder: Annotated[Path, typer.Option(help="A folder of texts.")] = FOLDER,
) -> None:
    """What citizens would be told of an event: the texts, and of an SMS its parts and cost."""
    for wanted, known in ((lang, LANGUAGES), (channel, CHANNELS)):
        if wanted and wanted not in known:
            end(f"{wanted!r} is none of {', '.join(known)}")
    cost = _price(price)
    found = _event(event)
    messages = _messages(folder)
    notices = notices_of(found, names_of(found, load_catalogue()))
    if not notices:
        print(f"of {found.type} citizens are told nothing")
        return
    for notice in notices:
        for language in LANGUAGES:
            if (channel and notice.channel != channel) or (lang and language != lang):
                continue
            made_up = sample(language)
            context = context_of(notice, language, made_up["track_url"], made_up["preferences_url"])
            context["confirm_url"] = made_up["confirm_url"]
            text = messages.render(notice.template, language, notice.channel, context)
            print(
                f"--- {notice.channel}, {language}: {notice.template}{_length(text.segments, cost)}"
            )
            if text.subject:
                print(f"{text.subject}\n")
            print(text.text)


def _length(segments: int, cost: Decimal | None) -> str:
    if not segments:
        return ""
    parts = f", {segments} part{'s' if segments > 1 else ''}"
    return parts if cost is None else f"{parts}, TWD {cost * segments}"


def _price(text: str) -> Decimal | None:
    try:
        found = Decimal(text) if text else None
    except InvalidOperation:
        end(f"--price: {text!r} is no amount of TWD, such as 0.75")
    if found is not None and not (found.is_finite() and found >= 0):
        end(f"--price: {text!r} is no amount of TWD, such as 0.75")
    return found


def _messages(folder: Path) -> Messages:
    if not folder.is_dir():
        end(f"{folder}: there is no such folder")
    try:
        return Messages.load(folder, load_catalogue())
    except MessagesError as error:
        for problem in error.problems:
            print(problem)
        print(f"{len(error.problems)} problems", file=sys.stderr)
        raise SystemExit(1) from None


def _event(path: Path) -> Event:
    """An event from its body with its `type`; what is the same in every event may be left out."""
    try:
        raw = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        body: Any = json.loads(raw)
    except (OSError, UnicodeDecodeError) as error:
        end(f"{path}: cannot be read ({type(error).__name__})")
    except ValueError as error:
        end(f"{path}: this is no JSON: {error}")
    if not isinstance(body, dict) or body.get("type") not in _TYPES:
        end(f'{path}: "type" must be one of {", ".join(_TYPES)}')
    ids = {name: str(uuid4()) for name in ("id", "case_id", "cause", "assignment")}
    usual = ids | {
        "source": "preview",
        "time": datetime.now(UTC).isoformat(),
        "number": sample("en")["number"],
        "received_at": datetime.now(UTC).isoformat(),
        "facts": {},
        "sealed": "",
    }
    try:
        return _TYPES[body["type"]].model_validate(usual | body)
    except ValidationError as error:
        for one in error.errors(include_input=False, include_url=False):
            where = ".".join(str(part) for part in one["loc"])
            print(f"{path}: {where}: {one['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
