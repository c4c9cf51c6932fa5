"""What citizens are told: which message follows from what, tried how often, and what became of it.

Only a definite refusal is tried again; what may have gone out is never sent twice.
"""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue import load_catalogue
from services.notifier.channels import OutcomeUnknown, PermanentRefusal, Receipt, TemporaryRefusal
from services.notifier.domain import (
    CITY,
    ENDS,
    EXPIRES_AFTER,
    SUPERSEDES,
    TEMPLATE_OF_STATUS,
    TRY_AGAIN_AFTER_S,
    Choice,
    Claimed,
    Notice,
    Quiet,
    hash_of,
    next_try,
    notices_of,
    parse_quiet,
    quiet_text,
    quiet_until,
    template_of,
)
from services.notifier.handlers import TAKEN, Sender, destination_of, on_event
from services.notifier.links import Links
from services.notifier.messages import KEYS, Messages
from services.notifier.routes import Route, Routes
from shared.contract.events import (
    CASE_EVENTS,
    ApplicationConfirmationRequested,
    ApplicationPreferencesRequested,
    ApplicationSubmitted,
    CaseRouted,
    CaseStatusChanged,
)
from tests import examples
from tests.examples import CASE, NOW
from tests.fakes import FakeNotices, FakeProvider

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
    assert {row.expires_at for row in rows} == {event.time + EXPIRES_AFTER}


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
    ("channel", "contact", "address", "problem"),
    [
        ("sms", {"phone": "+886912345678"}, "+886912345678", ""),
        ("sms", {"phone": "+886227208889"}, None, "sms.landline"),
        ("sms", {"phone": "+886227208889;ext=1234"}, None, "sms.landline"),
        ("sms", {"phone": "+819012345678"}, None, "sms.foreign"),
        ("sms", {"phone": "1999"}, None, "sms.not_a_number"),
        ("sms", {"phone": None, "email": "a@b.example"}, None, "no address for this channel"),
        ("sms", {}, None, "no address for this channel"),
        ("sms", {"phone": ["+886912345678"]}, None, "no address for this channel"),
        ("mail", {"email": "a@b.example"}, "a@b.example", ""),
        ("mail", {"email": "", "phone": "+886912345678"}, None, "no address for this channel"),
        ("mail", {}, None, "no address for this channel"),
    ],
)
def test_a_text_message_goes_to_a_mobile_and_mail_to_a_mail_address(
    channel: Any, contact: dict[str, Any], address: str | None, problem: str
) -> None:
    unsealed = json.dumps({"contact": contact}).encode()
    found = destination_of(examples.notice(channel=channel), unsealed)
    assert (found.address, found.problem) == (address, problem)
    assert "912345678" not in repr(found)


@pytest.mark.parametrize("unsealed", [b"", b"no json", b"[]", b"{}", b'{"contact": 3}', b"\xff"])
def test_a_contact_that_cannot_be_read_is_said_to_be_so(unsealed: bytes) -> None:
    with pytest.raises(ValueError):
        destination_of(examples.notice(), unsealed)


# --- what is old news


def test_every_end_says_all_that_was_before() -> None:
    assert set(SUPERSEDES) <= set(KEYS)
    for end in ENDS:
        # Who asked for a link gets it.
        assert SUPERSEDES[end] == set(KEYS) - ENDS - {"confirm", "preferences"}


def test_a_request_for_correction_is_only_replaced_by_what_settles_it() -> None:
    by = {newer for newer, older in SUPERSEDES.items() if "correction_requested" in older}
    assert by == ENDS | {"corrected"}


def test_no_end_is_ever_old_news() -> None:
    assert not ENDS & {older for names in SUPERSEDES.values() for older in names}


# --- quiet hours


