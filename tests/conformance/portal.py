"""The portal on a real PostgreSQL, and a browser without JavaScript to walk through it."""

import io
import json
import os
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from html.parser import HTMLParser
from tempfile import SpooledTemporaryFile
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlencode, urlsplit
from uuid import UUID, uuid4

import pikepdf
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from pytest import MonkeyPatch
from starlette import formparsers

from services.intake import main, portal
from services.intake.clerks import Tokens
from services.intake.draftstore import PostgresDrafts
from services.intake.handlers import Step
from services.intake.settings import IntakeSettings
from services.intake.store import PostgresSteps
from shared.contract.events import ApplicationConfirmationRequested, Event
from shared.contract.wire import Record, decode
from shared.runtime.postgres import Pool, answers
from shared.runtime.vault import Vault
from shared.runtime.web import new_app
from tests.conformance.conftest import Database
from tests.examples import NOW

URL = "https://portal.example"
# Tables that the portal alone has.
_TABLES = ("intake.drafts", "intake.attachments", "intake.uploads", "intake.guesses")
# One citizen of SVC-056 with all that is needed.
WANG = {
    "applicant.kind": "person",
    "applicant.name": "王小明",
    "applicant.id_number": "A123456789",
    "contact.phone": "0912345678",
    "contact.email": "wang@example.com",
    "address.district": "大安區",
    "address.line": "和平東路二段1號3樓",
}
LIN = WANG | {
    "applicant.name": "林美玉",
    "applicant.id_number": "F223456786",
    "contact.phone": "0987654321",
    "contact.email": "lin@example.com",
}
E = TypeVar("E", bound=Event)
File = tuple[str, str, bytes]


# --- Pages


@dataclass
class Control:
    """A control of a form: what it sends is decided by `kind`, `value` and `on`."""

    kind: str
    name: str
    value: str = ""
    on: bool = True
    options: list[tuple[str, bool]] = field(default_factory=list)


@dataclass
class Form:
    """A form as the page has it."""

    action: str
    multipart: bool
    controls: list[Control] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)

    @property
    def shown(self) -> dict[str, str]:
        """What each control holds: of radio buttons the one that is pressed, of boxes `value`."""
        found: dict[str, str] = {}
        for one in self.controls:
            if one.kind in ("radio", "checkbox"):
                found.setdefault(one.name, "")
                if one.on:
                    found[one.name] = one.value
            elif one.kind != "file":
                found[one.name] = one.value
        return found

    def fill(self, typed: Mapping[str, str | bytes]) -> list[tuple[str, str | bytes]]:
        """What a browser sends after somebody has typed this; "" takes a tick away.

        Raises AssertionError when the page does not ask for it.
        """
        missing = typed.keys() - {one.name for one in self.controls}
        assert not missing, f"the form does not ask for {sorted(missing)}"
        found: list[tuple[str, str | bytes]] = []
        for one in self.controls:
            said = typed.get(one.name, self.shown.get(one.name, ""))
            if one.kind == "file":
                continue
            if one.kind in ("radio", "checkbox"):
                if said == one.value:
                    found.append((one.name, said))
                continue
            if one.kind == "select":
                assert said in dict(one.options), f"{one.name} has no option {said!r}"
            if one.kind == "textarea" and isinstance(said, str):
                said = re.sub(r"\r?\n", "\r\n", said)
            found.append((one.name, said))
        return found

    def file_names(self) -> list[str]:
        return [one.name for one in self.controls if one.kind == "file"]


_INLINE = ("a", "span", "strong", "b", "time")


class Page(HTMLParser):
    """A page: its words, forms and links, and what it says is wrong with which field."""

    def __init__(self, response: Response) -> None:
        super().__init__(convert_charrefs=True)
        self.response = response
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.errors: dict[str, str] = {}
        self.others: dict[str, str] = {}
        self.alerts: list[str] = []
        self.notices: list[str] = []
        self.numbers: list[str] = []
        self.lang = ""
        self.words: list[str] = []
        self._stack: list[tuple[str, dict[str, str], list[str]]] = []
        self._field = ""
        self.feed(response.text)
        self.close()
        self.text = _plain("".join(self.words))

    def form(self, action: str) -> Form:
        """The one whose address ends so."""
        (found,) = [one for one in self.forms if one.action.endswith(action)]
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag not in _INLINE:
            self.words.append(" ")
        if tag == "html":
            self.lang = said["lang"]
        elif tag == "form":
            here = self.response.request.url.path
            multipart = said.get("enctype") == "multipart/form-data"
            self.forms.append(Form(said.get("action") or here, multipart))
        elif tag == "input":
            kind = said.get("type", "text")
            on = "checked" in said
            control = Control(kind, said.get("name", ""), said.get("value", ""), on)
            self.forms[-1].controls.append(control)
        elif tag == "select":
            self.forms[-1].controls.append(Control("select", said["name"]))
        elif tag == "option":
            control = self.forms[-1].controls[-1]
            control.options.append((said["value"], "selected" in said))
            if "selected" in said or len(control.options) == 1:
                control.value = said["value"]
        elif tag == "textarea":
            self.forms[-1].controls.append(Control("textarea", said["name"]))
        elif tag == "button":
            self.forms[-1].buttons.append((said.get("name", ""), said.get("value", "")))
        elif tag == "a":
            self.links.append(said.get("href", ""))
        if "data-field" in said:
            self._field = said["data-field"]
        if tag not in ("input", "meta", "link", "br", "img", "hr"):
            self._stack.append((tag, said, []))

    def handle_endtag(self, tag: str) -> None:
        while self._stack:
            opened, said, words = self._stack.pop()
            self._closed(opened, said, "".join(words))
            if opened == tag:
                return

    def _closed(self, tag: str, said: Mapping[str, str], words: str) -> None:
        classes, plain = said.get("class", "").split(), _plain(words)
        if tag == "textarea":
            # A browser leaves out a first line end.
            self.forms[-1].controls[-1].value = words.removeprefix("\n")
        elif "error" in classes and said.get("id", "").startswith("error-"):
            name = said["id"].removeprefix("error-").replace("-", ".", 1)
            self.errors[name] = plain
        elif "error" in classes:
            self.others[self._field] = plain
        elif "number" in classes:
            self.numbers.append(plain)
        if said.get("role") == "alert":
            self.alerts.append(plain)
        elif said.get("role") == "status":
            self.notices.append(plain)

    def handle_data(self, data: str) -> None:
        for _, _, words in self._stack:
            words.append(data)
        if not any(tag in ("textarea", "script", "style", "title") for tag, _, _ in self._stack):
            self.words.append(data)


