"""What every service's pages and APIs share."""

import asyncpg
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from httpx import ASGITransport, AsyncClient
from pydantic import BaseModel
from structlog.testing import capture_logs

from shared.runtime.web import ProblemError, address_of, new_app, schema_of


async def ready() -> dict[str, bool]:
    return {"postgres": True}


@pytest.fixture
def app() -> FastAPI:
    found = new_app("test", ready)

    @found.get("/text")
    async def text() -> Response:
        return Response("王小明", media_type="text/plain")

    @found.get("/parts")
    async def parts() -> Response:
        return StreamingResponse(iter(["one", "two"]))

    return found


@pytest.fixture
def client(app: FastAPI) -> AsyncClient:
    return AsyncClient(transport=ASGITransport(app), base_url="http://test.example")


@pytest.mark.parametrize("path", ["/text", "/parts", "/health", "/nowhere"])
async def test_head_is_answered_as_get_without_the_body(client: AsyncClient, path: str) -> None:
    full, head = await client.get(path), await client.head(path)

    assert head.status_code == full.status_code
    assert head.headers == full.headers
    assert (full.content, head.content) == (full.content or b"-", b"")


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.InterfaceError("pool is closed"),
        asyncpg.AdminShutdownError(),
        asyncpg.DeadlockDetectedError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_while_the_database_is_away_whoever_asks_is_told_to_come_again(
    app: FastAPI, client: AsyncClient, error: Exception
) -> None:
    @app.get("/away")
    async def away() -> None:
        raise error

    answer = await client.get("/away")

    assert (answer.status_code, answer.json()["type"]) == (503, "urn:casebus:problem:try-again")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_service_with_pages_says_so_in_a_page(app: FastAPI, client: AsyncClient) -> None:
    @app.exception_handler(ProblemError)
    async def page(_: object, error: ProblemError) -> Response:
        return Response(f"<h1>{error.status}</h1>", error.status, media_type="text/html")

    @app.get("/away")
    async def away() -> None:
        raise TimeoutError

    assert (await client.get("/away")).text == "<h1>503</h1>"


async def test_what_is_wrong_here_is_no_503_and_tells_nothing(
    app: FastAPI, client: AsyncClient
) -> None:
    @app.get("/broken")
    async def broken() -> None:
        raise ValueError("a secret")

    answer = await client.get("/broken")

    assert answer.status_code == 500
    assert "secret" not in answer.text


async def test_nonsense_asked_of_the_database_is_no_outage(
    app: FastAPI, client: AsyncClient
) -> None:
    @app.get("/nonsense")
    async def nonsense() -> None:
        raise asyncpg.DataError("invalid input for query argument $1")

    assert (await client.get("/nonsense")).status_code == 500


@pytest.mark.parametrize("error", [TimeoutError(), KeyError("x")], ids=["away", "broken"])
async def test_what_is_in_an_address_is_not_in_a_log(
    app: FastAPI, client: AsyncClient, error: Exception
) -> None:
    @app.get("/apply/{link}")
    async def draft(link: str) -> None:
        raise error

    with capture_logs() as said:
        await client.get("/apply/somebodys-key")

    assert [one["route"] for one in said] == ["/apply/{link}"]
    assert "somebodys-key" not in str([one | {"exc_info": None} for one in said])


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("a socket", "a socket"),
    ],
)
def test_the_addresses_of_one_household_are_one(host: str, address: str) -> None:
    assert address_of(Request({"type": "http", "client": (host, 1), "headers": []})) == address


class Inner(BaseModel):
    text: str


class Outer(BaseModel):
    one: Inner
    more: list[Inner]


def test_a_schema_stands_alone() -> None:
    found = schema_of(Outer)

    assert "$ref" not in str(found)
    assert found["properties"]["one"]["properties"]["text"] == {"title": "Text", "type": "string"}
    assert found["properties"]["more"]["items"] == found["properties"]["one"]