def at(hour: int, minute: int = 0, day: int = 24) -> datetime:
    """That time of the city's clock, on a day of November."""
    return datetime(2026, 11, day, hour, minute, tzinfo=CITY).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "quiet", "until"),
    [
        (at(21), (21, 8), at(8, day=25)),
        (at(20, 59), (21, 8), None),
        (at(23, 59), (21, 8), at(8, day=25)),
        (at(0, 0, day=25), (21, 8), at(8, day=25)),
        (at(7, 59, day=25), (21, 8), at(8, day=25)),
        (at(8, day=25), (21, 8), None),
        (at(12), (12, 14), at(14)),
        (at(14), (12, 14), None),
        (at(22), (22, 0), at(0, day=25)),
        (at(0, day=25), (22, 0), None),
        (at(3), (5, 5), None),
        (at(3), "none", None),
        (at(3), "city", None),
    ],
)
def test_quiet_hours_end_on_the_right_day(
    now: datetime, quiet: Quiet, until: datetime | None
) -> None:
    assert quiet_until(now, quiet) == until


HOURS = st.tuples(st.integers(0, 23), st.integers(0, 23))


@given(st.integers(0, 3 * 24 * 60), HOURS)
def test_a_message_that_waits_for_the_end_of_quiet_hours_then_goes(
    minutes: int, quiet: tuple[int, int]
) -> None:
    now = at(0) + timedelta(minutes=minutes)
    until = quiet_until(now, quiet)
    if until is None:
        assert not _hour_in(now, quiet)
    else:
        assert _hour_in(now, quiet)
        assert now < until <= now + timedelta(days=1)
        assert quiet_until(until, quiet) is None


def _hour_in(now: datetime, quiet: tuple[int, int]) -> bool:
    """The hours one by one, as a clock passes them."""
    first, last = quiet
    hours = []
    while first != last:
        hours.append(first)
        first = (first + 1) % 24
    return now.astimezone(CITY).hour in hours


@given(st.one_of(st.just("city"), st.just("none"), HOURS))
def test_quiet_hours_are_read_as_they_are_written(quiet: Quiet) -> None:
    assert parse_quiet(quiet_text(quiet)) == quiet


@pytest.mark.parametrize(
    "text", ["", "21", "21-", "-8", "21-24", "21-8-9", "a-b", "２１-8x", "21 8"]
)
def test_what_are_no_quiet_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_quiet(text)


def test_an_address_is_known_by_a_hash_that_needs_the_key() -> None:
    one = hash_of(b"key", "mail", "Wang@Mail.example")
    assert one == hash_of(b"key", "mail", "wang@mail.example")
    assert one != hash_of(b"other", "mail", "wang@mail.example")
    assert one != hash_of(b"key", "sms", "wang@mail.example")
    assert len(one) == 16


# --- one try, and what becomes of it


@pytest.fixture(scope="module")
def messages() -> Messages:
    return Messages.load()


CONFIRM_URL = "https://cases.example/zh-TW/confirm/abcdefghijklmnop"


class Dispatch:
    """One notice, claimed, and the provider's answers."""

    def __init__(
        self,
        messages: Messages,
        *answers: Exception | None,
        contact: dict[str, Any] | None = None,
        notice: Notice | None = None,
        choice: Choice | None = None,
        quiet: Quiet = "none",
        others: Sequence[FakeProvider] = (),
    ) -> None:
        self.now = NOW
        self.notices = FakeNotices(lambda: self.now)
        self.provider = FakeProvider(*answers)
        self.notice = notice or examples.notice()
        self._choice = choice or Choice()
        self._contact = CONTACT if contact is None else contact
        routes = Routes(
            [Route(one) for one in (self.provider, *others)],
            10,
            no_limit,
            lambda: 0.0,
            lambda: self.now,
            lambda: 0.0,
        )
        self._sender = Sender(
            {self.notice.channel: routes},
            messages,
            Links(b"secret", "https://cases.example"),
            "https://cases.example/",
            quiet,
            lambda: self.now,
            lambda: 0.5,
        )

    async def once(self, tries: int = 1, superseded: bool = False) -> Any:
        """One try; the notice's row after it."""
        await self.notices.put_notice(self.notice)
        row = self.notices.rows[self.notice.notice_id]
        row.state, row.tries = "sending", tries
        claimed = Claimed(self.notice, tries, row.expires_at, "c2VhbGVk", 1, superseded)
        said = {"contact": self._contact, "confirm_url": CONFIRM_URL}
        unsealed = json.dumps(said).encode()
        to = destination_of(self.notice, unsealed)
        result = await self._sender.send(claimed, to, self._choice)
        await self.notices.record([result])
        return row


