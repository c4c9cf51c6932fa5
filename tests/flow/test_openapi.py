"""The APIs against what they say of themselves at /openapi.json, whatever is sent to them."""

import asyncio
from functools import cache
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from services.backoffice.clerks import Clerk, token
from tests.city import City, application

INTAKE = {
    "GET /api/cases/{number}",
    "GET /api/services/{code}/form",
    "GET /documents/{token}",
    "POST /api/applications",
}
OFFICE = {
    "GET /api/cases/{number}",
    "GET /api/inbox",
    "POST /api/cases/{number}/accept",
    "POST /api/cases/{number}/complete",
    "POST /api/cases/{number}/request-correction",
    "POST /api/cases/{number}/return",
}
# What no schema can say: an ID number has a check digit, a service must exist.
BEYOND_A_SCHEMA = [checks.positive_data_acceptance]
MANY = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@cache
def api_of(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


def routes_of(city: City, service: str) -> set[str]:
    url = city.running.urls[service]
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    return {f"{method.upper()} {path}" for path, found in paths.items() for method in found}


def operation_of(city: City, service: str, route: str) -> Any:
    method, _, path = route.partition(" ")
    return api_of(city.running.urls[service])[path][method]


def bearer(city: City, agency: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(city.secrets.clerk, Clerk('王小明', agency))}"}


def test_no_route_is_left_out(city: City) -> None:
    assert routes_of(city, "intake") == INTAKE
    assert routes_of(city, "backoffice") == OFFICE


@pytest.mark.parametrize(
    ("service", "route", "mode"),
    [
        (service, route, mode)
        for service, routes in (("intake", INTAKE), ("backoffice", OFFICE))
        for route in sorted(routes)
        for mode in GenerationMode
        # Where there is only a path, any text is a sound one.
        if mode is GenerationMode.POSITIVE or route.startswith("POST")
    ],
)
def test_whatever_is_sent_is_answered_as_it_is_said(
    city: City, service: str, route: str, mode: GenerationMode
) -> None:
    headers = bearer(city, "DOSW") if service == "backoffice" else {}
    operation = operation_of(city, service, route)

    @MANY
    @given(operation.as_strategy(generation_mode=mode))
    def answered(case: Any) -> None:
        case.call_and_validate(headers=headers, excluded_checks=BEYOND_A_SCHEMA)

    answered()


@pytest.mark.parametrize("command", ["accept", "complete", "request-correction", "return"])
async def test_of_a_case_that_is_there_too(city: City, command: str) -> None:
    receipt = await city.submit(application("SVC-001"))
    await city.at(receipt, "IPC", "ASSIGNED")
    operation = operation_of(city, "backoffice", f"POST /api/cases/{{number}}/{command}")
    seen: set[int] = set()

    @settings(MANY, max_examples=40)
    @given(operation.as_strategy(path_parameters={"number": receipt["number"]}))
    def answered(case: Any) -> None:
        answer = case.call_and_validate(
            headers=bearer(city, "IPC"), excluded_checks=BEYOND_A_SCHEMA
        )
        seen.add(answer.status_code)

    await asyncio.to_thread(answered)
    assert seen & {200, 409, 422}


async def test_a_case_whose_data_was_destroyed_says_so(city: City) -> None:
    receipt = await city.submit(application("SVC-001"))
    await city.at(receipt, "IPC", "ASSIGNED")
    connection = await city.database()
    try:
        await connection.execute(
            "SELECT vault.shred_key(case_id) FROM intake.applications WHERE number = $1",
            receipt["number"],
        )
    finally:
        await connection.close()
    operation = operation_of(city, "backoffice", "GET /api/cases/{number}")
    case = operation.Case(
        path_parameters={"number": receipt["number"]}, headers=bearer(city, "IPC")
    )

    answer = await asyncio.to_thread(case.call_and_validate)

    assert answer.status_code == 410


async def test_what_goes_well_is_answered_as_it_is_said_too(city: City) -> None:
    """A case's way by the API: each answer is of its schema."""

    async def asked(service: str, route: str, **said: Any) -> Any:
        case = operation_of(city, service, route).Case(**said)
        answer = await asyncio.to_thread(case.call_and_validate)
        assert answer.status_code in (200, 202)
        return answer.json()

    body = application("SVC-001")
    sent = await asked("intake", "POST /api/applications", body=body)
    number = sent["number"]
    case = await city.at(sent, "IPC", "ASSIGNED")
    path = {"number": number}
    found = await asked(
        "intake",
        "GET /api/cases/{number}",
        path_parameters=path,
        headers={"X-Case-Password": sent["password"]},
    )
    assert found["agency"] == case["agency"] == "IPC"
    assert await asked(
        "intake", "GET /api/services/{code}/form", path_parameters={"code": "SVC-001"}
    )
    clerk = bearer(city, "IPC")
    assert (await asked("backoffice", "GET /api/inbox", headers=clerk))["cases"]
    for route, said in (
        ("GET /api/cases/{number}", {}),
        ("POST /api/cases/{number}/accept", {"body": {}}),
        (
            "POST /api/cases/{number}/request-correction",
            {"body": {"reason": "unclear", "items": ["passbook"]}},
        ),
    ):
        await asked("backoffice", route, path_parameters=path, headers=clerk, **said)
