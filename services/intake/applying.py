"""From a draft to a case: sent, confirmed, received once."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from services.intake.domain import Checked, Received
from services.intake.drafts import Draft, contacts, person
from services.intake.identity import InvalidValue as NotMobileError
from services.intake.identity import case_number, mobile
from shared.contract import topics
from shared.contract.events import (
    ApplicationConfirmationRequested,
    ApplicationSubmitted,
    Facts,
    derived_id,
)
from shared.contract.wire import Outgoing, encode

_CITY = ZoneInfo("Asia/Taipei")


class UnreachableError(Exception):
    """No link can be sent: there is no e-mail address and the phone is no mobile."""


@dataclass(frozen=True, slots=True)
class Application:
    """What a draft becomes. `person` and `contacts` are keyed hashes."""

    number: str
    facts: Facts
    sealed: str
    received_at: datetime
    event_id: UUID
    person: bytes
    contacts: Sequence[bytes]
    duplicates: Sequence[str]


@dataclass(frozen=True, slots=True)
class Duplicate:
    """An earlier application of the same person for the same service. `known`: it names the
    same address too that this one is confirmed by, so who confirms it may be told."""

    number: str
    received_at: datetime
    known: bool


class Drafts(Protocol):
    def confirmation(self, draft: Draft) -> str: ...
    async def seal(self, case_id: UUID, clear: bytes) -> str: ...
    async def send(self, draft: Draft, number: str, event: Outgoing, now: datetime) -> bool: ...
    async def receive(self, draft: Draft, application: Application, event: Outgoing) -> bool: ...
    async def duplicates(
        self, case_id: UUID, person: bytes, contacts: Sequence[bytes], since: datetime
    ) -> list[Duplicate]: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """Where drafts become cases. `window`: how long an earlier application counts as the same;
    `document_link` makes the address of a document, for who may open the case."""

    drafts: Drafts
    next_sequence: Callable[[], Awaitable[int]]
    secret: bytes
    portal_url: str
    window: timedelta
    document_link: Callable[[UUID, str], str]

    async def duplicates(self, draft: Draft, checked: Checked, now: datetime) -> list[Duplicate]:
        return await self.drafts.duplicates(
            draft.case_id,
            person(self.secret, checked),
            contacts(self.secret, checked)[:1],
            now - self.window,
        )

    async def send(self, draft: Draft, checked: Checked, now: datetime) -> bool:
        """Ask the citizen to confirm, by mail, else by SMS; False when that was done already.

        Raises UnreachableError.
        """
        contact = checked.form.contact
        if not contact.email:
            try:
                mobile(contact.phone or "")
            except NotMobileError:
                raise UnreachableError from None
        number = draft.number or await self._number(now)
        link = f"{self.portal_url}/{draft.language}/confirm/{self.drafts.confirmation(draft)}"
        said = {"contact": contact.model_dump(), "confirm_url": link}
        event = ApplicationConfirmationRequested(
            id=derived_id(draft.case_id, f"confirmation {draft.revision}"),
            source="intake",
            time=now,
            case_id=draft.case_id,
            number=number,
            service=draft.service,
            sealed=await self.drafts.seal(draft.case_id, json.dumps(said).encode()),
            channel="mail" if contact.email else "sms",
        )
        return await self.drafts.send(draft, number, encode(topics.APPLICATIONS, event), now)

    async def receive(
        self, draft: Draft, checked: Checked, now: datetime, traceparent: str | None = None
    ) -> Received | None:
        """The draft as a case, committed; None when it is one already or was changed elsewhere."""
        number = draft.number or await self._number(now)
        found = await self.duplicates(draft, checked, now)
        said = checked.form.model_dump(
            mode="json", include={"applicant", "contact", "address", "answers"}
        )
        if draft.documents:
            said["documents"] = [
                {"field": one.field} | one.told(self.document_link(draft.case_id, one.digest))
                for one in draft.documents
            ]
        if draft.filed_by:
            said["filed_by"] = {"clerk": draft.filed_by, "channel": draft.channel}
        sealed = await self.drafts.seal(
            draft.case_id, json.dumps(said, ensure_ascii=False).encode()
        )
        event = ApplicationSubmitted(
            id=derived_id(draft.case_id, "submitted"),
            source="intake",
            time=now,
            case_id=draft.case_id,
            number=number,
            service=draft.service,
            received_at=now,
            facts=checked.facts,
            sealed=sealed,
            duplicates=tuple(one.number for one in found),
        )
        application = Application(
            number=number,
            facts=checked.facts,
            sealed=sealed,
            received_at=now,
            event_id=event.id,
            person=person(self.secret, checked),
            contacts=contacts(self.secret, checked),
            duplicates=event.duplicates,
        )
        out = encode(topics.APPLICATIONS, event, traceparent)
        if not await self.drafts.receive(draft, application, out):
            return None
        return Received(draft.case_id, number, now)

    async def _number(self, now: datetime) -> str:
        return case_number(now.astimezone(_CITY).date(), await self.next_sequence())
