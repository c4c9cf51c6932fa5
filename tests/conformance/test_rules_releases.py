"""The way of a release in PostgreSQL: two people, one winner, and every step told once."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from catalogue import load_catalogue
from deploy.own_rules import RULES, OwnRulesError, release_own_rules
from services.console import http, releases, shadow
from services.console import worker as console
from services.console.domain import Release, ReleaseError
from services.console.settings import ConsoleSettings
from shared.contract import topics
from shared.contract.events import DecisionShadowed, RulesReleased
from shared.contract.wire import Record, decode_release, encode
from shared.runtime import migrations
from shared.runtime.postgres import Pool
from shared.runtime.web import new_app
from tests import examples
from tests.conformance.conftest import Database

TODAY = date(2026, 11, 24)
CITY_RULES = RULES
YESTERDAY, TOMORROW = TODAY - timedelta(days=1), TODAY + timedelta(days=1)
DOCUMENT: dict[str, Any] = {
    "format": 1,
    "ruleset": "taipei",
    "inputs": [{"name": "service", "type": "text", "names": "services", "meaning": "服務"}],
    "tables": {"lead": {"columns": ["id", "service", "lead"], "rows": [["A", "SVC-001", "IPC"]]}},
}


@pytest_asyncio.fixture
async def pool(database: Database, pools: dict[str, Pool]) -> AsyncIterator[Pool]:
    """The console's, with none of its tables' rows."""
    await database.admin.execute(
        "TRUNCATE console.releases, console.shadow_moves, console.outbox, console.inbox,"
        " console.parked RESTART IDENTITY"
    )
    yield pools["console"]


def proposal(version: str = "v1", by: str = "Wang", **changes: Any) -> releases.Proposal:
    values: dict[str, Any] = {"ruleset": "taipei", "version": version, "document": DOCUMENT}
    return releases.Proposal(
        **values | {"by": by, "names": NAMES, "effective_from": TODAY} | changes
    )


NAMES = {"services": ["SVC-A"], "agencies": ["AGENCY-A"], "districts": []}


async def propose(pool: Pool, *arguments: Any, **changes: Any) -> Release:
    async with pool.acquire() as connection:
        release, _ = await releases.propose(connection, proposal(*arguments, **changes), TODAY)
    return release


async def approve(pool: Pool, number: int, by: str = "Chen", today: date = TODAY) -> Release:
    async with pool.acquire() as connection:
        release, _ = await releases.approve(connection, number, by, today, NAMES)
    return release


async def withdraw(pool: Pool, number: int, by: str = "Wang") -> Release:
    async with pool.acquire() as connection:
        return await releases.withdraw(connection, number, by)


async def told(database: Database) -> list[RulesReleased]:
    """What the outbox has for the routers, in the relay's order."""
    found = await database.admin.fetch("SELECT * FROM console.outbox ORDER BY xid, seq")
    return [decode_release(_record(row)) for row in found]


def _record(row: Any) -> Record:
    headers = tuple(zip(row["header_names"], row["header_values"], strict=True))
    return Record(row["topic"], 0, row["seq"], 0, row["key"], headers, row["value"])


async def test_a_proposal_waits_and_the_routers_hear_nothing(
    pool: Pool, database: Database
) -> None:
    release = await propose(pool, note=" 修正  ")

    assert (release.number, release.state, release.note) == (1, "proposed", "修正")
    assert release.effective_from == TODAY
    assert await told(database) == []


async def test_an_approval_by_another_person_tells_the_routers_the_whole_rule_set(
    pool: Pool, database: Database
) -> None:
    await propose(pool, effective_from=TOMORROW)
    release = await approve(pool, 1)

    assert (release.state, release.approved_by) == ("live", "Chen")
    (event,) = await told(database)
    assert (event.ruleset, event.release, event.version) == ("taipei", 1, "v1")
    assert (event.state, event.effective_from) == ("live", TOMORROW)
    assert event.approvers == ("Wang", "Chen")
    assert event.tables == DOCUMENT
    assert event.time == release.approved_at


@pytest.mark.parametrize("by", ["Wang", " ＷＡＮＧ "])
async def test_nobody_approves_their_own_proposal(pool: Pool, database: Database, by: str) -> None:
    await propose(pool)
    with pytest.raises(ReleaseError, match="another person"):
        await approve(pool, 1, by)

    assert (await releases.all_releases(pool))[0].state == "proposed"
    assert await told(database) == []


