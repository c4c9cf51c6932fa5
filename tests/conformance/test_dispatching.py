"""The dispatcher on a real PostgreSQL: consents, orders, silence, rates, and many at work."""

import asyncio
import json
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from services.notifier.channels import Accepted, Outgoing, Receipt, Reply, TemporaryRefusal
from services.notifier.consents import Consents, is_stop
from services.notifier.dispatcher import Dispatcher
from services.notifier.domain import Notice
from services.notifier.handlers import Sender
from services.notifier.links import Links
from services.notifier.messages import Messages
from services.notifier.preferences import Preferences
from services.notifier.routes import Route, Routes
from services.notifier.store import PostgresLedger, PostgresOutcomes, PostgresTokens, sql
from shared.runtime.postgres import Pool
from shared.runtime.vault import Vault
from tests import examples
from tests.city import eventually
from tests.conformance.conftest import Database
from tests.examples import NOW
from tests.fakes import FakeProvider

MASTER_KEY = SecretStr(b64encode(b"k" * 32).decode())
MESSAGES = Messages.load()


def now() -> datetime:
    return datetime.now(UTC)


def notice(**changes: Any) -> Notice:
    """A notice of something that has just happened."""
    return examples.notice(**({"happened_at": now()} | changes))


PHONE, EMAIL = "+886912345678", "wang@mail.example"


@dataclass
class Bench:
    """The notifier's parts over one database."""

    pool: Pool
    admin: "asyncpg.Connection[asyncpg.Record]"
    vault: Vault = field(default_factory=lambda: Vault(MASTER_KEY))

    @property
    def consents(self) -> Consents:
        return Consents(self.pool, self.vault, b"hash key")

    async def case(self, number: str = examples.NUMBER, **contact: Any) -> UUID:
        """A case whose citizen can be reached, by its key and its sealed contact."""
        case_id = uuid4()
        key, wrapped = self.vault.new_key(case_id)
        given = {"phone": PHONE, "email": EMAIL, "language": "zh-TW"} | contact
        sealed = key.seal(json.dumps({"contact": given}).encode())
        await self.admin.execute("SELECT vault.create_key($1, $2)", case_id, wrapped)
        async with self.pool.acquire() as connection:
            await PostgresLedger(connection).put_recipient(case_id, number, sealed)
        return case_id

    async def keep(self, *notices: Notice, hold: timedelta = timedelta()) -> None:
        async with self.pool.acquire() as connection, connection.transaction():
            for one in notices:
                await PostgresLedger(connection, hold).put_notice(one)

    async def states(self) -> Counter[str]:
        rows = await self.pool.fetch("SELECT state FROM notifier.notices")
        return Counter(row["state"] for row in rows)

    async def one(self) -> Any:
        return await self.pool.fetchrow("SELECT * FROM notifier.notices")

    async def number_of(self, case_id: UUID) -> int:
        select = "SELECT seq FROM notifier.recipients WHERE case_id = $1"
        return int(await self.pool.fetchval(select, case_id))

    @asynccontextmanager
    async def dispatching(
        self, sms: Any, mail: Any = None, places: int = 50
    ) -> AsyncIterator[Dispatcher]:
        """A dispatcher at work with these providers."""

        async def ready() -> None: ...

        tokens = PostgresTokens(self.pool)
        loop = asyncio.get_running_loop()
        channels = {"sms": sms, "mail": mail or FakeProvider(name="mail")}
        sender = Sender(
            {
                channel: Routes([Route(one)], places, tokens.take, loop.time, now, lambda: 0.0)
                for channel, one in channels.items()
            },
            MESSAGES,
            Links(b"secret", "https://cases.example"),
            "https://cases.example/",
            "none",
            now,
            lambda: 0.5,
        )
        found = Dispatcher(
            30,
            self.pool,
            self.vault,
            sender,
            PostgresOutcomes(self.pool),
            self.consents,
            lambda: None,
            ready,
        )
        task = asyncio.create_task(found.run())
        yield found
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def bench(pools: dict[str, Pool], clean: Database) -> Bench:
    return Bench(pools["notifier"], clean.admin)


