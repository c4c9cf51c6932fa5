"""The wiring of intake: the portal, its API, its relay and its projection."""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from uuid import UUID

from catalogue import Service, load_catalogue
from catalogue.calendar import city_calendar
from catalogue.facts import load_facts
from catalogue.forms import forms
from services.intake import domain, http, portal, worker
from services.intake.applying import Desk
from services.intake.clerks import Tokens
from services.intake.drafts import Draft
from services.intake.draftstore import PostgresDrafts
from services.intake.gate import Gate, LinkLimit
from services.intake.identity import CITY
from services.intake.inspection import Inspector
from services.intake.portal import Files, Shop, Site
from services.intake.portal.documents import document_link
from services.intake.settings import IntakeSettings
from services.intake.store import SCHEMA, PostgresApplications, PostgresGuesses
from shared.runtime.outbox import Bell
from shared.runtime.postgres import Pool, answers, open_pool
from shared.runtime.process import run_parts
from shared.runtime.relay import Relay
from shared.runtime.settings import load
from shared.runtime.vault import Vault
from shared.runtime.web import new_app, serve

PARTS = ("web", "relay", "worker")
# A form with its documents; the API's own limit is lower.
_BODY_LIMIT_BYTES = 32 * 1024 * 1024


async def run(only: tuple[str, ...] = PARTS) -> None:
    settings = load(IntakeSettings)
    pool = await open_pool(settings, "intake")
    bell = Bell(pool, SCHEMA)

    async def check() -> dict[str, bool]:
        return {"postgres": await answers(pool)}

    app = new_app("casebus intake", check, _BODY_LIMIT_BYTES)
    parts: dict[str, Callable[[], Awaitable[None]]] = {
        "http": lambda: serve(app, settings.host, settings.port),
        "bell": bell.run,
    }
    if "web" in only:
        tokens = Tokens(settings.counter_secret.get_secret_value())
        shop, files = _portal(settings, pool, tokens, bell.ring)
        desk = shop.desk
        http.add_routes(
            app,
            settings,
            shop.catalogue,
            desk.applications,
            Vault(settings.master_key),
            desk.traces,
            files.gate,
            bell.ring,
        )
        portal.add_routes(app, shop, files, tokens)
        parts["drafts"] = shop.drafts.sweep_for_ever
    if "relay" in only:
        parts["relay"] = Relay(settings, pool, SCHEMA).run
    if "worker" in only:
        parts["worker"] = lambda: worker.follow(settings, pool, bell.ring)
    await run_parts({name: part() for name, part in parts.items()})


def _portal(
    settings: IntakeSettings, pool: Pool, tokens: Tokens, ring: Callable[[], None]
) -> tuple[Shop, Files]:
    """All data is read here: a broken table stops the start, not an application."""
    catalogue, calendar = load_catalogue(), city_calendar()
    secret = settings.citizen_secret.get_secret_value().encode()
    url = settings.portal_url.rstrip("/")
    drafts = PostgresDrafts(
        pool, Vault(settings.master_key), secret, timedelta(days=settings.draft_days)
    )
    applications = PostgresApplications(pool)

    def due(service: Service, received_at: datetime) -> date:
        received = received_at.astimezone(CITY).date()
        return calendar.due_on(received, service.limit, service.limit_unit)

    async def received(number: str) -> datetime | None:
        found = await applications.by_number(number)
        return None if found is None else found[2]

    def password(draft: Draft) -> str:
        return domain.password(secret, draft.case_id)

    async def link_failed(case_id: UUID) -> bool:
        steps = await applications.steps(case_id)
        last = next((step.status for step in reversed(steps) if step.kind == "notice"), "")
        return last in ("suppressed", "permanent_failure", "expired")

    def link(case_id: UUID, digest: str) -> str:
        return document_link(secret, url, case_id, digest)

    def now() -> datetime:
        return datetime.now(UTC)

    site, inspector, guesses = Site(url, catalogue), Inspector(), PostgresGuesses(pool)
    links = LinkLimit(guesses, secret, now)
    shop = Shop(
        site=site,
        catalogue=catalogue,
        forms=forms(catalogue, load_facts()),
        drafts=drafts,
        desk=Desk(
            drafts,
            applications,
            domain.Traces(secret, timedelta(days=settings.duplicate_days)),
            url,
            link,
        ),
        links=links,
        inspector=inspector,
        now=now,
        due=due,
        ring=ring,
        received=received,
        password=password,
        is_clerk=partial(portal.is_clerk, tokens),
        link_failed=link_failed,
    )
    return shop, Files(
        site=site,
        catalogue=catalogue,
        calendar=calendar,
        drafts=drafts,
        inspector=inspector,
        secret=secret,
        gate=Gate(applications, guesses, secret, now),
        links=links,
        applications=applications,
        document_link=link,
        now=now,
        ring=ring,
    )
