"""What `casebus torture` does to a city: the acts of a seed, and how each is done and undone."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from deploy.local import plan as local
from deploy.local.postgres import Server
from deploy.local.state import Running, Secrets, read_running
from shared.runtime import kafka
from shared.runtime.migrations import OPERATOR
from shared.runtime.settings import Settings

SECOND_ROUTER = "router-2"
_LONGEST_FREEZE_S = 15.0
_STORE_BACK_S = 120.0
_SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "freeze": signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class Act:
    """What is done to whom, `after_s` after the act before. The second router is started by it
    when there is none."""

    after_s: float
    victim: str
    how: str
    frozen_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.how} {self.victim}" + (f" for {self.frozen_s} s" if self.frozen_s else "")


def acts(seed: int, stores: Sequence[str]) -> Iterator[Act]:
    """The acts of `seed`, without end: the same seed and stores, the same acts."""
    chance = random.Random(seed)
    # Routers more often than others: theirs is the promise that is hardest to keep.
    victims = [*local.PROCESSES, "router", SECOND_ROUTER, *stores]
    while True:
        victim = chance.choice(victims)
        how = chance.choice(["kill", "kill", "term", "freeze"])
        if how == "term" and victim in stores:
            how = "kill"
        frozen_s = round(chance.uniform(3, _LONGEST_FREEZE_S), 1) if how == "freeze" else 0.0
        yield Act(round(chance.uniform(1, 8), 1), victim, how, frozen_s)


class Tormentor:
    """Does acts to the city that runs from `folder`. Of stores one at a time is away.

    `done` counts acts by what was done to whom; one whose victim was away just then is not.
    """

    def __init__(self, folder: Path) -> None:
        self.done: Counter[str] = Counter()
        self._folder = folder
        self._secrets = Secrets.of(folder)
        self._store: asyncio.Task[None] | None = None
        self._thawing: set[asyncio.Task[None]] = set()
        self._router: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> Running:
        """Raises TimeoutError when the launcher has ended."""
        found = read_running(self._folder)
        if found is None:
            raise TimeoutError("the launcher has ended")
        return found

    @property
    def stores(self) -> list[str]:
        return sorted(n for n in self.running.pids if n == "postgres" or n.startswith("kafka"))

    async def do(self, act: Act) -> bool:
        """Whether it was done. A store's waits until the store before is well again."""
        if act.victim == SECOND_ROUTER and (
            self._router is None or self._router.poll() is not None
        ):
            self._start_second_router()
            return True
        store = act.victim in self.stores
        if store and self._store is not None:
            await self._store
        pid = self._pid(act.victim)
        if pid is None or not _send(pid, _SIGNALS[act.how]):
            return False
        self.done[f"{act.how} {act.victim}"] += 1
        if act.how == "freeze":
            thawing = asyncio.create_task(_thaw(_freeze(pid), act.frozen_s))
            self._thawing.add(thawing)
            if store:
                self._store = asyncio.create_task(self._well(act.victim, None, thawing))
        elif store:
            self._store = asyncio.create_task(self._well(act.victim, pid, None))
        return True

    async def rest(self) -> None:
        """Undo: what is frozen is woken, the store that is away is back, one router is left."""
        await asyncio.gather(*self._thawing)
        if self._store is not None:
            await self._store
        self.end()

    def end(self) -> None:
        """Leave no process of ours behind."""
        if self._router is not None and self._router.poll() is None:
            self._router.terminate()
            try:
                self._router.wait(15)
            except subprocess.TimeoutExpired:
                self._router.kill()
                self._router.wait()

    def _pid(self, victim: str) -> int | None:
        if victim == SECOND_ROUTER:
            return self._router.pid if self._router else None
        return self.running.pids.get(victim)

    def _start_second_router(self) -> None:
        """With the launcher's settings, and a port for its health that nobody knows."""
        brokers = [name for name in self.stores if name != "postgres"]
        ports = dict.fromkeys(local.usual_ports(len(brokers)), 0)
        for name, address in zip(brokers, self.running.kafka.split(","), strict=True):
            ports[name] = int(address.rpartition(":")[2])
        unused = Server(self._folder, 0, "")
        found = local.programs(ports, self._secrets, unused, self._folder)
        router = next(one for one in found if one.name == "router")
        with (self._folder / "logs" / f"{SECOND_ROUTER}.log").open("ab") as log:
            self._router = subprocess.Popen(
                router.command,
                env=dict(router.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.done[f"start {SECOND_ROUTER}"] += 1

    async def _well(
        self, store: str, killed: int | None, first: "asyncio.Task[None] | None"
    ) -> None:
        """Until the store answers, in another process when it was killed; of several brokers
        until each has all records again."""
        if first is not None:
            await first
        deadline = time.monotonic() + _STORE_BACK_S
        while True:
            again = killed is None or self.running.pids.get(store) not in (killed, None)
            if again and await (
                self._postgres_answers() if store == "postgres" else self._complete()
            ):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{store} was not well again after {_STORE_BACK_S:.0f} s")
            await asyncio.sleep(0.5)

    async def _postgres_answers(self) -> bool:
        server = Server(
            self._folder / "postgres",
            self.running.postgres_port,
            self._secrets.postgres["postgres"],
        )
        try:
            uri = server.uri(OPERATOR, self._secrets.postgres[OPERATOR])
            connection = await asyncpg.connect(uri, timeout=5)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    async def _complete(self) -> bool:
        """Whether every partition has a leader and all of its copies."""
        settings = Settings(
            kafka=self.running.kafka,
            kafka_security="SASL_PLAINTEXT",
            kafka_username=OPERATOR,
            kafka_password=SecretStr(self._secrets.kafka[OPERATOR]),
        )
        admin = kafka.admin(settings)
        try:
            async with asyncio.timeout(10):
                await admin.start()
                found = await admin.describe_topics()
        except (KafkaError, TimeoutError):
            return False
        finally:
            with contextlib.suppress(KafkaError):
                await admin.close()
        partitions = [one for topic in found for one in topic["partitions"]]
        return bool(partitions) and all(
            one["leader"] >= 0 and len(one["isr"]) == len(one["replicas"]) for one in partitions
        )


def _send(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _freeze(pid: int) -> list[int]:
    """The stopped process and, stopped now too, its children: PostgreSQL's do the work."""
    listed = subprocess.run(
        ["/bin/ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    pairs = (line.split() for line in listed.splitlines())
    children = [int(child) for child, parent in pairs if int(parent) == pid]
    return [pid, *(child for child in children if _send(child, signal.SIGSTOP))]


async def _thaw(pids: Sequence[int], after_s: float) -> None:
    try:
        await asyncio.sleep(after_s)
    finally:
        for pid in reversed(pids):
            _send(pid, signal.SIGCONT)
