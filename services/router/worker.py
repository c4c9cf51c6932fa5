"""The router's streams: the releases of the rules, and the events that ask for a decision."""

import asyncio
from datetime import UTC, datetime

import structlog
from aiokafka import TopicPartition
from pydantic_core import from_json

from services.router.aside import Aside
from services.router.domain import Release
from services.router.engine import Engine
from services.router.handlers import WANTED, decide_in_shadow, in_shadow, on_event, records
from services.router.rules import Names, RuleSet, TableError, from_document, verify
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.events import ApplicationSubmitted, CaseAssigned, RulesReleased
from shared.contract.wire import Outgoing, Record, decode, decode_release, encode
from shared.runtime import kafka, metrics
from shared.runtime.settings import Settings

log = structlog.get_logger()
GROUP = "router"
# Of the findings on a release that is refused, in the log; `casebus rules check` tells them all.
_MOST_TOLD = 3
_LONGEST_ERROR = 1000


class Releases:
    """Follows rules.releases. Without live rules the router does not consume, and says so.

    What cannot be read, or in which the verifier finds something against the names that travel
    with it, is refused: the releases before it stay in force.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sound: dict[tuple[str, Names], RuleSet] = {}
        self._first = asyncio.Event()
        self.known: tuple[Release, ...] = ()

    @property
    def any_live(self) -> bool:
        return any(release.state == "live" for release in self.known)

    async def ready(self) -> None:
        """Returns once there are live rules."""
        while not self._first.is_set():
            try:
                async with asyncio.timeout(10):
                    await self._first.wait()
            except TimeoutError:
                log.warning("router.no_rules", topic=topics.RULES, hint="casebus rules release")

    async def follow(self) -> None:
        """Read every release from the beginning, and new ones as they come, until cancelled."""
        consumer = kafka.consumer(self._settings)
        partition = TopicPartition(topics.RULES, 0)
        consumer.assign([partition])
        try:
            await consumer.start()
            await consumer.seek_to_beginning(partition)
            while True:
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    can_tell = topics.RULES_SHADOW in await consumer.topics()
                    for message in messages:
                        await self.take(kafka.record_of(message), can_tell=can_tell)
                if self.any_live and not self._first.is_set():
                    end = (await consumer.end_offsets([partition]))[partition]
                    if await consumer.position(partition) >= end:
                        self._first.set()
        finally:
            await consumer.stop()

    async def take(self, record: Record, *, can_tell: bool = True) -> None:
        """Take the release in `record`, or say why not. Never raises for what is in it.

        `can_tell`: the router may write what a release in shadow decides.
        """
        try:
            release = decode_release(record)
            if release.state == "shadow" and not can_tell:
                raise PermanentError(
                    "rules.no_shadow_topic",
                    f"no topic {topics.RULES_SHADOW} that the router may write: run"
                    " `casebus topics apply` and propose the release again",
                )
            self.known = await self._with(release)
        except Exception as error:  # noqa: BLE001 - the boundary: no release may stop the city
            log.error(
                "router.release_refused",
                key=record.case_id,
                offset=record.offset,
                code=_code(error),
                error=str(error)[:_LONGEST_ERROR],
            )
            metrics.RELEASES.labels("refused").inc()
            return
        log.info(
            "router.rules",
            ruleset=release.ruleset,
            release=release.release,
            version=release.version,
            state=release.state,
            effective_from=str(release.effective_from),
        )
        metrics.RELEASES.labels(release.state).inc()

    async def _with(self, release: RulesReleased) -> tuple[Release, ...]:
        """What is known with this release. Raises PermanentError or TableError."""
        others = [
            one
            for one in self.known
            if (one.rules.id, one.number) != (release.ruleset, release.release)
        ]
        if release.state != "withdrawn":
            rules = await self._verified(release)
            others.append(
                Release(
                    number=release.release,
                    rules=rules,
                    effective_from=release.effective_from,
                    released_at=release.time,
                    state=release.state,
                )
            )
        if self.any_live and all(one.state != "live" for one in others):
            raise PermanentError("rules.broken", "no release would be left in force")
        return tuple(others)

    async def _verified(self, release: RulesReleased) -> RuleSet:
        """The rules of a release. The same content is built and verified once."""
        names = Names.from_json(release.names)
        known = self._sound.get((release.version, names))
        if known is not None and known.document == release.tables:
            return known
        rules = await asyncio.to_thread(from_document, release.tables, names)
        if (rules.id, rules.version) != (release.ruleset, release.version):
            raise PermanentError(
                "rules.broken", f"its tables are {rules.id} {rules.version}, and not what it says"
            )
        # In a thread, for the verifier may take its time and the streams go on.
        report = await asyncio.to_thread(verify, rules, names, most=_MOST_TOLD)
        if report.findings:
            first = "; ".join(
                f"{found.code} {found.message}" for found in report.findings[:_MOST_TOLD]
            )
            raise PermanentError(
                report.findings[0].code,
                f"{len(report.findings)} findings and perhaps more: {first}",
            )
        self._sound[rules.version, names] = rules
        return rules


def _code(error: Exception) -> str:
    match error:
        case PermanentError():
            return error.code
        case TableError():
            return error.problems[0].code
    return "rules.broken"


def transform(releases: Releases, record: Record) -> list[Outgoing]:
    """One record to those that follow from it. Raises PermanentError when it is broken."""
    event = decode(record, WANTED)
    if event is None:
        return []
    metrics.DECISIONS.labels(event.type).inc()
    now = datetime.now(UTC)
    known = releases.known
    told = on_event(event, known, now)
    if told is None:
        return []
    assigned, _ = told
    if assigned.decision.problem:
        log.warning(
            "router.fact_refused",
            case_id=str(event.case_id),
            service=assigned.service,
            problem=assigned.decision.problem,
        )
        metrics.FACTS_REFUSED.inc()
    trace = record.header("traceparent")
    out = records(told, trace)
    if isinstance(event, ApplicationSubmitted):
        out += _shadows(event, assigned, known, now, trace)
    return out


def _shadows(
    event: ApplicationSubmitted,
    live: CaseAssigned,
    known: tuple[Release, ...],
    now: datetime,
    traceparent: str | None,
) -> list[Outgoing]:
    """What the rules in shadow say of the same application."""
    out = []
    for release in in_shadow(known, live):
        try:
            found = decide_in_shadow(event, live, release, now)
            out.append(encode(topics.RULES_SHADOW, found, traceparent))
            outcome = "different" if found.differs else "same"
        except Exception as error:  # noqa: BLE001 - what is on trial must not stop a case
            log.error("router.shadow_failed", case_id=str(event.case_id), error=repr(error))
            outcome = "failed"
        metrics.SHADOW_DECISIONS.labels(str(release.number), outcome).inc()
    return out


def engine(settings: Settings, releases: Releases) -> Engine:
    names = [topics.APPLICATIONS, topics.CASES, topics.ROUTER_REPLAYS]
    aside = Aside(settings, topics.RULES_SHADOW, _untold)
    return Engine(settings, GROUP, names, lambda record: transform(releases, record), aside=aside)


def _untold(out: Outgoing) -> None:
    release = from_json(out.value or b"")["release"]
    metrics.SHADOW_DECISIONS.labels(str(release), "untold").inc()
