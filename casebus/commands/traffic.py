"""`casebus traffic`: realistic applications at a steady rate, and clerks who answer them."""

import asyncio
import contextlib
import itertools
import json
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Annotated, Any
from uuid import uuid4

import httpx
import typer
from rich.console import Console

from casebus.running import clerk_secret, running
from casebus.sample import Sample, applications
from catalogue import load_catalogue
from services.backoffice.clerks import Clerk, token

_ITEMS = ("身分證明文件 / proof of identity", "存摺影本 / copy of the passbook")
_AT_ONCE = 64


@dataclass(slots=True)
class Tally:
    """What was sent, and what was answered."""

    submitted: int = 0
    accepted: int = 0
    refused: int = 0
    unexpected: int = 0
    unavailable: int = 0
    numbers: list[str] = field(default_factory=list)


def traffic(
    cases: Annotated[int, typer.Option(help="How many applications.", min=1)] = 100,
    rate: Annotated[float, typer.Option(help="Applications a second.", min=0.01)] = 10.0,
    seed: Annotated[int, typer.Option(help="The same seed sends the same; 0 is a new one.")] = 0,
    forever: Annotated[bool, typer.Option(help="Go on until stopped.")] = False,
    clerks: Annotated[bool, typer.Option(help="Let clerks work on the cases too.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="End with one line for machines.")
    ] = False,
) -> None:
    """Send applications as citizens would: all services and districts, some of them wrong."""
    system = running()
    chosen = seed or random.SystemRandom().randrange(1, 2**31)
    tally = asyncio.run(
        _run(system.urls["intake"], system.urls["backoffice"], chosen, cases, rate, forever, clerks)
    )
    if as_json:
        print(
            json.dumps(
                {
                    "submitted": tally.submitted,
                    "accepted": tally.accepted,
                    "refused": tally.refused,
                    "unexpected": tally.unexpected,
                    "unavailable": tally.unavailable,
                    "seed": chosen,
                    "numbers": tally.numbers,
                }
            )
        )
    else:
        Console().print(
            f"{tally.submitted} submitted, {tally.accepted} accepted, {tally.refused} refused "
            f"(as wrong ones should be), {tally.unexpected} answered otherwise than expected, "
            f"{tally.unavailable} not received"
        )
        if tally.numbers:
            Console().print(f"follow one: casebus trace {tally.numbers[-1]}")
    if tally.unexpected or tally.unavailable:
        raise SystemExit(1)


async def _run(
    intake: str, backoffice: str, seed: int, cases: int, rate: float, forever: bool, clerks: bool
) -> Tally:
    tally = Tally()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with httpx.AsyncClient(base_url=intake, timeout=30) as client:
        tasks: set[asyncio.Task[None]] = set()
        office = asyncio.create_task(_clerks(backoffice, seed)) if clerks else None
        samples = applications(load_catalogue(), seed)
        began = time.monotonic()
        for n in itertools.count():
            if stopping.is_set() or (n >= cases and not forever):
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, began + n / rate - time.monotonic())):
                    await stopping.wait()
            while len(tasks) >= _AT_ONCE:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(_submit(client, next(samples), tally, forever))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        if office is not None:
            office.cancel()
            await asyncio.gather(office, return_exceptions=True)
    return tally


async def _submit(client: httpx.AsyncClient, sample: Sample, tally: Tally, forever: bool) -> None:
    """Send one, again with the same key when nobody answered: that is what the key is for."""
    tally.submitted += 1
    key = str(uuid4())
    for delay_s in (0.2, 0.5, 1, 2, 4, 8, 0):
        try:
            answer = await client.post(
                "/api/applications", json=sample.body, headers={"Idempotency-Key": key}
            )
        except httpx.TransportError:
            await asyncio.sleep(delay_s)
            continue
        if answer.status_code < 500:
            break
        await asyncio.sleep(delay_s)
    else:
        tally.unavailable += 1
        return
    if answer.status_code == 202:
        tally.accepted += 1
        if not forever:
            tally.numbers.append(answer.json()["number"])
    else:
        tally.refused += 1
    expected = 202 if sample.expected == "accepted" else 422
    if answer.status_code != expected:
        tally.unexpected += 1
        print(
            f"casebus: {answer.status_code} instead of {expected} ({sample.why}): {answer.text}",
            file=sys.stderr,
        )


async def _clerks(backoffice: str, seed: int) -> None:
    """Clerks of every agency who take up cases, ask for corrections, return and complete."""
    chance = random.Random(seed)
    secret = clerk_secret()
    agencies = list(load_catalogue().agencies)
    async with httpx.AsyncClient(base_url=backoffice, timeout=30) as client:
        while True:
            agency = chance.choice(agencies)
            headers = {"Authorization": f"Bearer {token(secret, Clerk('示範承辦人', agency))}"}
            with contextlib.suppress(httpx.HTTPError):
                found = await client.get("/api/inbox", params={"limit": 5}, headers=headers)
                for case in found.json().get("cases", []):
                    name, body = _next(case, agencies, chance)
                    if name:
                        path = f"/api/cases/{case['number']}/{name}"
                        await client.post(path, json=body, headers=headers)
            await asyncio.sleep(0.1)


def _next(
    case: dict[str, Any], agencies: list[str], chance: random.Random
) -> tuple[str, dict[str, Any]]:
    """What a clerk would do with this case now; nothing, when it waits for the citizen."""
    if case["status"] == "ASSIGNED":
        if case["agency"] in ("TRIAGE", "RDEC"):
            return "return", {"reason": "人工分派 / placed by hand", "proposed": "DOSW"}
        if chance.random() < 0.03:
            return "return", {"reason": "非本機關權責 / not our business"}
        if chance.random() < 0.1:
            return "request-correction", {"items": [chance.choice(_ITEMS)]}
        return "accept", {}
    if case["status"] in ("ACCEPTED", "UNDER_REVIEW", "CORRECTED"):
        if chance.random() < 0.05:
            return "complete", {"outcome": "REJECTED", "reason": "不符資格 / not eligible"}
        return "complete", {"outcome": "APPROVED"}
    return "", {}