@pytest.mark.parametrize("by", ["Wang", " wang ", "Ｗａｎｇ"])
async def test_nor_does_the_database_take_it(pool: Pool, by: str) -> None:
    await propose(pool)
    with pytest.raises(asyncpg.CheckViolationError, match="releases_need_two_people"):
        await pool.execute(
            "UPDATE console.releases SET state = 'live', approved_by = $1, approved_at = now()", by
        )


async def test_the_database_takes_nothing_live_without_an_approval(pool: Pool) -> None:
    await propose(pool)
    with pytest.raises(asyncpg.CheckViolationError, match="releases_live_when_approved"):
        await pool.execute("UPDATE console.releases SET state = 'live'")


async def test_a_release_in_shadow_is_told_at_once_and_again_when_it_is_live(
    pool: Pool, database: Database
) -> None:
    release = await propose(pool, shadow=True)
    await approve(pool, 1)

    in_shadow, live = await told(database)
    assert (in_shadow.state, in_shadow.approvers) == ("shadow", ())
    assert in_shadow.time == release.proposed_at
    assert (live.state, live.approvers) == ("live", ("Wang", "Chen"))
    assert in_shadow.release == live.release
    assert in_shadow.id != live.id


async def test_what_is_withdrawn_from_shadow_is_told(pool: Pool, database: Database) -> None:
    await propose(pool, shadow=True)
    release = await withdraw(pool, 1)

    assert (release.state, release.withdrawn_by) == ("withdrawn", "Wang")
    assert [event.state for event in await told(database)] == ["shadow", "withdrawn"]


async def test_a_proposal_that_is_withdrawn_needs_no_word(pool: Pool, database: Database) -> None:
    await propose(pool)
    await withdraw(pool, 1)

    assert await told(database) == []


async def test_a_release_is_approved_once(pool: Pool, database: Database) -> None:
    await propose(pool)
    await approve(pool, 1)
    with pytest.raises(ReleaseError, match="live already, approved by Chen"):
        await approve(pool, 1, "Lin")

    assert len(await told(database)) == 1


async def test_what_is_withdrawn_is_neither_approved_nor_withdrawn_again(pool: Pool) -> None:
    await propose(pool)
    await withdraw(pool, 1)
    for step in (approve, withdraw):
        with pytest.raises(ReleaseError, match="withdrawn by Wang"):
            await step(pool, 1)


async def test_what_is_live_is_not_withdrawn(pool: Pool) -> None:
    await propose(pool)
    await approve(pool, 1)
    with pytest.raises(ReleaseError, match="casebus rules rollback"):
        await withdraw(pool, 1)


async def test_a_number_that_nobody_has_is_told(pool: Pool) -> None:
    for step in (approve, withdraw):
        with pytest.raises(ReleaseError, match="there is no release 9"):
            await step(pool, 9)


async def test_a_day_that_passed_meanwhile_becomes_today(pool: Pool, database: Database) -> None:
    await propose(pool)
    await approve(pool, 1)
    await propose(pool, "v2")
    async with pool.acquire() as connection:
        release, asked_for = await releases.approve(connection, 2, "Chen", TOMORROW, NAMES)

    assert (release.effective_from, asked_for) == (TOMORROW, TODAY)
    assert [event.effective_from for event in await told(database)] == [TODAY, TOMORROW]


async def test_only_the_first_release_reaches_back(pool: Pool) -> None:
    await propose(pool, effective_from=YESTERDAY)
    await propose(pool, "v2", effective_from=YESTERDAY)
    assert (await approve(pool, 1)).effective_from == YESTERDAY
    assert (await approve(pool, 2)).effective_from == TODAY
    with pytest.raises(ReleaseError, match="in the past"):
        await propose(pool, "v3", effective_from=YESTERDAY)


async def test_what_decides_already_is_not_released_again(pool: Pool) -> None:
    await propose(pool)
    await approve(pool, 1)
    async with pool.acquire() as connection:
        again = await releases.propose(connection, proposal(by="Lin"), TODAY)

    assert (again[0].number, again[1]) == (1, False)


async def test_a_proposal_made_twice_by_one_person_is_one(pool: Pool) -> None:
    first = await propose(pool)

    assert await propose(pool, by=" wang") == first
    assert (await propose(pool, by="Lin")).number == 2
    assert (await propose(pool, effective_from=TOMORROW)).number == 3


