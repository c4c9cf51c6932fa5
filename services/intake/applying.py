"""From a draft to a case: sent, confirmed, received once."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from services.intake.domain import SEALED_PARTS, Checked, Traces
from services.intake.drafts import Draft
from services.intake.handlers import Application, Applications, Duplicate, as_case, new_number
from services.intake.identity import InvalidValue as NotMobileError
from services.intake.identity import mobile
from shared.contract import topics
from shared.contract.events import (
    ApplicationConfirmationRequested,
    derived_id,
)
from shared.contract.wire import Outgoing, encode


class UnreachableError(Exception):
    """No link can be sent: there is no e-mail address and the phone is no mobile."""


def channel_of(email: str | None, phone: str | None) -> Literal["mail", "sms"]:
    """How a link goes out. Raises UnreachableError."""
    if email:
        return "mail"
    try:
        mobile(phone or "")
    except NotMobileError:
        raise UnreachableError from None
    return "sms"


class Drafts(Protocol):
    def confirmation(self, draft: Draft) -> str: ...
    async def seal(self, case_id: UUID, clear: bytes) -> str: ...
    async def send(self, draft: Draft, number: str, event: Outgoing, now: datetime) -> bool: ...
    async def receive(self, draft: Draft, application: Application, event: Outgoing) -> bool: ...


@dataclass(frozen=True, slots=True)
class Desk:
    """Where drafts become cases. `document_link` makes the address of a document, for who may
    open the case."""

    drafts: Drafts
    applications: Applications
    traces: Traces
    portal_url: str
    document_link: Callable[[UUID, str], str]

    async def duplicates(self, draft: Draft, checked: Checked, now: datetime) -> list[Duplicate]:
        """What the same person applied for of late; `known` where the address that this one is
        confirmed by is the same too."""
        form, traces = checked.form, self.traces
        return await self.applications.duplicates(
            draft.case_id, traces.person(form), traces.contact(form), now - traces.window
        )

    async def send(self, draft: Draft, checked: Checked, now: datetime) -> bool:
        """Ask the citizen to confirm, by mail, else by SMS; False when that was done already.

        Raises UnreachableError.
        """
        contact = checked.form.contact
        channel = channel_of(contact.email, contact.phone)
        number = draft.number or await new_number(self.applications, now)
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
            channel=channel,
        )
        return await self.drafts.send(draft, number, encode(topics.APPLICATIONS, event), now)

    async def receive(self, draft: Draft, checked: Checked, now: datetime) -> None:
        """The draft as a case, committed; nothing when it is one already or was changed
        elsewhere."""
        number = draft.number or await new_number(self.applications, now)
        found = await self.duplicates(draft, checked, now)
        said = checked.form.model_dump(mode="json", include=set(SEALED_PARTS))
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
        application, event = as_case(
            draft.case_id, number, checked, sealed, now, self.traces, found
        )
        if not draft.filed_by:
            application = replace(application, proven=self.traces.contact(checked.form))
        await self.drafts.receive(draft, application, encode(topics.APPLICATIONS, event))
