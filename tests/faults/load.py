"""Traffic on the city under test, what is done to it meanwhile, and what is known afterwards."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka.errors import KafkaError

from deploy.local import plan
from deploy.local.postgres import Server
from shared.runtime import kafka
from tests.city import ROOT, City, eventually
from tests.faults.evidence import Evidence

# The full form (`make test-faults`) has three brokers, more traffic and more kills.
FULL = os.environ.get("CASEBUS_FAULTS") == "full"
BROKERS = 3 if FULL else 1
TIMEOUT_S = 1200 if FULL else 240  # of a test with what it stands on
_QUIET_WITHIN_S = 120
_WRONG = (
    *("lost", "duplicated", "out_of_order", "unreadable", "unexpected", "untold", "not_in_inbox"),
    *("notices_missing", "notices_doubled", "notices_unexpected"),
)


class Traffic:
    """`casebus traffic` in a process of its own, until it is told to end: nothing is done to a city
    that has nothing to do."""

    def __init__(self, city: City, rate: float, *options: str) -> None:
        self._city = city
        self._output = city.folder / "traffic.json"
        arguments = ["--cases", "100000", "--rate", str(rate), "--json", *options]
        with self._output.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "casebus", "traffic", *arguments],
                env=os.environ | {"CASEBUS_DATA": str(city.folder)},
                cwd=ROOT,
                stdout=out,
            )

    async def __aenter__(self) -> "Traffic":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    async def ended(self) -> dict[str, Any]:
        """What it sent; every application was answered in the end, as it should be."""
        self._process.terminate()
        status = await asyncio.to_thread(self._process.wait, 120)
        sent: dict[str, Any] = json.loads(self._output.read_text())
        assert (status, sent["unexpected"], sent["unavailable"]) == (0, 0, 0), sent
        return sent

    async def aftermath(self) -> "Aftermath":
        """It ends now; and then, all that it began."""
        sent = await self.ended()
        await quiet(self._city)
        verdict = await self._city.acommand("audit", status=None)
        return Aftermath(sent, verdict, await Evidence.of(self._city))


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What is known once everything is quiet again."""

    sent: dict[str, Any]
    verdict: dict[str, Any]
    evidence: Evidence

    def assert_nothing_lost_nothing_twice(self, poison: Collection[str]) -> None:
        """By the auditor, and by a count that shares nothing with it. `poison` alone is set aside:
        TOPIC:PARTITION:OFFSET."""
        verdict, found = self.verdict, self.evidence
        assert {name: verdict[name] for name in _WRONG} == dict.fromkeys(_WRONG, 0), verdict
        assert verdict["applications"] == verdict["assigned"] == verdict["in_back_offices"]
        assert verdict["set_aside"] == len(poison)
        assert found.set_aside == set(poison)
        assert found.submitted == found.applications
        assert found.first_assignments() == found.applications
        assert set(found.assigned.values()) == {1}
        assert found.routed == found.assigned
        assert found.out_of_order == []
        assert found.in_inboxes == found.assignment_ids
        assert found.cases_in_offices == Counter(case for case, _ in found.applications)
        assert verdict["applications"] == found.applications.total()
        assert verdict["reassigned"] == (found.assigned - found.applications).total()

    def assert_every_answer_is_one_application(self) -> None:
        """Each number that a citizen was given is there once; repeats of a key made no others."""
        answered = Counter(self.sent["numbers"])
        assert answered.total() == self.sent["accepted"]
        assert set(answered.values()) == {1}
        assert {n: self.evidence.numbers[n] for n in answered} == dict(answered)


async def applications(city: City, more: int) -> None:
    """Until there are so many more."""
    connection = await city.database("operator")
    try:
        count = "SELECT count(*) FROM intake.applications"
        before = await connection.fetchval(count)
        await eventually(
            lambda: connection.fetchval(count), lambda found: found >= before + more, 90
        )
    finally:
        await connection.close()


async def killed(city: City, name: str) -> None:
    """kill -9, and until the launcher has started it again."""
    await started_again(city, name, city.kill(name))


async def ended(city: City, name: str) -> None:
    """SIGTERM, and until the launcher has started it again."""
    old = city.running.pids[name]
    os.kill(old, signal.SIGTERM)
    await started_again(city, name, old)


async def started_again(city: City, name: str, old: int) -> None:
    async def pid() -> int:
        return city.running.pids[name]

    await eventually(pid, lambda found: found != old)


async def brokers_answer(city: City) -> None:
    """Each partition has its leader, and all of its copies."""

    async def complete() -> bool:
        admin = kafka.admin(city.kafka("admin"))
        try:
            await admin.start()
            found = await admin.describe_topics(await admin.list_topics())
        except KafkaError:
            return False
        finally:
            await admin.close()
        partitions = [one for topic in found for one in topic["partitions"]]
        return all(one["leader"] >= 0 and len(one["isr"]) == BROKERS for one in partitions)

    await eventually(complete, within_s=_QUIET_WITHIN_S)


async def _routed(city: City) -> int:
    """How far the routers have committed, over all partitions."""
    async with kafka.started(kafka.admin(city.kafka("operator"))) as admin:
        offsets = await admin.list_consumer_group_offsets("router")
    return sum(found.offset for found in offsets.values())


async def routed_more(city: City) -> float:
    """Until routers have committed more than now; the seconds that it took."""
    began = time.monotonic()
    before = 0

    async def more() -> bool:
        nonlocal before
        try:
            found = await _routed(city)
        except KafkaError:
            return False
        before = before or found
        return found > before

    await eventually(more, within_s=60)
    return time.monotonic() - began


async def quiet(city: City) -> None:
    """Until no group and no outbox waits for anything."""

    async def waiting() -> dict[str, int]:
        lag = json.loads(await asyncio.to_thread(city.command, "lag", "--json", status=None) or "0")
        if not lag:
            return {"no answer": 1}
        found: Counter[str] = Counter()
        for one in lag["groups"]:
            found[one["group"]] += one["records"]
        for one in lag["relays"]:
            found[f"relay-{one['outbox']}"] += one["rows"]
        return dict(+found)

    await eventually(waiting, lambda found: found == {}, _QUIET_WITHIN_S)


async def members(city: City) -> int:
    """How many routers are in the group, once it is settled; else 0."""
    async with kafka.started(kafka.admin(city.kafka("operator"))) as admin:
        (answer,) = await admin.describe_consumer_groups(["router"])
    ((_, _, state, _, _, found, *_),) = answer.groups
    return len(found) if state == "Stable" else 0


async def members_are(city: City, count: int) -> None:
    await eventually(lambda: members(city), lambda found: found == count, 60)


@contextlib.asynccontextmanager
async def another_router(city: City) -> AsyncIterator[None]:
    """Another router process beside the launcher's, with the same settings."""
    addresses = zip(city.brokers, city.running.kafka.split(","), strict=True)
    ports = dict.fromkeys(plan.usual_ports(BROKERS), 0) | {
        name: int(address.rsplit(":")[1]) for name, address in addresses
    }
    unused = Server(city.folder, 0, "")
    (program,) = (
        one
        for one in plan.programs(ports, city.secrets, unused, city.folder)
        if one.name == "router"
    )
    with (city.folder / "logs" / "router-2.log").open("ab") as log:
        process = subprocess.Popen(
            program.command, env=dict(program.environment), stdout=log, stderr=log
        )
    try:
        yield
        process.terminate()
        assert await asyncio.to_thread(process.wait, 15) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