class Counts(FakeProvider):
    """Takes every message, each after a turn of the loop."""

    async def send(self, message: Outgoing) -> Accepted:
        self.sent.append(message)
        await asyncio.sleep(0)
        return Accepted((f"{self.name}-{message.notice_id}",))


async def test_several_dispatchers_send_each_notice_once(bench: Bench) -> None:
    kept = [notice(case_id=await bench.case()) for _ in range(120)]
    await bench.keep(*kept)
    first, second = Counts(name="a"), Counts(name="b")
    async with bench.dispatching(first, places=10), bench.dispatching(second, places=10):
        await eventually(bench.states, lambda found: found == {"sent": 120})
    sent = [one.notice_id for one in (*first.sent, *second.sent)]
    assert sorted(sent) == sorted(one.notice_id for one in kept)
    assert first.sent
    assert second.sent


async def test_one_that_is_never_answered_holds_nobody_up_and_is_unknown_after_its_lease(
    bench: Bench,
) -> None:
    class Hangs(Counts):
        async def send(self, message: Outgoing) -> Accepted:
            if message.to.endswith("99"):
                await asyncio.Event().wait()
            return await super().send(message)

    silent = notice(case_id=await bench.case(phone="+886912345699"))
    others = [notice(case_id=await bench.case()) for _ in range(40)]
    await bench.keep(silent, *others)
    async with bench.dispatching(Hangs(), places=5):
        await eventually(bench.states, lambda found: found == {"sent": 40, "sending": 1})
    # It died with it under way.
    await bench.admin.execute("UPDATE notifier.notices SET leased_until = now() - interval '1 s'")
    after = Counts()
    async with bench.dispatching(after):
        await eventually(bench.states, lambda found: found == {"sent": 40, "unknown": 1})
    assert after.sent == []


async def test_a_dispatcher_that_is_told_to_stop_keeps_what_it_has_sent(bench: Bench) -> None:
    class Slow(Counts):
        async def send(self, message: Outgoing) -> Accepted:
            accepted = await super().send(message)
            began.set()
            await asyncio.sleep(0.3)
            return accepted

    began = asyncio.Event()
    await bench.keep(notice(case_id=await bench.case()))
    async with bench.dispatching(Slow()):
        await began.wait()
    assert await bench.states() == {"sent": 1}


async def test_a_case_whose_key_was_shredded_can_be_told_nothing_more(bench: Bench) -> None:
    case_id = await bench.case()
    await bench.keep(notice(case_id=case_id))
    await bench.admin.execute("SELECT vault.shred_key($1)", case_id)
    provider = Counts()
    async with bench.dispatching(provider):
        await eventually(bench.states, lambda found: found == {"suppressed": 1})
    assert (await bench.one())["reason"] == "vault.no_key"
    assert provider.sent == []


async def test_what_cannot_be_opened_or_read_holds_nobody_up(bench: Bench) -> None:
    broken, odd, lone = [await bench.case() for _ in range(3)]
    await bench.admin.execute("UPDATE vault.keys SET wrapped = 'x' WHERE case_id = $1", broken)
    for case_id, contact in ((odd, "[]"), (lone, '{"phone": "+886912345678\\ud800"}')):
        key = await bench.vault.open(bench.admin, case_id, "test")
        await bench.admin.execute(
            "UPDATE notifier.recipients SET sealed = $2 WHERE case_id = $1",
            case_id,
            key.seal(f'{{"contact": {contact}}}'.encode()),
        )
    cases = [broken, odd, lone, await bench.case()]
    await bench.keep(*(notice(case_id=case_id) for case_id in cases))
    async with bench.dispatching(Counts()):
        await eventually(bench.states, lambda found: found == {"suppressed": 3, "sent": 1})
    rows = await bench.pool.fetch("SELECT reason FROM notifier.notices WHERE state <> 'sent'")
    reasons = sorted(row["reason"] for row in rows)
    assert reasons == ["contact.unreadable", "contact.unreadable", "vault.master_key"]