async def no_limit(provider: str, rate_per_s: float, wanted: int) -> int:
    return wanted


async def test_what_the_provider_takes_is_sent_under_the_providers_id(messages: Messages) -> None:
    dispatch = Dispatch(messages)

    row = await dispatch.once()

    assert row.state == "sent"
    assert row.provider == "fake"
    await dispatch.notices.receipts([Receipt("fake", "id-1", "delivered", NOW)])
    assert row.state == "delivered"
    assert [told.state for told in dispatch.notices.told] == ["sent", "delivered"]


async def test_the_message_reaches_the_citizen_in_the_citizens_language(
    messages: Messages,
) -> None:
    texts = {}
    for language in ("zh-TW", "en"):
        dispatch = Dispatch(messages, contact=CONTACT | {"language": language})
        await dispatch.once()
        (out,) = dispatch.provider.sent
        assert (out.notice_id, out.to) == (dispatch.notice.notice_id, "+886912345678")
        assert (out.subject, out.language) == ("", language)
        assert examples.NUMBER in out.text
        texts[language] = out.text
    assert texts["en"].isascii()
    assert not texts["zh-TW"].isascii()


async def test_mail_has_a_subject_and_goes_to_the_mail_address(messages: Messages) -> None:
    dispatch = Dispatch(messages, notice=examples.notice(channel="mail"))

    await dispatch.once()

    (out,) = dispatch.provider.sent
    assert out.to == "wang@mail.example"
    assert out.subject


@pytest.mark.parametrize("key", [key for key in KEYS if key not in ("confirm", "preferences")])
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
    assert examples.NUMBER in dispatch.provider.sent[0].text


@pytest.mark.parametrize("channel", ["sms", "mail"])
async def test_a_link_to_confirm_with_goes_out_once_by_the_channel_that_was_said(
    messages: Messages, channel: str
) -> None:
    asked = examples.event(ApplicationConfirmationRequested, channel=channel)
    (row,) = (await ledger_after(asked)).rows.values()

    assert (row.notice.channel, row.notice.urgent) == (channel, True)
    # Personal: it is nowhere but in what is sealed.
    assert CONFIRM_URL not in str(row.notice)
    dispatch = Dispatch(messages, notice=row.notice)
    assert (await dispatch.once()).state == "sent"
    assert CONFIRM_URL in dispatch.provider.sent[0].text


@pytest.mark.parametrize("channel", ["sms", "mail"])
@pytest.mark.parametrize("stopped_by", ["", "citizen", "provider"])
async def test_the_link_to_choose_with_comes_also_to_whom_has_stopped_all_else(
    messages: Messages, channel: str, stopped_by: str
) -> None:
    asked = examples.event(ApplicationPreferencesRequested, channel=channel)
    (row,) = (await ledger_after(asked)).rows.values()
    choice = Choice(wants=not stopped_by, given_by=stopped_by)
    dispatch = Dispatch(messages, notice=row.notice, choice=choice)

    state = (await dispatch.once()).state

    if stopped_by == "provider":
        assert (state, dispatch.provider.sent) == ("suppressed", [])
    else:
        assert state == "sent"
        assert "/p/" in dispatch.provider.sent[0].text


async def test_a_link_to_an_address_that_nobody_has_proven_passes_no_stop_and_no_night(
    messages: Messages,
) -> None:
    asked = examples.event(ApplicationPreferencesRequested, channel="sms", proven=False)
    (row,) = (await ledger_after(asked)).rows.values()
    stopped = Dispatch(messages, notice=row.notice, choice=Choice(False, "citizen"))
    at_night = Dispatch(messages, notice=row.notice, quiet=(0, 23))

    assert (await stopped.once()).state == "suppressed"
    assert (await at_night.once()).state == "deferred"


