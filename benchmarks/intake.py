"""How many submissions a second does intake take, beside the database's own pace?"""

import asyncio
import json
import os
import re
from pathlib import Path

import asyncpg
from rich.console import Console

from benchmarks import load
from benchmarks.report import Section, Table, median_ratio, ratio, spread
from benchmarks.samples import submitted
from benchmarks.scale import Scale
from benchmarks.stand import ROOT, Stand
from deploy.local.postgres import Server
from services.intake.settings import IntakeSettings
from shared.contract import topics

_STATEMENTS = ROOT / "services" / "intake" / "sql" / "applications.sql"
_CONNECTIONS = 48
_GOAL = 0.6
PGBENCH = "pgbench, the same statement"
WEB = "intake, its web part alone"
INTAKE = "intake, whole (web, relay, projection)"
_ANSWER = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


async def measure(stand: Stand, scale: Scale, console: Console) -> Section:
    connections = IntakeSettings.model_fields["pool_max"].default
    script = stand.folder / "put_application.sql"
    script.write_text(pgbench_script())
    rates: dict[str, list[float]] = {PGBENCH: [], WEB: [], INTAKE: []}
    for turn in range(scale.intake_turns):
        for name, found in rates.items():
            await _empty(stand.database)
            if name == PGBENCH:
                rate = await _pgbench(stand, script, connections, scale.intake_s)
            else:
                rate = await _submissions(stand, scale, only="web" if name == WEB else None)
            found.append(rate)
            console.print(f"  turn {turn + 1}  {name:<44} {rate:>9,.0f}/s", highlight=False)
    return _section(rates, connections, scale)


async def _submissions(stand: Stand, scale: Scale, only: str | None) -> float:
    await stand.start("intake", only=only)
    found = await load.run(
        load.Load(
            port=stand.ports["intake"],
            connections=_CONNECTIONS,
            rate=0,
            seconds=scale.intake_s,
            warm_up=0,
        )
    )
    stand.check()
    await stand.stop("intake")
    if found["refused"]:
        raise RuntimeError(f"{found['refused']} of the submissions were refused")
    return float(found["accepted"] / found["seconds"])


async def _pgbench(stand: Stand, script: Path, connections: int, seconds: float) -> float:
    child = await asyncio.create_subprocess_exec(
        # It lies beside the server's own program.
        Path(stand.database.command()[0]).with_name("pgbench"),
        *("--no-vacuum", "--protocol=prepared", f"--file={script}"),
        *(f"--client={connections}", "--jobs=2", f"--time={max(1, round(seconds))}"),
        stand.database.uri("intake", stand.secrets.postgres["intake"]),
        env={"PATH": os.environ.get("PATH", ""), "LANG": "C.UTF-8"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await child.communicate()
    answer = _ANSWER.search(out.decode())
    if child.returncode or answer is None:
        raise RuntimeError(f"pgbench failed: {errors.decode()[-2000:]}")
    return float(answer[1])


async def _empty(database: Server) -> None:
    """Every turn begins with empty tables; nobody reads or writes them now."""
    connection = await asyncpg.connect(database.admin_uri)
    try:
        await connection.execute(
            "TRUNCATE intake.applications, intake.idempotency, intake.outbox, vault.keys"
        )
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def pgbench_script() -> str:
    """intake's own statement, its parameters put in as pgbench can: random ids, an event as
    large as a real one."""
    statement = _STATEMENTS.read_text().split("-- name: put_application$\n", 1)[1]
    statement = statement.split("-- name:", 1)[0]
    out = next(submitted(topics.APPLICATIONS))
    case_id = _hex("a") + " || " + _hex("b")
    names = ", ".join(f"'{name}'" for name, _ in out.headers)
    header_values = ", ".join(_bytea(value) for _, value in out.headers)
    values = {
        "case_id": f"CAST({case_id} AS uuid)",
        "event_id": f"CAST({_hex('b')} || {_hex('a')} AS uuid)",
        "number": f"'20261124-' || {case_id}",
        "service": "'SVC-001'",
        "facts": """'{"district": "大安區", "side_of_aiguo": null, "channel": "online"}'""",
        "sealed": f"'{json.loads(out.value or b'')['sealed']}'",
        "received_at": "now()",
        "person": f"decode({case_id}, 'hex')",
        "proven": "NULL",
        "duplicates": "'{}'",
        "key_sha256": "NULL",
        "body_sha256": f"decode({case_id}, 'hex')",
        "wrapped": f"decode({case_id} || {case_id}, 'hex')",
        "topic": f"'{out.topic}'",
        "key": f"convert_to({case_id}, 'UTF8')",
        "header_names": f"ARRAY[{names}]",
        "header_values": f"ARRAY[{header_values}]",
        "value": _bytea(out.value or b""),
    }
    filled = re.sub(r"(?<!:):(\w+)", lambda found: values[found[1]], statement)
    lines = [line for line in filled.splitlines() if not line.startswith("--")]
    ids = "\n".join(rf"\set {name} random(1, 9223372036854775806)" for name in "ab")
    return f"{ids}\n{' '.join(lines)}\n"


def _hex(variable: str) -> str:
    """Sixteen hexadecimal digits of a random number of pgbench's."""
    return f"lpad(to_hex(CAST(:{variable} AS bigint)), 16, '0')"


def _bytea(value: bytes) -> str:
    return f"CAST('\\x{value.hex()}' AS bytea)"


def _section(rates: dict[str, list[float]], connections: int, scale: Scale) -> Section:
    reached = {name: median_ratio(rates[name], rates[PGBENCH]) for name in (WEB, INTAKE)}
    rows = tuple(
        (name, spread(found), ratio(found, rates[PGBENCH])) for name, found in rates.items()
    )
    return Section(
        title="Intake: submissions beside the database's own pace",
        question=(
            "How many submissions a second does one intake process take, and how many could "
            "PostgreSQL take of the same inserts?"
        ),
        how=(
            f"{_CONNECTIONS} keep-alive connections post prepared applications as fast as they "
            "are answered; only answers 202 count, after a second of warming up. pgbench runs "
            "the statement of intake's own SQL file, as the same role, prepared, with an event "
            f"as large, over {connections} connections: as many as intake's pool has. Each for "
            f"{scale.intake_s:.0f} s, on empty tables, in {scale.intake_turns} turn(s). Neither "
            "sends an idempotency key."
        ),
        tables=(Table(("who", "submissions/s: median (least - most)", "to pgbench"), rows),),
        goals=tuple(
            f"At least {_GOAL:.0%} of pgbench, {name}: "
            f"{'reached' if share >= _GOAL else 'missed'}, {share:.0%}."
            for name, share in reached.items()
        ),
        limits=(
            "pgbench does nothing but the insert, in C. Intake also speaks HTTP, checks every "
            "field, seals the personal part with a key of its own for each case, and encodes "
            "the event.",
            "This is one process. More of them (`casebus run intake --only web`) share the same "
            "database; only one relay is at work at a time.",
            "On this machine PostgreSQL, intake and the load generator share the cores; pgbench "
            "needs hardly any of them.",
        ),
    )