async def test_what_was_claimed_and_could_not_be_opened_in_time_is_due_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.keep(notice(case_id=await bench.case()))
    open_many, asked = bench.vault.open_many, []

    async def away_once(*arguments: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 1:
            raise ConnectionError("the database went away")
        return await open_many(*arguments)

    monkeypatch.setattr(bench.vault, "open_many", away_once)
    provider = Counts()
    async with bench.dispatching(provider):
        await eventually(bench.states, lambda found: found == {"sent": 1})
    assert (await bench.one())["tries"] == 1
    assert len(provider.sent) == 1


async def test_every_opening_of_an_address_is_written_down(bench: Bench) -> None:
    case_id = await bench.case()
    await bench.keep(notice(case_id=case_id))
    async with bench.dispatching(Counts()):
        await eventually(bench.states, lambda found: found == {"sent": 1})
    opened = await bench.admin.fetch("SELECT * FROM vault.openings WHERE case_id = $1", case_id)
    assert [(row["opened_by"], row["purpose"]) for row in opened] == [("notifier", "notice")]


async def test_while_all_providers_are_down_no_tries_are_used_up(bench: Bench) -> None:
    class Down(FakeProvider):
        async def send(self, message: Outgoing) -> Accepted:
            self.sent.append(message)
            raise TemporaryRefusal("sms.no_connection")

    kept = [notice(case_id=await bench.case()) for _ in range(30)]
    await bench.keep(*kept)
    down = Down()
    async with bench.dispatching(down, places=1):
        await eventually(bench.states, lambda found: found["temporary_failure"] == 5)
        await asyncio.sleep(0.5)
    assert len(down.sent) == 5
    assert await bench.states() == {"temporary_failure": 5, "created": 25}
    tries = await bench.pool.fetchval("SELECT max(tries) FROM notifier.notices")
    assert tries == 1


# --- what citizens want


async def test_a_citizen_sees_and_changes_what_holds_for_their_addresses(bench: Bench) -> None:
    mine, other = await bench.case(), await bench.case(number="20261124-0000124-6")
    number = await bench.number_of(mine)
    shown = await bench.consents.of(number)
    assert shown is not None
    assert shown.number == examples.NUMBER
    assert (shown.phone, shown.email) == ("09•••••678", "w•••@m•••.example")
    assert shown.preferences == Preferences(True, True, "zh-TW", "city")

    wanted = Preferences(False, True, "en", (22, 7))
    await bench.consents.choose(number, wanted, NOW)

    again = await bench.consents.of(await bench.number_of(other))
    assert again is not None
    assert again.preferences == wanted
    kept = await bench.pool.fetch("SELECT * FROM notifier.consents")
    assert "912345678" not in repr(kept)
    assert "wang" not in repr(kept)


async def test_who_stopped_gets_nothing_in_any_case(bench: Bench) -> None:
    await bench.keep(notice(case_id=await bench.case()))
    async with bench.dispatching(Counts()) as dispatcher:
        await eventually(bench.states, lambda found: found == {"sent": 1})
        await dispatcher.on_reply(Reply("smpp", PHONE, "ＳＴＯＰ。"))
        await bench.keep(notice(case_id=await bench.case()))
        await eventually(bench.states, lambda found: found == {"sent": 1, "suppressed": 1})


async def test_an_answer_that_is_no_stop_changes_nothing(bench: Bench) -> None:
    async with bench.dispatching(Counts()) as dispatcher:
        await dispatcher.on_reply(Reply("smpp", PHONE, "謝謝"))
    assert await bench.pool.fetchval("SELECT count(*) FROM notifier.consents") == 0


@pytest.mark.parametrize("text", ["STOP", "stop ", "Stop!", "停止", "停止。", "退訂", "ｓｔｏｐ"])
def test_a_stop_is_understood_however_it_is_written(text: str) -> None:
    assert is_stop(text)


@pytest.mark.parametrize("text", ["", "不要停止", "please stop by", "STOPP", "謝謝"])
def test_what_is_no_stop_is_none(text: str) -> None:
    assert not is_stop(text)


async def test_an_address_that_bounced_gets_no_more_until_somebody_says_so(bench: Bench) -> None:
    case_id = await bench.case()
    await bench.keep(first := notice(case_id=case_id, channel="mail"))
    mails = Counts(name="mail")
    async with bench.dispatching(Counts(), mails) as dispatcher:
        await eventually(bench.states, lambda found: found == {"sent": 1})
        await dispatcher.on_receipt(
            Receipt("bounces", "", "undeliverable", NOW, first.notice_id, "5.1.1", hard=True)
        )
        await bench.keep(notice(case_id=case_id, channel="mail"))
        await eventually(
            bench.states, lambda found: found == {"permanent_failure": 1, "suppressed": 1}
        )
        outcome = await order(bench, "allow", f"{examples.NUMBER}:mail")
        assert outcome == (True, "messages go there again")
        await bench.keep(notice(case_id=case_id, channel="mail"))
        await eventually(bench.states, lambda found: found["sent"] == 1)


async def test_what_cannot_be_opened_any_more_shows_nothing(bench: Bench) -> None:
    case_id = await bench.case()
    number = await bench.number_of(case_id)
    await bench.admin.execute("SELECT vault.shred_key($1)", case_id)
    assert await bench.consents.of(number) is None
    await bench.consents.choose(number, Preferences(False, False, "en", "none"), NOW)
    assert await bench.pool.fetchval("SELECT count(*) FROM notifier.consents") == 0


# --- operators


async def order(bench: Bench, action: str, target: str) -> tuple[bool, str]:
    """As `casebus notices` gives it; what came of it."""
    number = await bench.admin.fetchval(
        "INSERT INTO notifier.notice_orders (action, target, ordered_by, reason)"
        " VALUES ($1, $2, 'wang', 'asked for') RETURNING id",
        action,
        target,
    )

    async def done() -> Any:
        select = (
            "SELECT settled, outcome FROM notifier.notice_orders WHERE id = $1 AND done_at < $2"
        )
        later = now() + timedelta(hours=1)
        return await bench.admin.fetchrow(select, number, later)

    row = await eventually(done)
    return row["settled"], row["outcome"]


async def test_what_is_unknown_goes_out_again_when_an_operator_says_so(bench: Bench) -> None:
    await bench.keep(one := notice(case_id=await bench.case()))
    await bench.admin.execute("UPDATE notifier.notices SET state = 'unknown'")
    provider = Counts()
    async with bench.dispatching(provider), bench.dispatching(provider):
        assert await order(bench, "resend", str(one.notice_id)) == (True, "it goes out again")
        await eventually(bench.states, lambda found: found == {"sent": 1})
    assert len(provider.sent) == 1
    told = await bench.pool.fetchval("SELECT count(*) FROM notifier.outbox")
    assert told == 2  # created again, and sent


@pytest.mark.parametrize(
    ("action", "target", "outcome"),
    [
        ("resend", "nonsense", "that is no notice's id"),
        ("resend", str(uuid4()), "there is no such notice"),
        ("suppress", "20261124-0000999-9:sms", "no such case, or its address was forgotten"),
        ("suppress", f"{examples.NUMBER}:pigeon", "there is no channel 'pigeon'"),
    ],
)
async def test_an_order_that_cannot_be_carried_out_says_why(
    bench: Bench, action: str, target: str, outcome: str
) -> None:
    await bench.case()
    async with bench.dispatching(Counts()):
        assert await order(bench, action, target) == (False, outcome)


async def test_an_order_to_stop_holds_for_the_address(bench: Bench) -> None:
    await bench.case()
    async with bench.dispatching(Counts()):
        done = await order(bench, "suppress", f"{examples.NUMBER}:sms")
        assert done == (True, "no more messages go there")
        await bench.keep(notice(case_id=await bench.case(number="2")))
        await eventually(bench.states, lambda found: found == {"suppressed": 1})
    assert (await bench.one())["reason"] == "stopped by operator:wang"


@pytest.mark.parametrize(
    ("states", "silent"),
    [
        ({"sms": ("permanent_failure", "sms.invdstadr"), "mail": ("unknown", "")}, "perhaps"),
        ({"sms": ("permanent_failure", "x"), "mail": ("suppressed", "no address")}, "nothing"),
        ({"sms": ("expired", ""), "mail": ("permanent_failure", "y")}, "nothing"),
        ({"sms": ("permanent_failure", "x"), "mail": ("sent", "")}, None),
        ({"sms": ("suppressed", "sms.landline"), "mail": ("delivered", "")}, None),
        (
            {
                "sms": ("suppressed", "stopped by citizen"),
                "mail": ("suppressed", "stopped by citizen"),
            },
            None,
        ),
        ({"sms": ("cancelled", "superseded"), "mail": ("cancelled", "superseded")}, None),
    ],
)
async def test_who_heard_nothing_of_the_last_step_is_found(
    bench: Bench, states: dict[str, tuple[str, str]], silent: str | None
) -> None:
    case_id, cause = await bench.case(), uuid4()
    step = {"case_id": case_id, "cause": cause, "happened_at": now() - timedelta(minutes=6)}
    for channel, (state, reason) in states.items():
        await bench.keep(one := notice(channel=channel, **step))
        await bench.admin.execute(
            "UPDATE notifier.notices SET state = $2, reason = $3 WHERE notice_id = $1",
            one.notice_id,
            state,
            reason,
        )
    # An earlier step that was heard does not count.
    await bench.keep(before := notice(case_id=case_id, happened_at=now() - timedelta(hours=1)))
    await bench.admin.execute(
        "UPDATE notifier.notices SET state = 'delivered' WHERE notice_id = $1", before.notice_id
    )
    # A link that was asked for since is no step, whether it came or not.
    for state in ("sent", "suppressed"):
        link = notice(case_id=case_id, template="preferences", happened_at=now())
        await bench.keep(link)
        await bench.admin.execute(
            "UPDATE notifier.notices SET state = $2 WHERE notice_id = $1", link.notice_id, state
        )
    found = await bench.admin.fetch("SELECT * FROM notifier.silence")
    if silent is None:
        # Of the cancelled the step before counts.
        assert found == []
    else:
        (row,) = found
        assert (row["case_id"], row["cause"]) == (case_id, cause)
        assert row["perhaps"] == (silent == "perhaps")


async def test_a_rate_is_shared_by_all_dispatchers(bench: Bench) -> None:
    first, second = PostgresTokens(bench.pool), PostgresTokens(bench.pool)
    granted = await first.take("a", 10.0, 6) + await second.take("a", 10.0, 6)
    assert granted == 10
    assert await second.take("a", 0.001, 5) == 0
    assert await first.take("b", 10.0, 3) == 3


async def test_after_a_while_an_address_is_forgotten_and_that_it_was_told_is_not(
    bench: Bench,
) -> None:
    gone, stays = await bench.case(), await bench.case(number="2")
    await bench.keep(notice(case_id=gone), notice(case_id=stays))
    await bench.admin.execute("UPDATE notifier.notices SET address = 'hash', state = 'sent'")
    async with bench.pool.acquire() as connection:
        ledger = PostgresLedger(connection)
        await ledger.close_case(gone, now() - timedelta(days=31))
        await ledger.close_case(stays, now() - timedelta(days=29))
        forgotten = [row async for row in sql.forget_addresses(connection, days=30)]
    assert len(forgotten) == 1
    rows = await bench.pool.fetch("SELECT case_id, address, context FROM notifier.notices")
    known = {row["case_id"]: (row["address"], bool(row["context"])) for row in rows}
    assert known == {gone: (None, False), stays: (b"hash", True)}
    left = await bench.pool.fetch("SELECT case_id FROM notifier.recipients")
    assert [row["case_id"] for row in left] == [stays]
