"""The commands of people and machines: what they print, and how they end."""

import json
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

from services.intake.identity import case_number
from tests.city import ROOT, City, application


def casebus(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`casebus` in an environment that knows of no city."""
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "casebus", *arguments],
        env=bare | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_lag_tells_every_partition_in_records_and_seconds(city: City) -> None:
    found = await city.acommand("lag")
    one = next(g for g in found["groups"] if g["topic"] == "applications.events")
    assert {"group", "topic", "partition", "committed", "end", "records", "seconds"} <= one.keys()
    assert {r["outbox"] for r in found["relays"]} == {"intake", "backoffice", "notifier", "console"}


async def test_doctor_says_that_all_is_ready_and_where(city: City) -> None:
    found = await city.acommand("doctor")
    assert found["ready"] is True
    keys = {"kafka", "postgres", "intake", "backoffice", "console", "mailbox", "sms"}
    assert keys <= found.keys()
    assert all(found["parts"].values())
    assert {"router", "notifier"} <= found["parts"].keys()


def test_a_number_that_cannot_be_and_one_that_nobody_has_end_differently(city: City) -> None:
    assert city.command("trace", "20261124-0000123-5", status=2) == ""
    assert city.command("trace", case_number(date(2020, 1, 1), 1), status=1) == ""


async def test_an_agency_reads_its_own_topic(city: City) -> None:
    receipt = await city.submit(application("SVC-001"))
    await city.at(receipt, "IPC", "ASSIGNED")
    assert receipt["number"] in city.command("agency", "tail", "IPC", "--no-follow")
    assert city.command("agency", "tail", "NOBODY", "--no-follow", status=2) == ""


async def test_a_clerks_token_opens_the_back_office(city: City) -> None:
    token = city.command("clerk-token", "IPC", "--name", "王小明").strip()
    async with city.office("IPC") as client:
        answer = await client.get("/api/inbox", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, answer.json()["agency"]) == (200, "IPC")


def test_releasing_the_same_rules_again_changes_nothing(city: City) -> None:
    again = city.command("rules", "release", "catalogue/rules", "--by", "Wang")
    assert "nothing changed" in again
    assert "nothing changed" in city.command("rules", "seed")


def test_broken_rules_are_refused_with_the_row(city: City, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "catalogue/rules", tmp_path, dirs_exist_ok=True)
    table = tmp_path / "lead.csv"
    table.write_text(table.read_text("utf-8").replace(",IPC,,IPC,", ",NOBODY,,IPC,"), "utf-8")
    done = casebus("rules", "release", str(tmp_path), "--by", "Wang", CASEBUS_DATA=str(city.folder))
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "NOBODY" in said and "R201" in said and "Traceback" not in said


def test_without_a_city_a_command_says_how_to_start_one(tmp_path: Path) -> None:
    for command in (("lag",), ("audit",), ("trace", "20261124-0000123-9"), ("traffic",)):
        done = casebus(*command, CASEBUS_DATA=str(tmp_path))
        assert done.returncode == 2, (command, done.stderr)
        assert "casebus up" in done.stderr and "Traceback" not in done.stderr
    doctor = casebus("doctor", "--json", CASEBUS_DATA=str(tmp_path))
    assert (doctor.returncode, json.loads(doctor.stdout)["ready"]) == (1, False)


def test_a_service_without_settings_names_each_that_is_missing() -> None:
    done = casebus("run", "intake")
    assert done.returncode == 2
    for name in ("KAFKA", "POSTGRES", "MASTER_KEY", "CITIZEN_SECRET"):
        assert f"CASEBUS_{name}:" in done.stderr
    assert "Traceback" not in done.stderr
    assert casebus("run", "nosuch").returncode == 2