def test_a_notice_without_the_link_that_it_is_about_is_unreadable() -> None:
    notice = examples.notice(channel="mail", template="confirm")
    with pytest.raises(ValueError, match="link to confirm"):
        destination_of(notice, json.dumps({"contact": CONTACT}).encode())


EVENT_OF = {
    "received": examples.event(ApplicationSubmitted),
    "assigned": routed("rule"),
    "reassigned": routed("rule", tried=("DOSW",)),
    "triage": routed("triage", agency="TRIAGE"),
    "step_completed": routed("next_step", step=2),
    "approved": changed("CLOSED", "APPROVED"),
    "rejected": changed("CLOSED", "REJECTED", reason="not eligible"),
    "accepted": changed("ACCEPTED", due_on=date(2026, 12, 2)),
    "correction_requested": changed(
        "CORRECTION_REQUESTED", items=("passbook", "photo"), correct_by=date(2026, 12, 9)
    ),
    "corrected": changed("CORRECTED"),
    "withdrawn": changed("WITHDRAWN"),
}


async def test_the_papers_to_correct_are_listed_in_the_mail(messages: Messages) -> None:
    event = EVENT_OF["correction_requested"]
    (_, row) = (await ledger_after(event)).rows.values()
    dispatch = Dispatch(messages, contact=CONTACT | {"language": "en"}, notice=row.notice)

    await dispatch.once()

    assert "passbook, photo" in dispatch.provider.sent[0].text


async def test_a_temporary_refusal_is_tried_again_later(messages: Messages) -> None:
    dispatch = Dispatch(messages, TemporaryRefusal("sms.throttled"))

    row = await dispatch.once()

    assert (row.state, row.reason) == ("temporary_failure", "sms.throttled")
    assert row.next_try_at == NOW + timedelta(seconds=TRY_AGAIN_AFTER_S[0] * 0.75)


async def test_a_definite_refusal_goes_to_another_provider_at_once(messages: Messages) -> None:
    other = FakeProvider(name="other")
    dispatch = Dispatch(messages, TemporaryRefusal("sms.throttled"), others=[other])

    row = await dispatch.once()

    assert (row.state, row.provider) == ("sent", "other")
    assert [(a.provider, a.outcome) for a in dispatch.notices.attempts] == [
        ("fake", "refused"),
        ("other", "accepted"),
    ]


@pytest.mark.parametrize(
    "answer", [OutcomeUnknown("sms.no_answer"), PermanentRefusal("sms.invdstadr")]
)
async def test_what_may_have_gone_out_or_never_will_goes_to_nobody_else(
    messages: Messages, answer: Exception
) -> None:
    other = FakeProvider(name="other")

    await Dispatch(messages, answer, others=[other]).once()

    assert other.sent == []


async def test_a_provider_that_fails_in_a_way_of_its_own_leaves_the_outcome_unknown(
    messages: Messages,
) -> None:
    row = await Dispatch(messages, RuntimeError("a bug")).once()

    assert (row.state, row.reason) == ("unknown", "provider.failed")


async def test_a_text_that_cannot_be_made_holds_nobody_up(messages: Messages) -> None:
    row = await Dispatch(messages, notice=examples.notice(context={"number": "7"})).once()

    assert (row.state, row.reason) == ("permanent_failure", "notice.no_text")


async def test_what_a_later_message_says_too_is_not_sent(messages: Messages) -> None:
    dispatch = Dispatch(messages)

    row = await dispatch.once(superseded=True)

    assert (row.state, row.reason) == ("cancelled", "superseded")
    assert dispatch.provider.sent == []


async def test_in_quiet_hours_a_text_message_waits_for_their_end(messages: Messages) -> None:
    dispatch = Dispatch(messages, quiet=(17, 20))  # NOW is half past five in the city

    row = await dispatch.once()

    assert (row.state, row.reason) == ("deferred", "quiet hours")
    assert row.next_try_at == at(20)
    assert row.tries == 0
    dispatch.now = at(20)
    assert (await dispatch.once()).state == "sent"


