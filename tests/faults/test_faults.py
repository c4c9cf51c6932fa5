"""Processes, the broker and the database killed hard under load: nothing lost, nothing twice.

Faults that show themselves in different places share one run of traffic: a router's in the
agencies' topics, intake's in its own rows, a back office's in its inbox, a notifier's at the
citizen.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka.errors import KafkaError

from deploy.local import plan
from deploy.local.postgres import Server
from shared.runtime import kafka
from tests.city import ROOT, City, eventually
from tests.faults.evidence import Evidence, Notices

# Its full form (`make test-faults`) has three brokers, and kills each of them.
_BROKERS = 3 if os.environ.get("CASEBUS_FAULTS") == "full" else 1
_QUIET_WITHIN_S = 60


@pytest.fixture(scope="module")
def city() -> Iterator[City]:
    """A city of this module's own: what is done to it here nobody else should see.

    Not in pytest's folder: as root PostgreSQL runs as another user, and every later run of
    pytest closes that folder to others, while a server that was killed must come in again.
    """
    with tempfile.TemporaryDirectory(prefix="casebus-faults-") as folder:
        found = City.start(Path(folder) / "data", "--brokers", str(_BROKERS))
        yield found
        found.stop()


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What is known once everything is quiet again."""

    sent: dict[str, Any]
    verdict: dict[str, Any]
    evidence: Evidence


class Traffic:
    """`casebus traffic` in a process of its own."""

    def __init__(self, city: City, cases: int, rate: float, *options: str) -> None:
        self._output = city.folder / "traffic.json"
        arguments = ["--cases", str(cases), "--rate", str(rate), "--json", *options]
        with self._output.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "casebus", "traffic", *arguments],
                env=os.environ | {"CASEBUS_DATA": str(city.folder)},
                cwd=ROOT,
                stdout=out,
            )

    async def ended(self) -> dict[str, Any]:
        """What it sent; every application was answered in the end, as it should be."""
        status = await asyncio.to_thread(self._process.wait, 90)
        sent: dict[str, Any] = json.loads(self._output.read_text())
        assert (status, sent["unexpected"], sent["unavailable"]) == (0, 0, 0), sent
        return sent


async def _applications(city: City, more: int) -> None:
    """Until there are so many more."""
    connection = await city.database("operator")
    try:
        count = "SELECT count(*) FROM intake.applications"
        before = await connection.fetchval(count)
        await eventually(
            lambda: connection.fetchval(count), lambda found: found >= before + more, 60
        )
    finally:
        await connection.close()


async def _killed(city: City, name: str) -> None:
    """kill -9, and until the launcher has started it again."""
    old = city.kill(name)

    async def pid() -> int:
        return city.running.pids[name]

    await eventually(pid, lambda found: found != old)


async def _broker_answers(city: City) -> None:
    async def answers() -> bool:
        try:
            return await _routed(city) > 0
        except KafkaError:
            return False

    await eventually(answers, within_s=_QUIET_WITHIN_S)


async def _routed(city: City) -> int:
    """How far the routers have committed, over all partitions."""
    admin = kafka.admin(city.kafka("operator"))
    try:
        await admin.start()
        offsets = await admin.list_consumer_group_offsets("router")
    finally:
        await admin.close()
    return sum(found.offset for found in offsets.values())


async def _quiet(city: City) -> None:
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


async def _aftermath(city: City, traffic: Traffic) -> Aftermath:
    sent = await traffic.ended()
    await _quiet(city)
    verdict = await city.acommand("audit", status=None)
    return Aftermath(sent, verdict, await Evidence.of(city))


def _assert_nothing_lost_nothing_twice(after: Aftermath) -> None:
    """By the auditor, and by a count that shares nothing with it."""
    verdict, found = after.verdict, after.evidence
    wrong = {name: verdict[name] for name in ("lost", "duplicated", "out_of_order", "unreadable")}
    assert wrong == {"lost": 0, "duplicated": 0, "out_of_order": 0, "unreadable": 0}
    assert verdict["applications"] == verdict["assigned"] == verdict["in_back_offices"]
    assert found.submitted == found.applications
    assert found.first_assignments() == found.applications
    assert set(found.assigned.values()) == {1}
    assert found.routed == found.assigned
    assert found.out_of_order == []
    assert found.in_inboxes == found.assignment_ids
    assert found.cases_in_offices == Counter(case for case, _ in found.applications)
    assert verdict["applications"] == found.applications.total()
    assert verdict["reassigned"] == (found.assigned - found.applications).total()


def _assert_every_answer_is_one_application(after: Aftermath) -> None:
    """Each number that a citizen was given is there once; repeats of a key made no others."""
    answered = Counter(after.sent["numbers"])
    assert answered.total() == after.sent["accepted"]
    assert set(answered.values()) == {1}
    assert {n: after.evidence.numbers[n] for n in answered} == dict(answered)


