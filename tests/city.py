"""The whole city under test: `casebus up` in a process of its own, and ways to speak to it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import httpx
from pydantic import SecretStr

from catalogue import load_catalogue
from deploy.access import agency_password, agency_user
from deploy.local.postgres import Server
from deploy.local.state import Running, Secrets, read_running
from services.backoffice.clerks import Clerk, token
from shared.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")


async def eventually(
    found: Callable[[], Awaitable[T]], wanted: Callable[[T], bool] = bool, within_s: float = 30
) -> T:
    """What `found` gives once it is as `wanted`; an AssertionError after the deadline."""
    deadline = time.monotonic() + within_s
    while not wanted(last := await found()):
        assert time.monotonic() < deadline, f"after {within_s} s still {last!r}"
        await asyncio.sleep(0.1)
    return last


@dataclass(slots=True)
class City:
    """`folder` is its data; the process is the launcher's."""

    folder: Path
    process: "subprocess.Popen[bytes]"
    output: Path
    secrets: Secrets = field(init=False)

    @classmethod
    def start(cls, folder: Path, *options: str) -> "City":
        folder.mkdir(parents=True, exist_ok=True)
        output = folder.with_suffix(".out")
        with output.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "casebus", "up", "--rate", "0", *options],
                env=os.environ | {"CASEBUS_DATA": str(folder), "COLUMNS": "200"},
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        city = cls(folder, process, output)
        city.wait_ready()
        city.secrets = Secrets.of(folder)
        return city

    def wait_ready(self, within_s: float = 120) -> None:
        deadline = time.monotonic() + within_s
        while b"casebus runs" not in self.output.read_bytes():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.1)

    def stop(self) -> float:
        """SIGTERM; the seconds until it had ended. Its status must be 0."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        assert status == 0, self.output.read_text()[-3000:]
        return time.monotonic() - began

    @property
    def running(self) -> Running:
        found = read_running(self.folder)
        assert found is not None
        return found

    @property
    def brokers(self) -> list[str]:
        """The names of Kafka's programs, which are those of their folders too: one, or three."""
        return sorted(name for name in self.running.pids if name.startswith("kafka"))

    def kill(self, name: str) -> int:
        """kill -9 one of its processes; its process id."""
        pid = self.running.pids[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    def command(self, *arguments: str, status: int | None = 0) -> str:
        """Run `casebus ARGUMENTS` against this city; its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "casebus", *arguments],
            env=os.environ | {"CASEBUS_DATA": str(self.folder), "COLUMNS": "200"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if status is not None:
            assert done.returncode == status, f"{done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    async def acommand(self, *arguments: str, status: int | None = 0) -> Any:
        """`command` in a thread, its --json output read."""
        out = await asyncio.to_thread(self.command, *arguments, "--json", status=status)
        return json.loads(out)

    def intake(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.running.urls["intake"], timeout=30)

    def office(self, agency: str) -> httpx.AsyncClient:
        """The back office, as a clerk of this agency."""
        bearer = token(self.secrets.clerk, Clerk("王小明", agency))
        return httpx.AsyncClient(
            base_url=self.running.urls["backoffice"],
            headers={"Authorization": f"Bearer {bearer}"},
            timeout=30,
        )

    def kafka(self, user: str) -> Settings:
        """The broker, signed in as a service, the admin, or an agency by its code."""
        password = self.secrets.kafka.get(user)
        if password is None:
            assert user in load_catalogue().agencies
            password = agency_password(self.secrets.agencies, user)
            user = agency_user(user)
        return Settings(
            kafka=self.running.kafka,
            kafka_security="SASL_PLAINTEXT",
            kafka_username=user,
            kafka_password=SecretStr(password),
        )

    async def database(self, role: str = "postgres") -> "asyncpg.Connection[asyncpg.Record]":
        server = Server(self.folder, self.running.postgres_port, self.secrets.postgres["postgres"])
        return await asyncpg.connect(server.uri(role, self.secrets.postgres[role]))

    async def messages(self, where: str, number: str) -> list[dict[str, Any]]:
        """What arrived at the citizen's `mailbox` or phone (`sms`) about a case."""
        async with httpx.AsyncClient() as client:
            answer = await client.get(
                f"{self.running.urls[where]}/api/messages", params={"number": number, "limit": 100}
            )
        answer.raise_for_status()
        found: list[dict[str, Any]] = answer.json()
        return found

    async def submit(self, body: dict[str, Any], key: str | None = None) -> dict[str, Any]:
        """Apply; the answer to a 202, `case_id` from the database among it."""
        async with self.intake() as client:
            answer = await client.post(
                "/api/applications", json=body, headers={"Idempotency-Key": key or str(uuid4())}
            )
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def follow(self, receipt: dict[str, Any]) -> dict[str, Any]:
        """The case as its citizen sees it."""
        async with self.intake() as client:
            answer = await client.get(
                receipt["follow"], headers={"X-Case-Password": receipt["password"]}
            )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def at(self, receipt: dict[str, Any], agency: str, status: str) -> dict[str, Any]:
        """The case in an agency's back office, once it is there in this status."""

        async def read() -> dict[str, Any]:
            async with self.office(agency) as client:
                answer = await client.get(f"/api/cases/{receipt['number']}")
            return answer.json() if answer.status_code == 200 else {}

        return await eventually(read, lambda case: case.get("status") == status)

    async def do(
        self, receipt: dict[str, Any], agency: str, command: str, **body: Any
    ) -> httpx.Response:
        async with self.office(agency) as client:
            return await client.post(f"/api/cases/{receipt['number']}/{command}", json=body)


def application(
    service: str = "SVC-001", district: str = "大安區", **changes: Any
) -> dict[str, Any]:
    """A sound application of a made-up citizen; `changes` replace its parts."""
    return {
        "service": service,
        "applicant": {"kind": "person", "name": "陳怡君", "id_number": "A123456789"},
        "contact": {
            "phone": "0912345678",
            "email": "yichun@mail.example",
            "language": "zh-TW",
        },
        "address": {"district": district, "line": "和平東路二段 106 號"},
        "answers": {"purpose": "測試"},
        **changes,
    }
