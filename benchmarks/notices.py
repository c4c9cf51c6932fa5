"""How fast does one dispatcher send, and how soon does a citizen's message leave?"""

import asyncio
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
from pydantic import SecretStr
from rich.console import Console

from benchmarks import children
from benchmarks.contenders.bare_sms import BareJob
from benchmarks.report import Section, Table, median_ratio, percentile, ratio, spread
from benchmarks.samples import submitted_with_keys
from benchmarks.scale import Scale
from benchmarks.stand import Stand
from deploy.local.supervisor import Program
from services.notifier.domain import EXPIRES_AFTER
from services.notifier.messages import Messages, sample
from shared.contract import topics
from shared.runtime import kafka
from shared.runtime.vault import Vault

SMS_GOAL, MAIL_GOAL = 1_000, 700
_LANGUAGE = "zh-TW"
_TEMPLATE = "assigned"
_WITHIN_S = 60.0
_RATE = 25.0
_SINK = Path("/usr/sbin/smtp-sink")
# One provider of each channel, no bounces: the peers know neither.
_CHANGES = {"CASEBUS_BOUNCE_DOMAIN": "", "CASEBUS_COLLAPSE_S": "0"}


async def measure(stand: Stand, scale: Scale, console: Console) -> Section:
    count = 1_000 if scale.quick else 5_000
    changes = _CHANGES | {"CASEBUS_SMS_PROVIDERS": _smpp_only(stand)}
    rates: dict[str, list[float]] = {name: [] for name in ("sms", "bare sms", "mail", "bare mail")}
    parts = Messages.load().render(_TEMPLATE, _LANGUAGE, "sms", sample(_LANGUAGE)).segments
    connection = await asyncpg.connect(stand.database.admin_uri)
    try:
        await stand.start("sms")
        sink = await _mail_server(stand)
        await stand.start("dispatcher", changes=changes)
        # The first turn warms up.
        for turn in range(scale.turns + 1):
            for name, rate in (
                ("sms", await _sent(connection, stand, "sms", count) * parts),
                ("bare sms", await _bare(stand, "sms", count)),
                ("mail", await _sent(connection, stand, "mail", count)),
                ("bare mail", await _bare(stand, "mail", count)),
            ):
                if turn:
                    rates[name].append(rate)
                    console.print(f"  turn {turn}  {name:<12} {rate:>8,.0f}/s", highlight=False)
        with console.status("from the event to the provider ..."):
            waits = await _latency(connection, stand, 100 if scale.quick else 500, changes)
        stand.check()
    finally:
        await connection.close()
    return _section(rates, waits, count, parts, sink, scale)


def _smpp_only(stand: Stand) -> str:
    url = f"smpp://casebus:{stand.secrets.smpp}@127.0.0.1:{stand.ports['smpp']}"
    return json.dumps([{"name": "smpp", "url": url}])