async def test_mail_knows_no_quiet_hours(messages: Messages) -> None:
    notice = examples.notice(channel="mail")

    assert (await Dispatch(messages, notice=notice, quiet=(17, 20)).once()).state == "sent"


async def test_what_is_urgent_passes_quiet_hours(messages: Messages) -> None:
    notice = examples.notice(urgent=True)

    assert (await Dispatch(messages, notice=notice, quiet=(17, 20)).once()).state == "sent"


@pytest.mark.parametrize(
    ("chosen", "city", "state"),
    [("none", (17, 20), "sent"), ((17, 18), "none", "deferred"), ("city", (17, 20), "deferred")],
)
async def test_the_citizens_own_quiet_hours_come_before_the_citys(
    messages: Messages, chosen: Quiet, city: Quiet, state: str
) -> None:
    dispatch = Dispatch(messages, choice=Choice(quiet=chosen), quiet=city)

    assert (await dispatch.once()).state == state


async def test_who_wants_no_messages_gets_none(messages: Messages) -> None:
    dispatch = Dispatch(messages, choice=Choice(False, "citizen"))

    row = await dispatch.once()

    assert (row.state, row.reason) == ("suppressed", "stopped by citizen")
    assert dispatch.provider.sent == []


async def test_a_chosen_language_comes_before_that_of_the_application(messages: Messages) -> None:
    dispatch = Dispatch(messages, choice=Choice(language="en"))

    await dispatch.once()

    assert dispatch.provider.sent[0].text.isascii()


@pytest.mark.parametrize(
    ("correct_by", "urgent"),
    [
        (date(2026, 11, 24), True),
        (date(2026, 11, 25), True),
        (date(2026, 11, 26), False),
        (None, False),
    ],
)
def test_a_correction_that_is_due_by_tomorrow_is_urgent(
    correct_by: date | None, urgent: bool
) -> None:
    event = changed("CORRECTION_REQUESTED", items=("photo",), correct_by=correct_by)

    assert {one.urgent for one in notices_of(event, {})} == {urgent}


@pytest.mark.parametrize("key", KEYS)
async def test_a_mail_can_be_stopped_by_one_click_unless_it_asks_for_something(
    messages: Messages, key: str
) -> None:
    notice = examples.notice(channel="mail", template=key)
    dispatch = Dispatch(messages, notice=notice)

    await dispatch.once()

    url = dispatch.provider.sent[0].unsubscribe_url
    assert bool(url) == (key not in ("correction_requested", "confirm", "preferences"))
    assert ("/p/" in dispatch.provider.sent[0].text) == (key != "confirm")


async def test_tries_end_with_a_permanent_failure_that_keeps_the_reason(
    messages: Messages,
) -> None:
    states = []
    for tries in count(1):
        dispatch = Dispatch(messages, TemporaryRefusal("sms.down"))
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
    await dispatch.notices.put_recipient(CASE, examples.NUMBER, "c2VhbGVk")

    row = await dispatch.once()

    assert (row.state, row.reason) == ("unknown", "sms.no_answer")
    assert await dispatch.notices.claim("sms", 10) == []


async def test_news_that_is_too_old_is_not_sent(messages: Messages) -> None:
    dispatch = Dispatch(messages)
    dispatch.now = NOW + EXPIRES_AFTER

    row = await dispatch.once()

    assert row.state == "expired"
    assert dispatch.provider.sent == []


async def test_news_is_sent_to_its_last_moment(messages: Messages) -> None:
    dispatch = Dispatch(messages)
    dispatch.now = NOW + EXPIRES_AFTER - timedelta(seconds=1)

    assert (await dispatch.once()).state == "sent"


async def test_a_citizen_without_an_address_on_a_channel_is_left_alone_there(
    messages: Messages,
) -> None:
    dispatch = Dispatch(messages, contact={"email": "wang@mail.example"})

    row = await dispatch.once()

    assert (row.state, row.reason) == ("suppressed", "no address for this channel")
    assert dispatch.provider.sent == []


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
    assert "912345678" not in repr(dispatch.provider.sent)
