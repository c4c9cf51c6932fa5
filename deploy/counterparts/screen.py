"""The page and the JSON that the mailbox and the phone share."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Query
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deploy.counterparts.texts import TEXTS
from shared.runtime.web import ProblemError

_PAGES = Path(__file__).parent / "pages"
_CITY = ZoneInfo("Asia/Taipei")
_PER_PAGE = 20
Language = Literal["zh-TW", "en"]


@dataclass(frozen=True, slots=True)
class Message:
    """What arrived. `subject` is a mail's, `parts` an SMS's; the other is None."""

    id: str
    to: str
    text: str
    at: datetime
    subject: str | None = None
    parts: int | None = None


def add_routes(
    app: FastAPI, kind: Literal["mailbox", "phone"], messages: Callable[[], Sequence[Message]]
) -> None:
    """`messages` gives all that arrived, the oldest first."""
    pages = Environment(
        loader=FileSystemLoader(_PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["city_time"] = lambda at: at.astimezone(_CITY).strftime("%Y-%m-%d %H:%M:%S")

    def newest(number: str) -> list[Message]:
        found = (one for one in messages() if number in f"{one.subject} {one.text}")
        return list(found)[::-1]

    def render(name: str, lang: Language, **context: Any) -> HTMLResponse:
        template = pages.get_template(name)
        texts = TEXTS[lang] | TEXTS[lang][kind]
        return HTMLResponse(template.render(lang=lang, kind=kind, t=texts, **context))

    @app.get("/", response_class=HTMLResponse)
    async def home(
        lang: Language = "zh-TW",
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
        number: Annotated[str, Query(max_length=40)] = "",
    ) -> HTMLResponse:
        found = newest(number.strip())
        first = (page - 1) * _PER_PAGE
        return render(
            "list.html.jinja",
            lang,
            page=page,
            number=number.strip(),
            total=len(found),
            messages=found[first : first + _PER_PAGE],
            more=len(found) > first + _PER_PAGE,
        )

    @app.get("/messages/{message_id}", response_class=HTMLResponse)
    async def message(message_id: str, lang: Language = "zh-TW") -> HTMLResponse:
        for one in messages():
            if one.id == message_id:
                return render("message.html.jinja", lang, message=one)
        raise ProblemError(404, "message.not_found", "no such message")

    @app.get("/api/messages")
    async def api(
        number: Annotated[str, Query(max_length=40)] = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in asdict(one).items() if value is not None}
            for one in newest(number)[:limit]
        ]

    @app.get("/style.css")
    async def style() -> Response:
        return Response((_PAGES / "style.css").read_text(), media_type="text/css")
