"""The one-machine launcher: what it says, what it keeps, and that it leaves nothing behind.

The tests share one city, and each that ends it starts it again.
"""

import asyncio
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.cluster import Cluster
from tests.city import ROOT, City, application, eventually

_KEYS = {"ready", "kafka", "postgres", "intake", "backoffice", "console", "mailbox", "sms"}
_CONSOLE = 8080


def _start(folder: Path, *options: str) -> City:
    # What an earlier start in this folder said is not said by this one.
    folder.with_suffix(".out").unlink(missing_ok=True)
    return City.start(folder, *options)


@pytest.fixture(scope="module")
def _folder() -> Iterator[Path]:
    """Not in pytest's own: as root PostgreSQL runs as another user, and every later run of
    pytest closes that folder to others, while a second start must come in again."""
    with tempfile.TemporaryDirectory(prefix="casebus-launcher-") as folder:
        yield Path(folder) / "data"


@pytest.fixture(scope="module")
def lived(_folder: Path) -> Iterator[list[City]]:
    """A city, started while somebody else has the console's usual port; the list's one item."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", _CONSOLE))
            other.listen(1)
        except OSError:
            pass  # somebody else has it indeed
        cities = [_start(_folder)]
    yield cities
    cities[0].stop()


def _casebus(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "casebus", *arguments],
        env=os.environ | {"CASEBUS_DATA": str(folder)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def _all_ended(pids: dict[str, int], within_s: float) -> None:
    async def left() -> list[str]:
        return [name for name, pid in pids.items() if _alive(pid)]

    await eventually(left, lambda names: names == [], within_s)


def test_before_the_start_doctor_says_not_ready(tmp_path: Path) -> None:
    done = _casebus(tmp_path / "none", "doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report.keys() >= _KEYS
    assert report["ready"] is False
    assert [report[name] for name in _KEYS - {"ready"}] == [None] * 7


def test_before_the_start_there_is_nothing_to_end(tmp_path: Path) -> None:
    done = _casebus(tmp_path / "none", "down")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nothing runs from")


@pytest.mark.parametrize("made", [1, 3])
def test_a_data_folder_keeps_its_number_of_brokers(tmp_path: Path, made: int) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    was = Cluster.of(folder, made)
    other = {1: 3, 3: 1}[made]
    assert Cluster.of(folder, other) == was
    done = _casebus(folder, "up", "--brokers", str(other))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{folder} was made with --brokers {made} and stays so" in done.stderr


def test_data_of_before_there_was_a_choice_are_one_brokers(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    assert Cluster.of(tmp_path, 3).brokers == 1


def test_two_brokers_are_refused_for_neither_may_fail(tmp_path: Path) -> None:
    done = _casebus(tmp_path / "none", "up", "--brokers", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--brokers is 1 or 3" in done.stderr
    assert not (tmp_path / "none").exists()


def test_a_port_that_is_taken_is_named_and_another_one_is_used(lived: list[City]) -> None:
    (city,) = lived
    said = re.sub(r"\s+", " ", city.output.read_text())
    found = re.search(rf"port {_CONSOLE} is taken by another program; console is on (\d+)", said)
    assert found, said
    assert city.running.urls["console"] == f"http://127.0.0.1:{found[1]}"
    assert int(found[1]) != _CONSOLE


def test_while_it_runs_doctor_says_ready_and_where(lived: list[City]) -> None:
    (city,) = lived
    report = json.loads(city.command("doctor", "--json", status=0))
    assert report.keys() >= _KEYS
    assert report["ready"] is True
    assert report["kafka"] == city.running.kafka
    assert {name: report[name] for name in city.running.urls} == city.running.urls
    assert all(report["parts"].values())


def test_a_second_start_in_the_same_folder_is_refused(lived: list[City]) -> None:
    (city,) = lived
    before = city.running
    done = _casebus(city.folder, "up")
    assert done.returncode == 2
    assert "the city runs already from" in done.stderr
    assert city.running == before
    assert city.process.poll() is None


def test_secrets_are_for_their_owner_only(lived: list[City]) -> None:
    (city,) = lived
    for name in ("secrets.json", "running.json", "kafka/server.properties"):
        assert stat.S_IMODE((city.folder / name).stat().st_mode) == 0o600, name
    for name in ("kafka", "postgres"):
        assert stat.S_IMODE((city.folder / name).stat().st_mode) == 0o700, name


async def test_a_child_that_is_killed_is_shown_with_its_last_lines_and_started_again(
    lived: list[City],
) -> None:
    (city,) = lived
    log = (city.folder / "logs" / "sms.log").read_text().splitlines()
    killed = city.kill("sms")

    async def pid() -> int:
        return city.running.pids["sms"]

    await eventually(pid, lambda found: found != killed)
    said = city.output.read_text()
    assert "sms ended by SIGKILL; it is started again in 0.3 s" in said
    # The terminal breaks long lines.
    assert log[-1][:60] in said
    report = await eventually(lambda: _doctor(city), lambda found: found["ready"])
    assert report["parts"]["sms"] is True


async def _doctor(city: City) -> dict[str, dict[str, bool]]:
    found: dict[str, dict[str, bool]] = await city.acommand("doctor", status=None)
    return found


async def test_data_outlive_an_end_that_takes_less_than_ten_seconds(lived: list[City]) -> None:
    (city,) = lived
    receipt = await city.submit(application("SVC-001"))
    await city.at(receipt, "IPC", "ASSIGNED")
    pids = city.running.pids | {"launcher": city.running.pid}
    assert len(pids) == 11
    began = time.monotonic()
    done = await asyncio.to_thread(_casebus, city.folder, "down")
    took_s = time.monotonic() - began
    assert (done.returncode, done.stdout) == (0, "stopped\n")
    assert took_s < 10
    assert city.process.wait(5) == 0
    assert [name for name, pid in pids.items() if _alive(pid)] == []

    lived[0] = city = await asyncio.to_thread(_start, city.folder)
    assert (await city.follow(receipt))["agency"] == "IPC"
    await city.at(receipt, "IPC", "ASSIGNED")
    verdict = await city.acommand("audit")
    assert verdict["applications"] == verdict["assigned"] == verdict["in_back_offices"] == 1


async def test_when_the_launcher_is_killed_its_children_end_and_fresh_starts_anew(
    lived: list[City],
) -> None:
    (city,) = lived
    await city.submit(application("SVC-001"))
    pids = city.running.pids
    os.kill(city.process.pid, signal.SIGKILL)
    assert city.process.wait(5) == -signal.SIGKILL
    await _all_ended(pids, within_s=10)
    doctor = _casebus(city.folder, "doctor", "--json")
    assert (doctor.returncode, json.loads(doctor.stdout)["ready"]) == (1, False)

    old = city.secrets
    lived[0] = city = await asyncio.to_thread(_start, city.folder, "--fresh")
    verdict = await city.acommand("audit")
    assert (verdict["applications"], verdict["assigned"]) == (0, 0)
    assert city.secrets.master_key != old.master_key


async def test_a_lone_broker_whose_disk_was_emptied_comes_back_without_records(
    lived: list[City],
) -> None:
    (city,) = lived
    assert city.brokers == ["kafka"]
    receipt = await city.submit(application("SVC-001"))
    await city.at(receipt, "IPC", "ASSIGNED")
    (city.folder / "kafka").rename(city.folder / "lost")
    city.kill("kafka")

    async def said() -> str:
        return city.output.read_text()

    await eventually(said, lambda text: "its users and topics were made again" in text, 60)
    report = await eventually(lambda: _doctor(city), lambda found: found["parts"]["kafka"])
    assert report["kafka"] == city.running.kafka
