"""What citizens are told: which message follows from what, tried how often, and what became of it.

Only a definite refusal is tried again; what may have gone out is never sent twice.
"""

import json
from datetime import date, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue import load_catalogue
from services.notifier.channels import OutcomeUnknown, PermanentRefusal, TemporaryRefusal
from services.notifier.domain import (
    EXPIRES_AFTER,
    TEMPLATE_OF_STATUS,
    TRY_AGAIN_AFTER_S,
    Claimed,
    Notice,
    address_of,
    next_try,
    notices_of,
    template_of,
)
from services.notifier.handlers import TAKEN, on_event, send
from services.notifier.messages import KEYS, Messages
from shared.contract.errors import PermanentError
from shared.contract.events import (
    CASE_EVENTS,
    ApplicationSubmitted,
    CaseRouted,
    CaseStatusChanged,
)
from tests import examples
from tests.examples import CASE, NOW
from tests.fakes import FakeChannel, FakeNotices

CATALOGUE = load_catalogue()
CONTACT = {"phone": "+886912345678", "email": "wang@mail.example", "language": "zh-TW"}


def routed(outcome: str, **changes: Any) -> Any:
    decision = examples.DECISION.model_copy(update={"outcome": outcome})
    return examples.event(CaseRouted, decision=decision, **changes)


def changed(to_status: str, *path: str, **changes: Any) -> Any:
    return examples.event(
        CaseStatusChanged, to_status=to_status, path=(*path, to_status), **changes
    )


# --- which message follows


@pytest.mark.parametrize(
    ("event", "template"),
    [
        (examples.event(ApplicationSubmitted), "received"),
        (routed("rule"), "assigned"),
        (routed("manual"), "assigned"),
        (routed("rule", tried=("DOSW",)), "reassigned"),
        (routed("manual", tried=("DOSW", "TRIAGE")), "reassigned"),
        (routed("triage"), "triage"),
        (routed("control_unit", tried=("A", "B")), "triage"),
        (routed("next_step", step=2), "step_completed"),
        (changed("CLOSED", "APPROVED", "ISSUED"), "approved"),
        (changed("CLOSED", "PENDING_APPROVAL", "REJECTED"), "rejected"),
        (changed("ACCEPTED"), "accepted"),
        (changed("CORRECTION_REQUESTED"), "correction_requested"),
        (changed("CORRECTED"), "corrected"),
        (changed("WITHDRAWN"), "withdrawn"),
        (changed("UNDER_REVIEW"), None),
        (changed("JOINT_REVIEW", "UNDER_REVIEW"), None),
    ],
)
def test_the_message_says_what_happened(event: Any, template: str | None) -> None:
    assert template_of(event) == template


@pytest.mark.parametrize("model", [m for m in CASE_EVENTS.values() if m not in TAKEN])
def test_other_events_are_no_news_for_the_citizen(model: Any) -> None:
    assert notices_of(examples.event(model), {}) == []


def test_every_status_with_a_message_is_one_of_the_catalogue() -> None:
    assert set(TEMPLATE_OF_STATUS) <= set(CATALOGUE.statuses)


async def ledger_after(*events: Any) -> FakeNotices:
    notices = FakeNotices()
    for event in events:
        await on_event(event, notices, CATALOGUE)
    return notices


async def test_an_event_makes_one_notice_for_each_channel() -> None:
    event = changed("ACCEPTED")
    rows = (await ledger_after(event)).rows.values()

    assert [row.notice.channel for row in rows] == ["sms", "mail"]
    assert {row.notice.template for row in rows} == {"accepted"}
    assert {row.notice.cause for row in rows} == {event.id}
    assert {row.notice.expires_at for row in rows} == {event.time + EXPIRES_AFTER}


async def test_an_event_that_is_told_twice_makes_the_same_notices() -> None:
    event = changed("ACCEPTED")

    assert (await ledger_after(event, event)).rows.keys() == (await ledger_after(event)).rows.keys()
    assert len((await ledger_after(event, event)).rows) == 2


async def test_each_event_makes_notices_of_its_own() -> None:
    assert len((await ledger_after(changed("ACCEPTED"), changed("ACCEPTED"))).rows) == 4


async def test_where_the_citizen_can_be_reached_is_kept_sealed() -> None:
    event = examples.event(ApplicationSubmitted)

    assert (await ledger_after(event)).recipients == {CASE: event.sealed}


async def test_a_notice_names_service_and_agency_in_both_languages() -> None:
    (row, _) = (await ledger_after(routed("rule", agency="DOSW"))).rows.values()

    assert row.notice.context["service_name"] == {
        "zh-TW": CATALOGUE.services["SVC-001"].name_zh,
        "en": CATALOGUE.services["SVC-001"].name_en,
    }
    assert row.notice.context["agency_name"]["zh-TW"] == CATALOGUE.agencies["DOSW"].zh


# --- when it is tried again