@pytest_asyncio.fixture(scope="module")
async def after_services(city: City) -> Aftermath:
    """Every service killed under load, the router twice: once more when it had come back."""
    traffic = Traffic(city, 220, 25, "--clerks")
    await _applications(city, 20)
    await _killed(city, "router")
    routed = await _routed(city)
    await _applications(city, 10)
    await _killed(city, "intake")
    await _applications(city, 20)
    await _killed(city, "backoffice")
    await _killed(city, "notifier")
    await eventually(lambda: _routed(city), lambda found: found > routed)
    await _killed(city, "router")
    after = await _aftermath(city, traffic)
    await _leases_end(city)
    return after


async def _leases_end(city: City) -> None:
    """What the dead notifier held, and what waits for its next try, is due now, not in a minute.

    Until then every notice has come to an end.
    """
    connection = await city.database()
    try:

        async def on_the_way() -> int:
            await connection.execute(
                "UPDATE notifier.notices SET leased_until = now()"
                " WHERE state = 'sending' AND changed_at < now() - interval '15 seconds'"
            )
            await connection.execute(
                "UPDATE notifier.notices SET next_try_at = now() WHERE state = 'temporary_failure'"
            )
            found = await connection.fetchval(
                "SELECT count(*) FROM notifier.notices"
                " WHERE state IN ('created', 'sending', 'temporary_failure', 'sent')"
                " AND NOT (state = 'sent' AND channel = 'mail')"
            )
            return int(found)

        await eventually(on_the_way, lambda count: count == 0, _QUIET_WITHIN_S)
    finally:
        await connection.close()


async def test_services_that_are_killed_lose_nothing_and_repeat_nothing(
    after_services: Aftermath,
) -> None:
    _assert_nothing_lost_nothing_twice(after_services)


async def test_a_killed_intake_keeps_what_it_has_answered(after_services: Aftermath) -> None:
    assert after_services.sent["accepted"] > 150
    _assert_every_answer_is_one_application(after_services)
    assert after_services.evidence.applications.total() == after_services.sent["accepted"]


async def test_a_killed_notifier_loses_no_notice_and_sends_none_twice(
    city: City, after_services: Aftermath
) -> None:
    numbers = after_services.sent["numbers"]
    notices = await Notices.of(city, numbers)
    # Every event that a citizen is told of has its two notices, in the ledger and once.
    wanted = Counter(
        (cause, channel)
        for cause, _ in after_services.evidence.notice_causes
        for channel in ("mail", "sms")
    )
    assert wanted - notices.causes == Counter()
    assert set(notices.causes.values()) == {1}
    assert notices.states.keys() <= {"sent", "delivered", "suppressed", "unknown"}, notices.states
    # Each that was sent arrived; of the unknown ones, which are not tried again, some may have.
    assert notices.sent - notices.arrived == Counter()
    assert notices.arrived - notices.sent - notices.unknown == Counter()
    assert notices.sent.total() > len(numbers)


async def test_a_killed_broker_loses_nothing_and_repeats_nothing(city: City) -> None:
    traffic = Traffic(city, 120 * _BROKERS, 30 / _BROKERS)
    for broker in city.brokers:
        await _applications(city, 40)
        await _killed(city, broker)
        await _broker_answers(city)
    after = await _aftermath(city, traffic)
    _assert_every_answer_is_one_application(after)
    _assert_nothing_lost_nothing_twice(after)


async def test_a_router_frozen_past_its_session_and_a_killed_database_repeat_nothing(
    city: City,
) -> None:
    """The other router takes over; the woken one is fenced. The routers have no database."""
    async with _second_router(city):
        await eventually(lambda: _members(city), lambda found: found == 2)
        traffic = Traffic(city, 250, 20)
        await _applications(city, 20)
        frozen = city.running.pids["router"]
        os.kill(frozen, signal.SIGSTOP)
        try:
            await _applications(city, 20)
            await _killed(city, "postgres")
            await eventually(lambda: _members(city), lambda found: found == 1)
            routed = await _routed(city)
            await eventually(lambda: _routed(city), lambda found: found > routed)
        finally:
            os.kill(frozen, signal.SIGCONT)
        await eventually(lambda: _members(city), lambda found: found == 2)
        assert city.running.pids["router"] == frozen
        after = await _aftermath(city, traffic)
    _assert_every_answer_is_one_application(after)
    _assert_nothing_lost_nothing_twice(after)


async def _members(city: City) -> int:
    """How many routers are in the group, once it is settled; else 0."""
    admin = kafka.admin(city.kafka("operator"))
    await admin.start()
    try:
        (answer,) = await admin.describe_consumer_groups(["router"])
    finally:
        await admin.close()
    ((_, _, state, _, _, members, *_),) = answer.groups
    return len(members) if state == "Stable" else 0


@contextlib.asynccontextmanager
async def _second_router(city: City) -> AsyncIterator[None]:
    """Another router process beside the launcher's, with the same settings."""
    addresses = zip(city.brokers, city.running.kafka.split(","), strict=True)
    ports = dict.fromkeys(plan.usual_ports(_BROKERS), 0) | {
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
        assert await asyncio.to_thread(process.wait, 10) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
