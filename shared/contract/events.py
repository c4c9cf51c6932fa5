"""Every event of the city, as it travels: the body of a CloudEvent.

The attributes (`id`, `type`, `source`, `time`, `subject`) travel as Kafka headers, the rest as
JSON; `wire.py` does both ways. Unknown fields are ignored, so a producer may add some; a
breaking change is a new type that ends in `.v2`.
"""

from datetime import date
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

Fact = StrictStr | StrictBool | StrictInt | None
Facts = dict[str, Fact]


def derived_id(cause: UUID, label: str) -> UUID:
    """The id of an event that follows from `cause`: a repeat is the same event."""
    return uuid5(cause, label)


class Event(BaseModel):
    """What every event has. `source` is the service that tells; `time` is when it happened."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    type: ClassVar[str]

    id: UUID
    source: str
    time: AwareDatetime
    case_id: UUID
    number: str


class Carried(Event):
    """An event that carries the whole application, so that nobody has to ask for it.

    `facts` is what routing needs, in clear. `sealed` is applicant, answers and contact under
    the case's own key (base64, AES-256-GCM; see shared/runtime/vault.py).
    """

    service: str
    received_at: AwareDatetime
    facts: Facts
    sealed: str


class ApplicationSubmitted(Carried):
    """`duplicates`: numbers of the same person's applications for the same service, of late."""

    type: ClassVar[str] = "application.submitted.v1"
    duplicates: tuple[str, ...] = ()


class ApplicationConfirmationRequested(Event):
    """The citizen sent a form, which counts once they follow the link that they are sent.

    No case is there yet. `sealed` holds the contact and the link, under the key of the case to
    come; the link goes out on `channel`.
    """

    type: ClassVar[str] = "application.confirmation_requested.v1"
    service: str
    sealed: str
    channel: Literal["mail", "sms"]


class ApplicationPreferencesRequested(Event):
    """The citizen wants the link to choose how the city writes to them; it goes out on `channel`,
    to the address of the case: who asks is not who is written to, perhaps. `proven`: the case was
    confirmed by a link that went there."""

    type: ClassVar[str] = "application.preferences_requested.v1"
    service: str
    channel: Literal["mail", "sms"]
    proven: bool


class ApplicationSupplemented(Event):
    """The citizen answered a request for correction; `sealed` is the new answers."""

    type: ClassVar[str] = "application.supplemented.v1"
    service: str
    sealed: str


class ApplicationWithdrawn(Event):
    type: ClassVar[str] = "application.withdrawn.v1"
    service: str


class Decision(BaseModel):
    """Why a case went where it went: enough to take the decision again and compare.

    `outcome`: a rule matched; a person at triage or the control unit named the agency (manual);
    the next agency of a chain; no rule or several matched (triage); a second return went to the
    control unit. `rule` is the id of the rule that decided, `candidates` those that matched when
    they were not exactly one, and `facts` what the decision looked at.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    outcome: Literal["rule", "manual", "next_step", "triage", "control_unit"]
    ruleset: str
    version: str
    rule: str | None
    facts: Facts
    candidates: tuple[str, ...] = ()
    joint_review_rules: tuple[str, ...] = ()
    deadline_rule: str | None = None
    problem: str = ""


class JointReview(BaseModel):
    """An agency that works beside the lead: it reviews, or a document is queried from it."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    agency: str
    task: Literal["review", "query"]
    document: str = ""


LimitUnit = Literal["working_day", "calendar_day", "month", "hour", "at_once"]


class CaseAssigned(Carried):
    """An agency leads from here. On agency.CODE.cases; one for each cause, ever.

    `limit` (in `limit_unit`, from the day of receipt) is that of the whole case, None when no
    rule gave one; `limit_steps` are the shares of the agencies in turn, the first one's first.
    """

    type: ClassVar[str] = "case.assigned.v1"
    cause: UUID
    agency: str
    responsible: str
    step: Annotated[int, Field(ge=1)]
    chain: tuple[str, ...]
    tried: tuple[str, ...]
    decision: Decision
    joint_review: tuple[JointReview, ...] = ()
    duplicates: tuple[str, ...] = ()
    limit: int | None = None
    limit_unit: LimitUnit | None = None
    limit_steps: tuple[int, ...] = ()