@given(st.integers(1, len(TRY_AGAIN_AFTER_S)), st.floats(0, 1, exclude_max=True))
def test_a_try_waits_between_half_and_the_whole_of_its_delay(tries: int, jitter: float) -> None:
    again = next_try(tries, NOW, jitter)
    longest = timedelta(seconds=TRY_AGAIN_AFTER_S[tries - 1])

    assert again is not None
    assert longest / 2 <= again - NOW <= longest


def test_waits_grow_and_end() -> None:
    assert list(TRY_AGAIN_AFTER_S) == sorted(TRY_AGAIN_AFTER_S)
    assert next_try(len(TRY_AGAIN_AFTER_S) + 1, NOW, 0.5) is None


def test_all_tries_fit_into_the_time_in_which_the_news_is_news() -> None:
    assert timedelta(seconds=sum(TRY_AGAIN_AFTER_S)) < EXPIRES_AFTER


@pytest.mark.parametrize(
    ("channel", "contact", "address"),
    [
        ("sms", {"phone": "+886912345678"}, "+886912345678"),
        ("sms", {"phone": "+886227208889"}, None),
        ("sms", {"phone": "+886227208889;ext=1234"}, None),
        ("sms", {"phone": "+819012345678"}, None),
        ("sms", {"phone": None, "email": "a@b.example"}, None),
        ("sms", {}, None),
        ("mail", {"email": "a@b.example"}, "a@b.example"),
        ("mail", {"email": "", "phone": "+886912345678"}, None),
        ("mail", {}, None),
    ],
)
def test_a_text_message_goes_to_a_mobile_and_mail_to_a_mail_address(
    channel: Any, contact: dict[str, Any], address: str | None
) -> None:
    assert address_of(channel, contact) == address


# --- one try, and what becomes of it


@pytest.fixture(scope="module")
def messages() -> Messages:
    return Messages.load()


class Dispatch:
    """One notice, claimed, and the provider's answers."""

    def __init__(
        self,
        messages: Messages,
        *answers: Exception | None,
        contact: dict[str, Any] | None = None,
        unsealing: PermanentError | None = None,
        notice: Notice | None = None,
    ) -> None:
        self.notices = FakeNotices()
        self.channel = FakeChannel(*answers)
        self.notice = notice or examples.notice()
        self.now = NOW
        self._messages = messages
        self._contact = CONTACT if contact is None else contact
        self._unsealing = unsealing

    async def _unseal(self, case_id: UUID, sealed: str) -> bytes:
        assert (case_id, sealed) == (CASE, "c2VhbGVk")
        if self._unsealing is not None:
            raise self._unsealing
        return json.dumps({"contact": self._contact}).encode()

    async def once(self, tries: int = 1) -> Any:
        """One try; the notice's row after it."""
        await self.notices.put_notice(self.notice)
        await send(
            Claimed(self.notice, tries, "c2VhbGVk"),
            {self.notice.channel: self.channel},
            self._messages,
            self._unseal,
            self.notices,
            "https://cases.example/",
            lambda: self.now,
            lambda: 0.5,
        )
        return self.notices.rows[self.notice.notice_id]


async def test_what_the_provider_takes_is_sent_under_the_providers_id(messages: Messages) -> None:
    dispatch = Dispatch(messages)

    row = await dispatch.once()

    assert row.state == "sent"
    assert (row.provider, row.provider_message_id) == ("fake", "id-1")
    assert [told.state for told in dispatch.notices.told] == ["sent"]


async def test_the_message_reaches_the_citizen_in_the_citizens_language(
    messages: Messages,
) -> None:
    texts = {}
    for language in ("zh-TW", "en"):
        dispatch = Dispatch(messages, contact=CONTACT | {"language": language})
        await dispatch.once()
        (out,) = dispatch.channel.sent
        assert (out.notice_id, out.to) == (dispatch.notice.notice_id, "+886912345678")
        assert (out.subject, out.language) == ("", language)
        assert examples.NUMBER in out.text
        texts[language] = out.text
    assert texts["en"].isascii()
    assert not texts["zh-TW"].isascii()


async def test_mail_has_a_subject_and_goes_to_the_mail_address(messages: Messages) -> None:
    dispatch = Dispatch(messages, notice=examples.notice(channel="mail"))

    await dispatch.once()

    (out,) = dispatch.channel.sent
    assert out.to == "wang@mail.example"
    assert out.subject


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("language", ["zh-TW", "en"])
@pytest.mark.parametrize("channel", ["sms", "mail"])
async def test_every_event_that_has_news_can_be_told(
    messages: Messages, key: str, language: str, channel: str
) -> None:
    """From the event to the text, by the code that does it: no name is missing on the way."""
    event = EVENT_OF[key]
    (notice,) = (
        row.notice
        for row in (await ledger_after(event)).rows.values()
        if row.notice.channel == channel
    )
    dispatch = Dispatch(messages, contact=CONTACT | {"language": language}, notice=notice)

    assert (await dispatch.once()).state == "sent"
    assert examples.NUMBER in dispatch.channel.sent[0].text