def _plain(words: str) -> str:
    return " ".join(words.split())


def pdf(mark: str = "one") -> bytes:
    """A sound PDF; another one for each mark."""
    made = pikepdf.new()
    made.add_blank_page(page_size=(200, 200))
    made.pages[0].Contents = made.make_stream(f"% {mark}".encode())
    output = io.BytesIO()
    made.save(output, static_id=True)
    return output.getvalue()


def multipart(parts: Iterable[tuple[str, str | bytes] | tuple[str, str, bytes]]) -> bytes:
    """(name, value) or (name, file name, content), as browsers write them; boundary `edge`."""
    found = b""
    for name, *rest in parts:
        head = f'--edge\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if len(rest) == 2:
            head += f'; filename="{rest[0]}"\r\nContent-Type: application/octet-stream'.encode()
        value = rest[-1]
        found += head + b"\r\n\r\n" + (value.encode() if isinstance(value, str) else value)
        found += b"\r\n"
    return found + b"--edge--\r\n"


# --- The portal


class Part(SpooledTemporaryFile[bytes]):
    """A file of a posted form; closed between the tests where the portal has left it open."""

    made: ClassVar[list["Part"]] = []

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.made.append(self)

    @classmethod
    def close_all(cls) -> None:
        for one in cls.made:
            one.close()
        cls.made.clear()


