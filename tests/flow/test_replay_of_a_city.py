"""A candidate rule set over the history of the whole city."""

import csv
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.city import City, application
from tests.flow.test_commands import casebus
from tests.flow.test_rules_release import RULES, changed

# No other test sends cases of it.
SERVICE, THEN_AT, NOW_AT = "SVC-086", "MSO", "TPL"


async def test_a_candidate_moves_the_cases_that_it_changes_and_every_decision_is_reproduced(
    city: City, tmp_path: Path
) -> None:
    receipts = [await city.submit(application(SERVICE)) for _ in range(2)]
    for receipt in receipts:
        await city.at(receipt, THEN_AT, "ASSIGNED")
    folder = changed(tmp_path / "rules", SERVICE, {"lead": NOW_AT, "responsible": NOW_AT})
    yesterday = datetime.now(ZoneInfo("Asia/Taipei")).date() - timedelta(days=1)
    options = ("--since", str(yesterday), "--csv", str(tmp_path / "moves.csv"))

    found = await city.acommand("rules", "replay", folder, *options, status=1)
    (move,) = [one for one in found["moves"] if one["service"] == SERVICE]
    assert (move["from"], move["to"], move["cases"]) == (THEN_AT, NOW_AT, 2)
    assert (found["different"], found["reproduced"] >= 2) == (0, True)
    with (tmp_path / "moves.csv").open(encoding="utf-8", newline="") as lines:
        moved = [line for line in csv.DictReader(lines) if line["service"] == SERVICE]
    assert {line["number"] for line in moved} == {one["number"] for one in receipts}

    said = city.command("rules", "replay", folder, *options, status=1)
    assert move["example"] in said and "reproduced" in said

    # The rules that decided move nothing of it, whatever other tests released meanwhile.
    found = await city.acommand(
        "rules", "replay", str(RULES), *options[:2], "--no-csv", status=None
    )
    assert SERVICE not in {one["service"] for one in found["moves"]}
    assert found["csv"] is None


def test_a_replay_without_a_city_or_with_unreadable_tables_ends_with_status_2(
    tmp_path: Path,
) -> None:
    for folder, said in ((RULES, "casebus up"), (tmp_path / "none", "no such folder")):
        arguments = ("rules", "replay", str(folder), "--since", "2026-11-24", "--no-csv")
        done = casebus(*arguments, CASEBUS_DATA=str(tmp_path))
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr and "Traceback" not in done.stderr