EVENT_OF = {
    "received": examples.event(ApplicationSubmitted),
    "assigned": routed("rule"),
    "reassigned": routed("rule", tried=("DOSW",)),
    "triage": routed("triage", agency="TRIAGE"),
    "step_completed": routed("next_step", step=2),
    "approved": changed("CLOSED", "APPROVED"),
    "rejected": changed("CLOSED", "REJECTED", reason="not eligible"),
    "accepted": changed("ACCEPTED", due_on=date(2026, 12, 2)),
    "correction_requested": changed("CORRECTION_REQUESTED", items=("passbook", "photo")),
    "corrected": changed("CORRECTED"),
    "withdrawn": changed("WITHDRAWN"),
}


async def test_the_papers_to_correct_are_listed_in_the_mail(messages: Messages) -> None:
    event = EVENT_OF["correction_requested"]
    (_, row) = (await ledger_after(event)).rows.values()
    dispatch = Dispatch(messages, contact=CONTACT | {"language": "en"}, notice=row.notice)

    await dispatch.once()

    assert "passbook, photo" in dispatch.channel.sent[0].text


async def test_a_temporary_refusal_is_tried_again_later(messages: Messages) -> None:
    dispatch = Dispatch(messages, TemporaryRefusal("sms.throttled"))

    row = await dispatch.once()

    assert (row.state, row.reason) == ("temporary_failure", "sms.throttled")
    assert row.next_try_at == NOW + timedelta(seconds=TRY_AGAIN_AFTER_S[0] * 0.75)


async def test_tries_end_with_a_permanent_failure_that_keeps_the_reason(
    messages: Messages,
) -> None:
    dispatch = Dispatch(messages, *(TemporaryRefusal("sms.down") for _ in range(20)))
    states = []
    for tries in count(1):
        states.append((await dispatch.once(tries)).state)
        if states[-1] != "temporary_failure":
            break

    assert states == ["temporary_failure"] * len(TRY_AGAIN_AFTER_S) + ["permanent_failure"]
    assert dispatch.notices.told[-1].reason == "sms.down"


async def test_a_permanent_refusal_is_not_tried_again(messages: Messages) -> None:
    row = await Dispatch(messages, PermanentRefusal("sms.no_such_number")).once()

    assert (row.state, row.reason) == ("permanent_failure", "sms.no_such_number")


async def test_what_may_have_gone_out_is_unknown_and_never_claimed_again(
    messages: Messages,
) -> None:
    dispatch = Dispatch(messages, OutcomeUnknown("sms.no_answer"))
    await dispatch.notices.put_recipient(CASE, "c2VhbGVk")

    row = await dispatch.once()

    assert (row.state, row.reason) == ("unknown", "sms.no_answer")
    assert await dispatch.notices.claim(10) == []


async def test_news_that_is_too_old_is_not_sent(messages: Messages) -> None:
    notice = examples.notice(expires_at=NOW - timedelta(seconds=1))
    dispatch = Dispatch(messages, notice=notice)

    row = await dispatch.once()

    assert row.state == "expired"
    assert dispatch.channel.sent == []


async def test_news_is_sent_to_its_last_moment(messages: Messages) -> None:
    assert (await Dispatch(messages, notice=examples.notice(expires_at=NOW)).once()).state == "sent"


async def test_a_citizen_without_an_address_on_a_channel_is_left_alone_there(
    messages: Messages,
) -> None:
    dispatch = Dispatch(messages, contact={"email": "wang@mail.example"})

    row = await dispatch.once()

    assert (row.state, row.reason) == ("suppressed", "no address for this channel")
    assert dispatch.channel.sent == []


async def test_a_landline_gets_no_text_message(messages: Messages) -> None:
    dispatch = Dispatch(messages, contact={"phone": "+886227208889;ext=1234"})

    assert (await dispatch.once()).state == "suppressed"
    assert dispatch.channel.sent == []


async def test_a_case_whose_key_was_deleted_can_be_told_nothing_more(messages: Messages) -> None:
    dispatch = Dispatch(messages, unsealing=PermanentError("vault.no_key", "no key any more"))

    row = await dispatch.once()

    assert (row.state, row.reason) == ("permanent_failure", "vault.no_key")
    assert dispatch.channel.sent == []


ANSWERS = (
    None,
    TemporaryRefusal("sms.down"),
    PermanentRefusal("sms.refused"),
    OutcomeUnknown("sms.no_answer"),
)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda one: type(one).__name__)
async def test_no_outcome_tells_the_citizens_address(
    messages: Messages, answer: Exception | None
) -> None:
    dispatch = Dispatch(messages, answer)

    await dispatch.once()

    assert dispatch.notices.told
    assert not [t for t in dispatch.notices.told if "912345678" in repr(t)]
    assert "912345678" not in repr(dispatch.channel.sent)