@dataclass
class City:
    """The portal, as main.py wires it, with a clock that stands until it is set."""

    app: FastAPI
    client: AsyncClient
    database: Database
    pool: Pool
    vault: Vault
    shop: portal.Shop
    files: portal.Files
    tokens: Tokens
    now: datetime = NOW
    rung: int = 0

    @property
    def drafts(self) -> PostgresDrafts:
        return self.shop.drafts

    async def anew(self) -> None:
        """Without what an earlier test left."""
        await self.database.admin.execute(f"TRUNCATE {', '.join(_TABLES)}")
        self.client.cookies.clear()
        Part.close_all()
        self.now, self.rung = NOW, 0

    # Walking

    async def get(self, path: str) -> Page:
        return Page(await self.client.get(path))

    async def press(
        self,
        form: Form,
        typed: Mapping[str, str | bytes] | None = None,
        do: str = "",
        files: Sequence[File] = (),
        more: Sequence[tuple[str, str | bytes]] = (),
    ) -> Response:
        """Fill in and send a form as it stands in its page. `more` is what it does not have."""
        sent: list[Any] = [*form.fill(typed or {}), *more]
        if do:
            (button,) = {one for one in form.buttons if one[1] == do}
            sent.append(button)
        if not form.multipart:
            assert not files
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return await self.client.post(form.action, content=urlencode(sent), headers=headers)
        chosen = {name for name, _, _ in files}
        assert chosen <= set(form.file_names())
        sent += [(name, "", b"") for name in form.file_names() if name not in chosen]
        return await self.post(form.action, [*sent, *files])

    async def post(self, path: str, parts: Iterable[Any]) -> Response:
        headers = {"Content-Type": "multipart/form-data; boundary=edge"}
        return await self.client.post(path, content=multipart(parts), headers=headers)

    async def begun(self, code: str = "SVC-056", language: str = "zh-TW") -> str:
        """The address of a new draft."""
        page = await self.get(f"/{language}/services/{code}/apply")
        return went(await self.press(page.form("/apply")))

    async def save(
        self,
        path: str,
        typed: Mapping[str, str | bytes],
        do: str = "save",
        files: Sequence[File] = (),
    ) -> Response:
        """Open the form, type this into it and press the button."""
        page = await self.get(path)
        return await self.press(page.form(path), typed, do, files)

    async def reviewed(self, path: str, typed: Mapping[str, str | bytes] = WANG) -> Page:
        """The page on which a draft is looked at once more."""
        went(await self.save(path, typed, "review"), f"{path}/review")
        return await self.get(f"{path}/review")

    async def sent(
        self, typed: Mapping[str, str] = WANG, path: str = "", files: Sequence[File] = ()
    ) -> str:
        """The address of a draft that waits for its confirmation."""
        path = path or await self.begun()
        if files:
            went(await self.save(path, {}, files=files))
        page = await self.reviewed(path, typed)
        went(await self.press(page.form("/review"), {"agree": "yes"}), f"{path}/sent")
        return path

    async def link(self) -> str:
        """The path of the confirmation that was asked for last."""
        event = (await self.told(ApplicationConfirmationRequested))[-1]
        return urlsplit((await self.unsealed(event))["confirm_url"]).path

    async def received(
        self, typed: Mapping[str, str] = WANG, path: str = "", files: Sequence[File] = ()
    ) -> tuple[str, str]:
        """Number and password of a new case."""
        await self.sent(typed, path, files)
        page = await self.get(await self.link())
        (form,) = page.forms
        done = await self.get(went(await self.press(form)))
        number, password = done.numbers
        return number, password

    async def followed(self, number: str, password: str, language: str = "zh-TW") -> str:
        """The signed address of a case."""
        page = await self.get(f"/{language}/case")
        typed = {"number": number, "password": password}
        return went(await self.press(page.form("/case"), typed))

    # Behind the scenes

    async def events(self) -> list[Event]:
        """What the outbox holds, in its order."""
        return [event for row in await self.outbox() if (event := decode(record(row)))]

    async def told(self, kind: type[E]) -> list[E]:
        return [event for event in await self.events() if isinstance(event, kind)]

    async def outbox(self) -> list[Any]:
        query = "SELECT * FROM intake.outbox ORDER BY xid, seq"
        return list(await self.database.admin.fetch(query))

    async def unsealed(self, event: Any) -> dict[str, Any]:
        async with self.pool.acquire() as connection:
            key = await self.vault.open(connection, event.case_id, "test")
        found: dict[str, Any] = json.loads(key.unseal(event.sealed))
        return found

    async def count(self, table: str) -> int:
        found: int = await self.database.admin.fetchval(f"SELECT count(*) FROM {table}")
        return found

    async def case_id(self, number: str) -> UUID:
        query = "SELECT case_id FROM intake.applications WHERE number = $1"
        found: UUID = await self.database.admin.fetchval(query, number)
        return found

    async def happened(self, number: str, **said: Any) -> None:
        """A step of the case, as the projection writes it."""
        step = Step(**({"happened_at": self.now, "kind": "status"} | said))
        case_id = await self.case_id(number)
        async with self.pool.acquire() as connection, connection.transaction():
            await PostgresSteps(connection).put(uuid4(), case_id, step)

    async def much_later(self) -> datetime:
        """When all that is kept for a while has had its while, by either clock."""
        there: datetime = await self.database.admin.fetchval("SELECT now()")
        return max(there, self.now) + timedelta(days=31)


def went(response: Response, to: str = "") -> str:
    """Where a 303 leads to."""
    assert response.status_code == 303, (response.status_code, response.text)
    found = response.headers["location"]
    assert not to or found == to
    return found


def record(row: Any) -> Record:
    headers = tuple(zip(row["header_names"], row["header_values"], strict=True))
    return Record(row["topic"], 0, 0, 0, row["key"], headers, row["value"])


@asynccontextmanager
async def opened(database: Database, pool: Pool) -> AsyncIterator[City]:
    master_key = b64encode(os.urandom(32)).decode()
    settings = IntakeSettings(
        kafka="none:9092",
        postgres=database.uri("intake"),
        master_key=master_key,
        citizen_secret="c" * 32,
        counter_secret="t" * 32,
        portal_url=URL,
    )

    async def check() -> dict[str, bool]:
        return {"postgres": await answers(pool)}

    def ring() -> None:
        city.rung += 1

    app = new_app("casebus intake", check, main._BODY_LIMIT_BYTES)
    tokens = Tokens(settings.counter_secret.get_secret_value())
    shop, files = main._portal(settings, pool, tokens, ring)
    links = replace(shop.links, now=lambda: city.now)
    shop = replace(shop, now=lambda: city.now, links=links)
    gate = replace(files.gate, now=lambda: city.now)
    files = replace(files, now=lambda: city.now, gate=gate, links=links)
    portal.add_routes(app, shop, files, tokens)
    transport = ASGITransport(app)
    async with AsyncClient(transport=transport, base_url=URL) as client:
        vault = Vault(settings.master_key)
        city = City(app, client, database, pool, vault, shop, files, tokens)
        with MonkeyPatch.context() as patch:
            patch.setattr(formparsers, "SpooledTemporaryFile", Part)
            yield city
    Part.close_all()
    await shop.inspector.close()