async def test_who_names_no_day_repeats_a_proposal_on_a_later_day_too(pool: Pool) -> None:
    first = await propose(pool, effective_from=None)
    await propose(pool, effective_from=TODAY + timedelta(days=9))
    async with pool.acquire() as connection:
        again = await releases.propose(connection, proposal(effective_from=None), TOMORROW)

    assert again == (first, False)


async def test_an_earlier_version_may_be_released_anew(pool: Pool, database: Database) -> None:
    for number, version in enumerate(("v1", "v2"), start=1):
        await propose(pool, version)
        await approve(pool, number)
    await propose(pool, "v1", by="Lin", rollback_of=1)
    release = await approve(pool, 3)

    assert (release.version, release.rollback_of) == ("v1", 1)
    events = await told(database)
    assert [(one.release, one.version) for one in events] == [(1, "v1"), (2, "v2"), (3, "v1")]
    assert len({one.id for one in events}) == 3


async def test_tables_that_kafka_would_not_take_are_refused(pool: Pool) -> None:
    rows = [["A", "SVC-001", "政" * 1000]] * 300
    wide = {**DOCUMENT, "tables": {"lead": {"columns": ["id", "service", "note"], "rows": rows}}}
    with pytest.raises(ReleaseError, match="900,000"):
        await propose(pool, document=wide)

    assert await releases.all_releases(pool) == []


async def test_another_rule_set_is_not_tried_beside_the_live_one(pool: Pool) -> None:
    await propose(pool)
    await approve(pool, 1)
    with pytest.raises(ReleaseError, match="cannot be tried beside taipei"):
        await propose(pool, "v2", ruleset="other", shadow=True)


async def together(*steps: Awaitable[Release]) -> tuple[list[Release], list[BaseException]]:
    """What each step of several at once came to."""
    found = await asyncio.gather(*steps, return_exceptions=True)
    done = [one for one in found if isinstance(one, Release)]
    return done, [one for one in found if isinstance(one, BaseException)]


async def test_of_two_approvals_at_once_one_wins(pool: Pool, database: Database) -> None:
    for number in range(1, 11):
        await propose(pool, f"v{number}", effective_from=TODAY + timedelta(days=number))
        done, failed = await together(*(approve(pool, number, by) for by in ("Chen", "Lin", "Wu")))

        assert [type(error) for error in failed] == [ReleaseError] * 2
        kept = (await releases.all_releases(pool))[0]
        assert [kept] == done
    assert [event.release for event in await told(database)] == list(range(1, 11))


async def test_of_an_approval_and_a_withdrawal_at_once_one_wins(
    pool: Pool, database: Database
) -> None:
    wanted = []
    for number in range(1, 11):
        await propose(pool, f"v{number}", shadow=True)
        done, failed = await together(approve(pool, number), withdraw(pool, number))

        assert [type(error) for error in failed] == [ReleaseError]
        (kept,) = done
        assert (await releases.all_releases(pool))[0] == kept
        wanted += [(number, "shadow"), (number, kept.state)]
    assert [(event.release, event.state) for event in await told(database)] == wanted


async def test_two_first_releases_at_once_do_not_both_reach_back(pool: Pool) -> None:
    for version in ("v1", "v2"):
        await propose(pool, version, effective_from=YESTERDAY)
    done, _ = await together(approve(pool, 1), approve(pool, 2))

    assert sorted(one.effective_from for one in done) == [YESTERDAY, TODAY]


async def test_who_waits_too_long_for_another_changes_nothing(
    pool: Pool, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "_LOCK_WITHIN_S", 0.1)
    await propose(pool)
    async with database.admin.transaction():
        await database.admin.execute("LOCK TABLE console.releases IN SHARE MODE")
        with pytest.raises(TimeoutError):
            await approve(pool, 1)

    assert (await releases.all_releases(pool))[0].state == "proposed"


