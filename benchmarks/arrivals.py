"""Cases that come in at a steady rate through everything, and when each is at its agency."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from uuid import uuid4

import httpx
from pydantic_core import from_json

from benchmarks.evidence import WrongCountError
from benchmarks.samples import bodies
from benchmarks.stand import Stand, StandError
from catalogue import load_catalogue
from shared.contract import topics
from shared.contract.events import CaseAssigned
from shared.runtime import kafka

# A case that is not there after so long waits for something that is down.
LATE_S = 1.0
_CALM_S = 2.0
_LONGEST_S = 120.0
# While intake is away so many ask again, and the others stand behind them.
_ASKING = 8
_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Recovered:
    """Seconds from the kill: to the arrival of the first case that was submitted after it, and
    to that of the last one that was late. `late` is how many were."""

    first_s: float
    last_s: float
    late: int


@dataclass(slots=True)
class _Case:
    began: float
    number: str = ""


class Arrivals:
    """Submits `rate` cases a second, and reads all agencies' topics, read_committed."""

    def __init__(self, stand: Stand, rate: float) -> None:
        self._stand = stand
        self._rate = rate
        self._cases: list[_Case] = []
        self._arrived: dict[str, float] = {}
        self._times: Counter[str] = Counter()
        self._asking = asyncio.Semaphore(_ASKING)
        self._enough = asyncio.Event()

    async def __aenter__(self) -> "Arrivals":
        self._consumer = kafka.consumer(self._stand.kafka())
        await self._consumer.start()
        names = [topics.agency_cases(code) for code in load_catalogue().agencies]
        partitions = await kafka.partitions_of(self._consumer, names)
        self._consumer.assign(partitions)
        await self._consumer.seek_to_end(*partitions)
        url = f"http://127.0.0.1:{self._stand.ports['intake']}"
        self._client = httpx.AsyncClient(base_url=url, timeout=10)
        self._watching = asyncio.create_task(self._watch())
        self._submitting = asyncio.create_task(self._submit())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raises WrongCountError when a case did not come, or came twice."""
        try:
            self._enough.set()
            if error is None:
                await self._until(lambda: self._submitting.done() and not self._missing(0))
                twice = [number for number, times in self._times.items() if times > 1]
                if twice:
                    raise WrongCountError(f"came more than once: {twice[:5]}")
        finally:
            tasks = (self._watching, self._submitting)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.aclose()
            await self._consumer.stop()

    async def calm(self) -> None:
        """Until for some time no case was late. Raises StandError."""
        since = time.monotonic()

        def still() -> bool:
            nonlocal since
            if self._missing(LATE_S):
                since = time.monotonic()
            return time.monotonic() - since > _CALM_S

        await self._until(still)

    async def recovered(self, kill: Callable[[], Awaitable[object]]) -> Recovered:
        """What came of a kill, once all is calm again. Raises StandError."""
        killed = time.monotonic()
        await kill()
        await self._until(lambda: bool(self._new(killed)))
        await self.calm()
        after = [(case, at) for case in self._cases if (at := self._arrived.get(case.number, 0.0))]
        late = [at for case, at in after if at > killed and at - case.began > LATE_S]
        first = min(self._new(killed)) - killed
        return Recovered(first, max(late, default=killed + first) - killed, len(late))

    def _new(self, killed: float) -> list[float]:
        """When those arrived that were submitted after the kill."""
        found = (self._arrived.get(case.number) for case in self._cases if case.began > killed)
        return [at for at in found if at]

    def _missing(self, for_s: float) -> int:
        """How many were submitted so long ago and are not there."""
        before = time.monotonic() - for_s
        return sum(
            1 for case in self._cases if case.began <= before and case.number not in self._arrived
        )

    async def _until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _LONGEST_S
        while not done():
            for task in (self._watching, self._submitting):
                if task.done() and not task.cancelled():
                    task.result()
            if time.monotonic() > deadline:
                raise StandError(
                    f"after {_LONGEST_S:.0f} s {self._missing(LATE_S)} cases are still missing"
                )
            await asyncio.sleep(0.05)

    async def _submit(self) -> None:
        async with asyncio.TaskGroup() as group:
            began = time.monotonic()
            for n, body in enumerate(bodies()):
                if self._enough.is_set():
                    return
                await asyncio.sleep(max(0.0, began + n / self._rate - time.monotonic()))
                group.create_task(self._one(body))

    async def _one(self, body: bytes) -> None:
        """Until it is accepted; under one key, so that it is one case however often it is sent."""
        case = _Case(time.monotonic())
        self._cases.append(case)
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid4())}
        async with self._asking:
            while not case.number:
                try:
                    answer = await self._client.post(
                        "/api/applications", content=body, headers=headers
                    )
                except httpx.TransportError:
                    await asyncio.sleep(_AGAIN_S)
                    continue
                if answer.status_code == 202:
                    case.number = answer.json()["number"]
                elif answer.status_code == 503:
                    await asyncio.sleep(_AGAIN_S)
                else:
                    raise StandError(f"{answer.status_code}: {answer.text[:500]}")

    async def _watch(self) -> None:
        assigned = CaseAssigned.type.encode()
        while True:
            batches = await self._consumer.getmany(timeout_ms=500)
            now = time.monotonic()
            for messages in batches.values():
                for message in messages:
                    if dict(message.headers)["ce_type"] == assigned:
                        number = from_json(message.value)["number"]
                        self._arrived.setdefault(number, now)
                        self._times[number] += 1
