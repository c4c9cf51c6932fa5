"""How fast does one relay empty an outbox?"""

from itertools import islice

import asyncpg
from aiokafka import TopicPartition
from rich.console import Console

from benchmarks import children, evidence
from benchmarks.contenders.outbox import OutboxJob
from benchmarks.report import Section, Table, median_ratio, ratio, spread
from benchmarks.samples import submitted
from benchmarks.scale import Scale
from benchmarks.stand import Stand
from shared.contract import topics
from shared.runtime.outbox import Tables

RELAY, RAW = "casebus relay, exactly once", "aiokafka in a plain loop, at least once"
_MODES = {RELAY: "relay", RAW: "raw"}
_COLUMNS = "topic, key, header_names, header_values, value"
# One transaction a row, as when applications come in; only the disk is not waited for.
_FILL = f"""DO $$
DECLARE one record;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', false);
    FOR one IN SELECT * FROM bench.rows LOOP
        INSERT INTO intake.outbox ({_COLUMNS})
        VALUES (one.topic, one.key, one.header_names, one.header_values, one.value);
        COMMIT;
    END LOOP;
END $$"""


async def measure(stand: Stand, scale: Scale, console: Console) -> Section:
    connection = await asyncpg.connect(stand.database.admin_uri)
    rates: dict[str, list[float]] = {name: [] for name in _MODES}
    try:
        with console.status("rows for the outbox ..."):
            await _prepare(connection, scale.rows)
        # The first turn warms up.
        for turn in range(scale.turns + 1):
            xid, seq = await _last(connection)
            await connection.execute(_FILL, timeout=120)
            order = list(_MODES) if turn % 2 else list(reversed(_MODES))
            for name in order:
                rate = await _run(stand, _MODES[name], scale.rows, xid, seq)
                if turn:
                    rates[name].append(rate)
                    line = f"  turn {turn}  {name:<44} {rate:>9,.0f}/s"
                    console.print(line, highlight=False)
    finally:
        await connection.close()
    return _section(rates, scale)


async def _prepare(connection: "asyncpg.Connection[asyncpg.Record]", rows: int) -> None:
    await connection.execute(
        "CREATE SCHEMA bench;"
        f" CREATE TABLE bench.rows AS SELECT {_COLUMNS} FROM intake.outbox WHERE false;"
        " CREATE TABLE bench.position AS SELECT ''::text AS xid, 0::bigint AS seq;"
        " GRANT USAGE ON SCHEMA bench TO intake; GRANT ALL ON bench.position TO intake"
    )
    records = [Tables.row(out) for out in islice(submitted(topics.APPLICATIONS), rows)]
    await connection.copy_records_to_table("rows", schema_name="bench", records=records)


async def _last(connection: "asyncpg.Connection[asyncpg.Record]") -> tuple[int, int]:
    row = await connection.fetchrow(
        "SELECT xid::text AS xid, seq FROM intake.outbox ORDER BY outbox.xid DESC, seq DESC LIMIT 1"
    )
    return (int(row["xid"]), row["seq"]) if row else (0, 0)


async def _run(stand: Stand, mode: str, rows: int, xid: int, seq: int) -> float:
    """Rows a second. Raises WrongCountError unless each came to Kafka once."""
    before = await evidence.ends(stand.kafka(), [topics.APPLICATIONS])
    job = OutboxJob(
        **children.job(
            stand, topic="", group="", records=rows, mode=mode, outputs=(topics.APPLICATIONS,)
        ).model_dump(),
        database=stand.database.uri("intake", stand.secrets.postgres["intake"]),
        xid=xid,
        seq=seq,
    )
    answer = await children.answer("outbox", job.model_dump_json())
    await _each_once(stand, mode, before, rows)
    return float(rows / answer["seconds"])


async def _each_once(stand: Stand, mode: str, before: dict[TopicPartition, int], rows: int) -> None:
    keys = [message.key async for message in evidence.committed_since(stand.kafka(), before)]
    if len(keys) != rows or len(set(keys)) != rows:
        raise evidence.WrongCountError(
            f"{mode}: {len(keys)} records of {len(set(keys))} cases, {rows} expected"
        )


def _section(rates: dict[str, list[float]], scale: Scale) -> Section:
    rows = tuple((name, spread(found), ratio(found, rates[RAW])) for name, found in rates.items())
    kept = median_ratio(rates[RELAY], rates[RAW])
    return Section(
        title="The relay: from the outbox to Kafka",
        question="How many rows a second does one relay bring from an outbox to Kafka?",
        how=(
            f"An outbox of {scale.rows:,} rows, each from a transaction of its own, is emptied "
            "from the first row to the last commit acknowledged. Both read 500 rows at a time and "
            "send with the same settings, the same rows in the same turn. The relay sends rows and "
            "position in one Kafka transaction and leaves out what was refused; the plain loop "
            "writes its position to PostgreSQL after each batch, and would send a batch again "
            "after a crash. The first of "
            f"{scale.turns + 1} turns is left out. All records were read back."
        ),
        tables=(Table(("who", "rows/s: median (least - most)", "to the plain loop"), rows),),
        goals=(f"No goal was set; of the plain loop's pace the relay keeps {kept:.2f}.",),
        limits=(
            "One outbox has one relay at work: this is the most that one service tells the "
            "others, whatever its number of processes.",
        ),
    )
