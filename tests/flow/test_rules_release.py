"""The way of a release of rules: tried in shadow, approved by a second person, rolled back; and
what would mislead cases, or cannot be read, is refused whole."""

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.city import ROOT, City, application, eventually

RULES = ROOT / "catalogue" / "rules"
# No other test sends cases of it.
SERVICE, NOW_AT, MOVED_TO = "SVC-085", "TPL", "TFAM"


def changed(folder: Path, service: str, changes: dict[str, str]) -> str:
    """The city's rules with these cells in the first row of a service, and without examples."""
    shutil.copytree(RULES, folder, dirs_exist_ok=True)
    (folder / "examples.csv").unlink(missing_ok=True)
    with (RULES / "lead.csv").open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    first = next(row for row in rows if row["service"] == service)
    first |= changes
    with (folder / "lead.csv").open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return str(folder)


def number(said: str) -> str:
    found = re.search(r"release (\d+): ", said)
    assert found, said
    return found[1]


async def releases(city: City) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await city.acommand("rules", "releases")
    return found


async def taken(city: City, state: str) -> float:
    """How many releases in this state the router has read since it started."""
    async with httpx.AsyncClient() as client:
        url = city.running.health["router"].replace("/health", "/metrics")
        text = (await client.get(url)).text
    found = re.search(rf'casebus_releases_total{{state="{state}"}} ([0-9.]+)', text)
    return float(found[1]) if found else 0.0


async def told(city: City, state: str, *arguments: str) -> str:
    """Run a command that tells the routers something, and wait until they have taken it."""
    before = await taken(city, state)
    said = city.command(*arguments)
    await eventually(lambda: taken(city, state), lambda found: found == before + 1)
    return said


async def test_a_release_is_tried_in_shadow_approved_by_another_person_and_rolled_back(
    city: City, tmp_path: Path
) -> None:
    folder = changed(tmp_path, SERVICE, {"lead": MOVED_TO, "responsible": MOVED_TO})
    earlier = next(one for one in await releases(city) if one["in_force"])
    said = await told(
        city, "shadow", "rules", "release", folder, "--by", "王小明", "--shadow", "--note", "試行"
    )
    new = number(said)
    assert f"casebus rules approve {new}" in said
    assert "nothing changed" in city.command(
        "rules", "release", folder, "--by", "王小明", "--shadow"
    )

    # In shadow: the case goes where it went before, and what would have been is counted, once.
    receipt = await city.submit(application(SERVICE))
    await city.at(receipt, NOW_AT, "ASSIGNED")
    same = await city.submit(application())
    await city.at(same, "IPC", "ASSIGNED")
    trial = await eventually(
        lambda: city.acommand("rules", "shadow", new), lambda found: found["cases"] == 2
    )
    assert (trial["differing"], trial["tables"]["lead"]) == (1, 1)
    (move,) = trial["moves"]
    assert (move["service"], move["live_agency"], move["agency"]) == (SERVICE, NOW_AT, MOVED_TO)
    assert (move["cases"], move["example"]) == (1, receipt["number"])
    async with httpx.AsyncClient(base_url=city.running.urls["console"]) as client:
        page = (await client.get("/rules", params={"lang": "en"})).text
    assert receipt["number"] in page and "試行" in page

    # Live: only by another person, and only once.
    city.command("rules", "approve", new, "--by", " 王小明", status=1)
    await told(city, "live", "rules", "approve", new, "--by", "陳怡君")
    city.command("rules", "approve", new, "--by", "林志豪", status=1)
    city.command("rules", "withdraw", new, "--by", "王小明", status=1)
    await city.at(await city.submit(application(SERVICE)), MOVED_TO, "ASSIGNED")
    now = next(one for one in await releases(city) if one["in_force"])
    assert (now["number"], now["proposed_by"], now["approved_by"]) == (
        int(new),
        "王小明",
        "陳怡君",
    )

    # Back: a release too.
    back = number(city.command("rules", "rollback", str(earlier["number"]), "--by", "王小明"))
    await told(city, "live", "rules", "approve", back, "--by", "陳怡君")
    await city.at(await city.submit(application(SERVICE)), NOW_AT, "ASSIGNED")
    now = next(one for one in await releases(city) if one["in_force"])
    assert (now["version"], now["rollback_of"]) == (earlier["version"], earlier["number"])


async def test_what_is_withdrawn_from_shadow_is_tried_no_longer(city: City, tmp_path: Path) -> None:
    folder = changed(tmp_path, SERVICE, {"lead": MOVED_TO})
    said = await told(city, "shadow", "rules", "release", folder, "--by", "王小明", "--shadow")
    await told(city, "withdrawn", "rules", "withdraw", number(said), "--by", "林志豪")
    receipt = await city.submit(application(SERVICE))
    await city.at(receipt, NOW_AT, "ASSIGNED")

    trial = await city.acommand("rules", "shadow", number(said))
    assert (trial["state"], trial["cases"]) == ("withdrawn", 0)


async def test_what_decides_already_is_not_released_again(city: City) -> None:
    before = await releases(city)
    said = city.command("rules", "release", str(RULES), "--by", "王小明")

    assert "nothing changed" in said
    assert await releases(city) == before


@pytest.mark.parametrize(("day", "status"), [("2020-01-01", 1), ("2026-13-01", 2), ("tomorrow", 2)])
async def test_a_day_that_has_passed_or_is_none_is_refused(
    city: City, tmp_path: Path, day: str, status: int
) -> None:
    folder = changed(tmp_path, SERVICE, {"basis": "for another reason"})
    before = await releases(city)
    city.command(
        "rules", "release", folder, "--by", "王小明", "--effective-from", day, status=status
    )

    assert await releases(city) == before


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"lead": ""}, 2),
        ({"lead": "NOSUCH"}, 1),
        ({"chain": "DOSW;NOSUCH"}, 1),
        ({"service": "-"}, 2),
        ({"service": "SVC-000"}, 1),
    ],
    ids=[
        "nobody leads",
        "an unknown lead",
        "an unknown next agency",
        "for every service",
        "an unknown service, and none for one that is known",
    ],
)
async def test_rules_that_would_mislead_cases_are_refused(
    city: City, tmp_path: Path, changes: dict[str, str], status: int
) -> None:
    before = await releases(city)
    folder = changed(tmp_path, SERVICE, changes)
    assert city.command("rules", "release", folder, "--by", "王小明", status=status) == ""
    assert await releases(city) == before


BROKEN: dict[str, dict[str, str]] = {
    "no file": {},
    "no YAML": {"ruleset.yaml": ": [", "lead.csv": ""},
    "an empty header": {"ruleset.yaml": "", "lead.csv": "id\n"},
    "no row": {"ruleset.yaml": "ruleset: lead", "lead.csv": ""},
    "too many cells": {"ruleset.yaml": "ruleset: lead", "lead.csv": "id\n1,2,3\n"},
    "no such column": {"ruleset.yaml": "ruleset: lead", "lead.csv": "a,b\n1,2\n"},
}


@pytest.mark.parametrize("files", BROKEN.values(), ids=BROKEN)
async def test_a_folder_that_cannot_be_read_is_refused(
    city: City, tmp_path: Path, files: dict[str, str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert city.command("rules", "release", str(tmp_path), "--by", "王小明", status=2) == ""
