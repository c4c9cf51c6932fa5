"""The load generator, a process of its own: applications at a rate, or as many as go.

Reads a Load from standard input and prints what it saw as one line of JSON.
"""

import asyncio
import contextlib
import gc
import json
import sys
import time
from itertools import islice
from typing import Any

import uvloop
from pydantic import BaseModel, ConfigDict, SecretStr
from pydantic_core import from_json

from benchmarks import http
from benchmarks.samples import bodies
from shared.contract.events import CaseAssigned
from shared.runtime import kafka
from shared.runtime.settings import Settings

_PATH = "/api/applications"


class Load(BaseModel):
    """`rate` applications a second; 0 is as many as `connections` can carry, for `seconds`.

    A case that is not at its agency `latest_s` after the last answer counts as one that did not
    come.
    """

    model_config = ConfigDict(frozen=True)
    port: int
    connections: int
    rate: float
    seconds: float
    warm_up: int
    latest_s: float = 20.0
    kafka: str = ""
    password: str = ""
    agencies: tuple[str, ...] = ()


async def paced(load: Load) -> dict[str, Any]:
    """Open loop: an application leaves at its time, whatever became of those before it.

    Milliseconds from the answer 202 to the record in the hands of a read_committed consumer of
    all agencies' topics, and from an application's time to its answer. The first `warm_up` are
    left out. One process, one clock.
    """
    count = load.warm_up + round(load.rate * load.seconds)
    requests = _requests(load, count)
    answered: dict[int, tuple[float, float, str]] = {}
    seen: dict[str, float] = {}
    refused = 0
    numbers: set[str] | None = None
    complete = asyncio.Event()
    settings = Settings(
        kafka=load.kafka,
        kafka_security="SASL_PLAINTEXT",
        kafka_username="admin",
        kafka_password=SecretStr(load.password),
    )
    consumer = kafka.consumer(settings)
    await consumer.start()
    partitions = await kafka.partitions_of(consumer, load.agencies)
    consumer.assign(partitions)
    await consumer.seek_to_end(*partitions)

    async def watch() -> None:
        while True:
            batches = await consumer.getmany(timeout_ms=1000)
            now = time.perf_counter()
            for messages in batches.values():
                for message in messages:
                    if dict(message.headers)["ce_type"] == CaseAssigned.type.encode():
                        seen[from_json(message.value)["number"]] = now
            if numbers is not None and numbers <= seen.keys():
                complete.set()

    async def submit(n: int, due: float) -> None:
        nonlocal refused
        answer = await client.ask(requests[n])
        now = time.perf_counter()
        if answer.status == 202:
            answered[n] = (due, now, from_json(answer.body)["number"])
        else:
            refused += 1

    watcher = asyncio.create_task(watch())
    gc.collect()
    gc.freeze()
    async with http.Client("127.0.0.1", load.port, load.connections) as client:
        tasks = []
        began = time.perf_counter() + 0.2
        latest_s = 0.0
        for n in range(count):
            due = began + n / load.rate
            if (wait_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            latest_s = max(latest_s, time.perf_counter() - due)
            tasks.append(asyncio.create_task(submit(n, due)))
        await asyncio.gather(*tasks)
    numbers = {number for _, _, number in answered.values()}
    if not numbers <= seen.keys():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(load.latest_s):
                await complete.wait()
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    await consumer.stop()
    counted = [one for n, one in answered.items() if n >= load.warm_up]
    return {
        "sent": count,
        "accepted": len(answered),
        "refused": refused,
        "arrived": len(numbers & seen.keys()),
        "generator_late_ms": latest_s * 1000,
        "answer_ms": sorted((now - due) * 1000 for due, now, _ in counted),
        "agency_ms": sorted(
            (seen[number] - now) * 1000 for _, now, number in counted if number in seen
        ),
    }


async def closed(load: Load) -> dict[str, Any]:
    """Closed loop: each connection sends its next application when the last is answered."""
    requests = _requests(load, 2000)
    accepted, refused = 0, 0
    began = ends = 0.0

    async def submit(first: int) -> None:
        nonlocal accepted, refused
        n = first
        while (now := time.perf_counter()) < ends:
            answer = await client.ask(requests[n % len(requests)])
            n += load.connections
            if now >= began:
                accepted += answer.status == 202
                refused += answer.status != 202

    gc.collect()
    gc.freeze()
    async with http.Client("127.0.0.1", load.port, load.connections) as client:
        # A first second warms up and is not counted.
        began = time.perf_counter() + 1
        ends = began + load.seconds
        await asyncio.gather(*(submit(n) for n in range(load.connections)))
        took_s = time.perf_counter() - began
    return {"accepted": accepted, "refused": refused, "seconds": took_s}


def _requests(load: Load, count: int) -> list[bytes]:
    host = f"127.0.0.1:{load.port}"
    return [http.post(_PATH, host, body) for body in islice(bodies(), count)]


async def run(load: Load) -> dict[str, Any]:
    """This module in a process of its own. Raises RuntimeError with what it said."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, errors = await child.communicate(load.model_dump_json().encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        raise RuntimeError(f"the load generator failed: {errors.decode()[-3000:]}")
    found: dict[str, Any] = json.loads(out)
    return found


if __name__ == "__main__":
    given = Load.model_validate_json(sys.stdin.buffer.read())
    print(json.dumps(uvloop.run(paced(given) if given.rate else closed(given))))