async def test_a_step_that_fails_halfway_leaves_nothing(
    pool: Pool, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise asyncpg.DiskFullError("no space left")

    await propose(pool, shadow=True)
    monkeypatch.setattr(releases.TABLES, "append", broken)
    with pytest.raises(asyncpg.DiskFullError):
        await approve(pool, 1)

    assert (await releases.all_releases(pool))[0].state == "shadow"
    assert len(await told(database)) == 1


async def test_an_operator_sees_releases_and_trials_and_changes_neither(
    pool: Pool, pools: dict[str, Pool]
) -> None:
    await propose(pool)
    operator = pools["operator"]
    assert [one.number for one in await releases.all_releases(operator)] == [1]
    assert (await shadow.trial(operator, 1)).cases == 0
    for statement in ("DELETE FROM console.shadow_moves", "UPDATE console.releases SET note = ''"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await operator.execute(statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await approve(operator, 1)


# --- the first rules of a city


def _city_rules(folder: Path, was: str = "", becomes: str = "") -> Path:
    """The city's own tables with something changed in the table of leads."""
    shutil.copytree(CITY_RULES, folder, dirs_exist_ok=True)
    leads = folder / "lead.csv"
    leads.write_text(leads.read_text("utf-8").replace(was, becomes, 1), "utf-8")
    return folder


async def _start(database: Database, folder: Path, *, first_only: bool = False) -> bool:
    uri = database.uri("console")
    return await release_own_rules(uri, load_catalogue(), folder, first_only=first_only)


async def test_the_launcher_releases_the_citys_tables_once(
    pool: Pool, database: Database, tmp_path: Path
) -> None:
    folder = _city_rules(tmp_path)

    assert [await _start(database, folder) for _ in range(2)] == [True, False]
    (event,) = await told(database)
    assert (event.state, event.approvers) == ("live", ("catalogue", "casebus"))


async def test_a_restart_leaves_what_a_person_released_in_force(
    pool: Pool, database: Database, tmp_path: Path
) -> None:
    folder = _city_rules(tmp_path)
    await _start(database, folder)
    await propose(pool, effective_from=None)
    await approve(pool, 2)
    await _start(database, folder)

    assert [event.release for event in await told(database)] == [1, 2]


async def test_a_start_with_changed_tables_releases_them(
    pool: Pool, database: Database, tmp_path: Path
) -> None:
    await _start(database, _city_rules(tmp_path))
    await _start(database, _city_rules(tmp_path, "S RAY4 #0", "for another reason"))

    first, second = await told(database)
    assert (second.release, second.state) == (2, "live")
    assert first.version != second.version


async def test_seeding_changes_nothing_where_rules_are_in_force(
    pool: Pool, database: Database, tmp_path: Path
) -> None:
    await _start(database, _city_rules(tmp_path), first_only=True)
    changed = _city_rules(tmp_path, "S RAY4 #0", "for another reason")

    assert not await _start(database, changed, first_only=True)
    assert len(await told(database)) == 1


@pytest.mark.parametrize(("becomes", "said"), [(",NOSUCH,,IPC,", "R201"), (",,,IPC,", "T007")])
async def test_a_start_with_tables_that_mislead_or_cannot_be_read_says_why(
    pool: Pool, database: Database, tmp_path: Path, becomes: str, said: str
) -> None:
    with pytest.raises(OwnRulesError, match=said):
        await _start(database, _city_rules(tmp_path, ",IPC,,IPC,", becomes))

    assert await releases.all_releases(pool) == []


# --- releases in shadow


def shadowed(**changes: Any) -> DecisionShadowed:
    values: dict[str, Any] = {
        "id": uuid4(),
        "source": "router",
        "time": examples.NOW,
        "case_id": uuid4(),
        "number": "20261124-0000123-9",
        "service": "SVC-056",
        "release": 1,
        "version": "v1",
        "live_version": "v0",
        "agency": "LO-DA",
        "rule": "B",
        "live_agency": "LO-GT",
        "live_rule": "A",
        "differs": ("deadline", "lead"),
    }
    return DecisionShadowed(**values | changes)


def _as_read(event: DecisionShadowed) -> Record:
    out = encode(topics.RULES_SHADOW, event)
    return Record(out.topic, 0, 0, 0, out.key, out.headers, out.value)


async def _take(pool: Pool, *events: DecisionShadowed) -> None:
    sink = console.shadow_sink(pool, lambda: None)
    await sink.take([_as_read(event) for event in events])


async def test_decisions_in_shadow_are_counted_each_once(pool: Pool) -> None:
    moved = [shadowed(), shadowed(number="20261124-0000124-7")]
    late = shadowed(agency="LO-GT", differs=("deadline",))
    same = [shadowed(agency="LO-GT", differs=()) for _ in range(5)]
    of_another = shadowed(release=2)
    for _ in range(2):
        await _take(pool, *moved, late, *same)
        await _take(pool, of_another, moved[0])

    trial = await shadow.trial(pool, 1)
    assert (trial.cases, trial.differing) == (8, 3)
    assert trial.tables == {"lead": 2, "joint_review": 0, "deadline": 3}
    first, second = trial.moves
    assert (first.service, first.live_agency, first.agency) == ("SVC-056", "LO-GT", "LO-DA")
    assert (first.differs, first.cases) == (("lead", "deadline"), 2)
    assert first.example == "20261124-0000123-9"
    assert (second.agency, second.differs, second.cases) == ("LO-GT", ("deadline",), 1)
    assert (await shadow.trial(pool, 2)).cases == 1


# --- the page


@pytest_asyncio.fixture
async def page(pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    async def ready() -> dict[str, bool]:
        return {}

    app = new_app("console", ready)
    settings = ConsoleSettings(kafka="none:9092", postgres=SecretStr("none"))
    http.add_routes(app, settings, load_catalogue(), pool)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/rules"])
@pytest.mark.parametrize("lang", ["zh-TW", "en"])
async def test_a_page_without_any_release_is_whole(
    page: httpx.AsyncClient, path: str, lang: str
) -> None:
    answer = await page.get(path, params={"lang": lang})

    assert answer.status_code == 200
    assert f'<html lang="{lang}"' in answer.text


async def test_the_page_shows_each_release_and_what_those_in_shadow_would_change(
    pool: Pool, page: httpx.AsyncClient
) -> None:
    await propose(pool, "v1")
    await approve(pool, 1)
    await propose(pool, "v2", shadow=True, note="<b>new</b> borders")
    await propose(pool, "v3", by="Lin")
    await withdraw(pool, 3, "Lin")
    await _take(pool, shadowed(release=2), shadowed(release=2, differs=(), agency="LO-GT"))
    text = (await page.get("/rules", params={"lang": "en"})).text

    for wanted in ("in force", "in shadow", "withdrawn", "Wang", "Chen", "Lin"):
        assert wanted in text
    assert "&lt;b&gt;new&lt;/b&gt; borders" in text and "<b>" not in text
    agencies = load_catalogue().agencies
    for code in ("LO-GT", "LO-DA"):
        assert agencies[code].en in text
    assert "20261124-0000123-9" in text
    assert "/rules?lang=en" in (await page.get("/", params={"lang": "en"})).text


# --- from the releases of before


async def test_releases_of_before_keep_their_order_and_are_withdrawn(database: Database) -> None:
    files = dict(migrations.files())
    first, second = (files[f"console/{name}"] for name in ("0001_console", "0002_releases"))
    before = [
        ("b", ["catalogue"], 1),
        ("a", [], 2),
        ("c", ["Wang", "wang ", "Chen"], 3),
        ("d", ["unknown"], 4),
    ]
    connection = await asyncpg.connect(database.admin_uri)
    transaction = connection.transaction()
    await transaction.start()
    try:
        # In a schema of its own, whose name stands in for the console's.
        await connection.execute("CREATE SCHEMA console_of_before")
        await connection.execute(first.replace("console.", "console_of_before."))
        for version, approvers, minute in before:
            await connection.execute(
                "INSERT INTO console_of_before.releases VALUES ('lead', $1, $2, $3, $4, $5)",
                *(version, TODAY, approvers, json.dumps({"lead": []})),
                examples.NOW + timedelta(minutes=minute),
            )
        await connection.execute(second.replace("console.", "console_of_before."))
        found = await connection.fetch(
            "SELECT number, version, state, proposed_by, withdrawn_by, proposed_at"
            " FROM console_of_before.releases ORDER BY number"
        )
    finally:
        await transaction.rollback()
        await connection.close()

    assert [tuple(row)[:5] for row in found] == [
        (1, "b", "withdrawn", "catalogue", "casebus migrate"),
        (2, "a", "withdrawn", "unknown", "casebus migrate"),
        (3, "c", "withdrawn", "Wang", "casebus migrate"),
        (4, "d", "withdrawn", "unknown", "casebus migrate"),
    ]
    assert found[0]["proposed_at"] == examples.NOW + timedelta(minutes=1)