async def _mail_server(stand: Stand) -> str:
    """Start one, and say which: Postfix's own sink where it is installed."""
    if not await asyncio.to_thread(_SINK.exists):
        await stand.start("mailbox", changes={"CASEBUS_BOUNCES": ""})
        return "the simulated mailbox, which keeps every mail on the disk"
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = [str(_SINK), *user, f"127.0.0.1:{stand.ports['smtp']}", "256"]
    stand.supervisor.start(Program("mailbox", command, {"PATH": "/usr/bin:/bin"}))
    async with asyncio.timeout(_WITHIN_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", stand.ports["smtp"])
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return "smtp-sink of Postfix, which keeps nothing"


async def _sent(
    connection: "asyncpg.Connection[asyncpg.Record]", stand: Stand, channel: str, count: int
) -> float:
    """Messages a second, from when they are due until the last state is written: `delivered` of a
    text message, `sent` of a mail."""
    vault = Vault(SecretStr(stand.secrets.master_key))
    now = datetime.now(UTC)
    keys: list[tuple[Any, ...]] = []
    recipients: list[tuple[Any, ...]] = []
    notices: list[tuple[Any, ...]] = []
    context = (
        '{"number": "20261124-0000123-9", "service_name": {"zh-TW": "臺北市育兒津貼", "en": "x"},'
        ' "agency_name": {"zh-TW": "大安區公所", "en": "x"}}'
    )
    for number in range(count):
        case_id = uuid4()
        key, wrapped = vault.new_key(case_id)
        contact = (
            f'{{"contact": {{"phone": "+8869{10_000_000 + number}", "email": "u{number}@a.example",'
            f' "language": "{_LANGUAGE}"}}}}'
        )
        keys.append((case_id, wrapped))
        recipients.append((case_id, key.seal(contact.encode()), str(case_id)))
        notices.append(
            (
                uuid4(),
                uuid4(),
                case_id,
                "20261124-0000123-9",
                channel,
                _TEMPLATE,
                context,
                now,
                now + timedelta(days=1),
                now + EXPIRES_AFTER,
            )
        )
    await connection.copy_records_to_table(
        "keys", schema_name="vault", columns=("case_id", "wrapped"), records=keys
    )
    await connection.copy_records_to_table(
        "recipients",
        schema_name="notifier",
        columns=("case_id", "sealed", "number"),
        records=recipients,
    )
    await connection.copy_records_to_table(
        "notices",
        schema_name="notifier",
        columns=(
            *("notice_id", "cause", "case_id", "number", "channel", "template", "context"),
            *("happened_at", "next_try_at", "expires_at"),
        ),
        records=notices,
    )
    await connection.execute("VACUUM ANALYZE notifier.notices, notifier.recipients")
    began = await connection.fetchval(
        "WITH due AS (UPDATE notifier.notices SET next_try_at = now()"
        " WHERE state = 'created' RETURNING 1) SELECT clock_timestamp() FROM due LIMIT 1"
    )
    end = "delivered" if channel == "sms" else "sent"
    left = "SELECT count(*) FROM notifier.notices WHERE state <> $1 AND channel = $2"
    await _until_none(connection, left, end, channel)
    last = await connection.fetchval(
        "SELECT max(changed_at) FROM notifier.notices WHERE channel = $1", channel
    )
    await connection.execute("TRUNCATE notifier.notices, notifier.recipients, vault.keys")
    return float(count / (last - began).total_seconds())


async def _until_none(
    connection: "asyncpg.Connection[asyncpg.Record]", count: str, *values: str
) -> None:
    async with asyncio.timeout(_WITHIN_S):
        while await connection.fetchval(count, *values):  # noqa: ASYNC110  the database knows
            await asyncio.sleep(0.2)


async def _bare(stand: Stand, channel: str, count: int) -> float:
    """Parts, or mails, a second."""
    text = Messages.load().render(_TEMPLATE, _LANGUAGE, channel, sample(_LANGUAGE)).text
    port = stand.ports["smpp" if channel == "sms" else "smtp"]
    job = BareJob(port=port, messages=count, text=text, password=stand.secrets.smpp)
    answer = await children.answer(f"bare_{channel}", job.model_dump_json())
    return float(answer.get("parts", count) / answer["seconds"])


async def _latency(
    connection: "asyncpg.Connection[asyncpg.Record]",
    stand: Stand,
    count: int,
    changes: dict[str, str],
) -> dict[str, list[float]]:
    """Milliseconds from an application's time to the provider's answer, by channel, in order."""
    await stand.start("notifier", changes=changes)
    await connection.execute("TRUNCATE notifier.attempts")
    producer = kafka.producer(stand.kafka())
    await producer.start()
    try:
        loop = asyncio.get_running_loop()
        began = loop.time()
        master_key = SecretStr(stand.secrets.master_key)
        events = submitted_with_keys(topics.APPLICATIONS, master_key, lambda: datetime.now(UTC))
        for number, (record, *key) in enumerate(islice(events, count)):
            await connection.execute(
                "INSERT INTO vault.keys (case_id, wrapped) VALUES ($1, $2)", *key
            )
            await producer.send_and_wait(
                topics.APPLICATIONS, record.value, key=record.key, headers=list(record.headers)
            )
            await asyncio.sleep(max(0.0, began + (number + 1) / _RATE - loop.time()))
    finally:
        await producer.stop()
    waiting = (
        "SELECT count(*) FROM notifier.notices WHERE state IN ('created', 'sending', 'deferred')"
    )
    await _until_none(connection, waiting)
    found: dict[str, list[float]] = {}
    for row in await connection.fetch(
        "SELECT n.channel, extract(epoch FROM a.ended_at - n.happened_at)::float8 * 1000 AS ms"
        " FROM notifier.attempts a JOIN notifier.notices n USING (notice_id)"
        " WHERE a.outcome = 'accepted' ORDER BY ms"
    ):
        found.setdefault(row["channel"], []).append(row["ms"])
    return found


def _section(
    rates: dict[str, list[float]],
    waits: dict[str, list[float]],
    count: int,
    parts: int,
    sink: str,
    scale: Scale,
) -> Section:
    def row(name: str, ours: str, peer: str, unit: str) -> tuple[str, ...]:
        return (name, unit, spread(rates[ours]), ratio(rates[ours], rates[peer]))

    return Section(
        title="Notices: from the ledger to the providers",
        question="How many messages does one dispatcher send a second, and how soon does one go?",
        how=(
            f"{count:,} notices of as many cases are due at once; each contact is opened from the "
            f"vault, each text rendered in Chinese (an SMS of {parts} parts). The clock runs until "
            "the last state is written: of a text message that it was delivered, by the receipts "
            "of all parts; of a mail that the server took it. One dispatcher, one provider of each "
            "channel: the simulated phone, which keeps every message on the disk, and for mail "
            f"{sink}. The bare libraries send the same texts to the same servers, with receipts "
            "counted, and write nothing. "
            f"The first of {scale.turns + 1} turns is left out."
        ),
        tables=(
            Table(
                ("who", "unit", "a second: median (least - most)", "to the bare library"),
                (
                    row("casebus dispatcher", "sms", "bare sms", "SMS (parts), delivered"),
                    row("aiosmpplib alone", "bare sms", "bare sms", "SMS (parts), delivered"),
                    row("casebus dispatcher", "mail", "bare mail", "mails"),
                    row("aiosmtplib alone", "bare mail", "bare mail", "mails"),
                ),
            ),
            Table(
                ("from the event's time to the provider's answer", "p50 ms", "p99 ms"),
                tuple(
                    (name, f"{percentile(found, 50):.0f}", f"{percentile(found, 99):.0f}")
                    for name, found in sorted(waits.items())
                ),
            ),
        ),
        goals=(
            _goal("SMS", rates["sms"], SMS_GOAL),
            _goal("mails", rates["mail"], MAIL_GOAL),
            f"Of the bare library's pace the dispatcher keeps "
            f"{median_ratio(rates['sms'], rates['bare sms']):.2f} for SMS, "
            f"{median_ratio(rates['mail'], rates['bare mail']):.2f} for mail.",
        ),
        limits=(
            f"The times to the provider's answer are at {_RATE:g} applications a second, without "
            "the 3 s that a notice usually waits for a newer one.",
            "Simulators, database, broker and dispatcher share this machine's cores.",
        ),
    )


def _goal(what: str, found: Sequence[float], goal: int) -> str:
    reached = sorted(found)[len(found) // 2]
    verdict = "reached" if reached >= goal else "missed"
    return f"At least {goal:,} {what} a second by one dispatcher: {verdict}, {reached:,.0f}."