class CaseRouted(Event):
    """The same decision, told to everybody. On cases.events."""

    type: ClassVar[str] = "case.routed.v1"
    cause: UUID
    assignment: UUID
    service: str
    agency: str
    step: int
    tried: tuple[str, ...]
    decision: Decision


class CaseReturned(Carried):
    """An agency says that the case is not its own. `tried` names every agency so far.

    `proposed` is the agency that it thinks is right: a hint from an agency, an order from
    triage and the control unit, whose business it is to place cases by hand.
    """

    type: ClassVar[str] = "case.returned.v1"
    agency: str
    reason: str
    proposed: str | None = None
    tried: tuple[str, ...]
    step: int
    chain: tuple[str, ...]


class CaseStepCompleted(Carried):
    """One agency of a chain is done; `chain` names those still to come, in turn."""

    type: ClassVar[str] = "case.step_completed.v1"
    agency: str
    step: int
    chain: tuple[str, ...]


class CaseStatusChanged(Event):
    """What a clerk or the clock did. `path` are the statuses passed on the way.

    `due_on` is the case's own day; `correct_by` that of a request for correction.
    """

    type: ClassVar[str] = "case.status_changed.v1"
    service: str
    agency: str
    from_status: str
    to_status: str
    path: tuple[str, ...] = ()
    by: str
    reason: str = ""
    items: tuple[str, ...] = ()
    due_on: date | None = None
    correct_by: date | None = None


class CaseUpdate(Event):
    """A command from an agency's own system, on agency.CODE.updates."""

    type: ClassVar[str] = "case.update.v1"
    command: Literal["accept", "request_correction", "complete", "return"]
    reason: str = ""
    items: tuple[str, ...] = ()
    outcome: Literal["APPROVED", "REJECTED"] | None = None
    correct_by: date | None = None


class NoticeStateChanged(Event):
    """What became of a message to the citizen. On notices.events; never its text or address."""

    type: ClassVar[str] = "notice.state_changed.v1"
    notice: UUID
    cause: UUID
    channel: Literal["sms", "mail"]
    template: str
    state: str
    provider: str
    reason: str = ""


class DecisionShadowed(Event):
    """What a rule set in shadow would have decided beside the one in force. On rules.shadow.

    One for each application while a release is in shadow. `release` is its number, `differs`
    the tables whose outcome is another one: empty when all is the same.
    """

    type: ClassVar[str] = "decision.shadowed.v1"
    service: str
    release: int
    version: str
    live_version: str
    agency: str
    rule: str | None
    live_agency: str
    live_rule: str | None
    differs: tuple[Literal["lead", "joint_review", "deadline"], ...]


class RulesReleased(BaseModel):
    """A whole rule set, on the compacted topic rules.releases under the key ruleset:release.

    `release` is the number that the console gave it, `version` what its content comes to: a
    rollback is a new release of an old version. In state `shadow` the routers decide beside
    the live rules and tell the differences; `withdrawn` ends that. `tables` is the document of
    docs/rules-format.md, `names` the services, agencies and districts that it was proved
    against: what the catalogue gains or loses later changes no decision by it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
    type: ClassVar[str] = "rules.released.v1"

    id: UUID
    source: str
    time: AwareDatetime
    ruleset: str
    release: Annotated[int, Field(ge=1)]
    version: str
    state: Literal["live", "shadow", "withdrawn"] = "live"
    effective_from: date
    approvers: tuple[str, ...]
    tables: dict[str, Any]
    names: dict[str, tuple[str, ...]] = Field(default_factory=dict)


CASE_EVENTS: dict[str, type[Event]] = {
    model.type: model
    for model in (
        ApplicationSubmitted,
        ApplicationConfirmationRequested,
        ApplicationPreferencesRequested,
        ApplicationSupplemented,
        ApplicationWithdrawn,
        CaseAssigned,
        CaseRouted,
        CaseReturned,
        CaseStepCompleted,
        CaseStatusChanged,
        CaseUpdate,
        NoticeStateChanged,
        DecisionShadowed,
    )
}
