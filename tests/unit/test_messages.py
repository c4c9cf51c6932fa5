"""The texts of notices: complete, safe, and loud at start when one is broken."""

import shutil
from pathlib import Path
from typing import get_args

import pytest
from jinja2 import UndefinedError

from catalogue import load_catalogue
from services.notifier.channels.segments import segment
from services.notifier.domain import CHANNELS, template_of
from services.notifier.messages import FOLDER, KEYS, LANGUAGES, Messages, MessagesError
from shared.contract.events import (
    ApplicationConfirmationRequested,
    ApplicationPreferencesRequested,
    ApplicationSubmitted,
    CaseRouted,
    CaseStatusChanged,
    Decision,
)

# All but the links that a citizen asks for.
NEWS = tuple(key for key in KEYS if key not in ("confirm", "preferences"))
CONTEXT = {
    "number": "20261124-0000123-9",
    "service_name": "臺北市育兒津貼",
    "agency_name": "大安區公所",
    "reason": "王小明的存摺影本不清楚",
    "items": "戶籍謄本、存摺影本",
    "due_on": "2026-12-01",
    "correct_by": "2026-12-09",
    "track_url": "https://cases.example",
    "confirm_url": "https://cases.example/zh-TW/confirm/abcdefghijklmnop",
    "preferences_url": "https://cases.example/p/ab-abcdefghijklmnop",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "messages"))


@pytest.fixture(scope="module")
def messages() -> Messages:
    return Messages.load()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", NEWS)
def test_every_text_names_the_case_the_service_and_where_to_follow_it(
    messages: Messages, key: str, language: str
) -> None:
    for channel in CHANNELS:
        text = messages.render(key, language, channel, CONTEXT).text
        for name in ("number", "service_name", "track_url"):
            assert CONTEXT[name] in text
    subject = messages.render(key, language, "mail", CONTEXT).subject
    assert CONTEXT["number"] in subject


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", KEYS)
def test_an_sms_is_one_line_without_a_clerks_free_text(
    messages: Messages, key: str, language: str
) -> None:
    sms = messages.render(key, language, "sms", CONTEXT)
    assert sms.subject == ""
    assert "\n" not in sms.text
    assert CONTEXT["reason"] not in sms.text
    assert CONTEXT["items"] not in sms.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_sms_has_two_parts_for_nearly_every_service_and_never_more_than_three(
    messages: Messages, language: str
) -> None:
    catalogue = load_catalogue()
    agency = catalogue.agencies["DOSW"]
    parts = []
    for service in catalogue.services.values():
        names = (
            (service.name_zh, agency.zh) if language == "zh-TW" else (service.name_en, agency.en)
        )
        context = CONTEXT | {"service_name": names[0], "agency_name": names[1]}
        for key in KEYS:
            parts.append(len(segment(messages.render(key, language, "sms", context).text, 1).parts))
    assert max(parts) <= 3
    assert parts.count(3) <= len(parts) / 50


def test_a_due_date_is_written_as_each_language_writes_it(messages: Messages) -> None:
    assert "115年12月1日前" in messages.render("accepted", "zh-TW", "sms", CONTEXT).text
    assert "1 December 2026" in messages.render("accepted", "en", "mail", CONTEXT).text


def test_a_request_for_correction_says_until_when(messages: Messages) -> None:
    for channel in CHANNELS:
        zh = messages.render("correction_requested", "zh-TW", channel, CONTEXT).text
        en = messages.render("correction_requested", "en", channel, CONTEXT).text
        assert "115年12月9日以前" in zh
        assert "by 9 December 2026" in en


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", NEWS)
def test_a_mail_says_where_to_stop_messages_and_an_sms_leaves_it_out(
    messages: Messages, key: str, language: str
) -> None:
    mail = messages.render(key, language, "mail", CONTEXT)
    assert CONTEXT["preferences_url"] in mail.text
    assert mail.segments == 0
    sms = messages.render(key, language, "sms", CONTEXT)
    assert CONTEXT["preferences_url"] not in sms.text
    assert sms.segments == len(segment(sms.text, 1).parts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_link_to_confirm_with_stands_in_mail_and_sms_and_asks_to_be_followed(
    messages: Messages, language: str
) -> None:
    for channel in CHANNELS:
        text = messages.render("confirm", language, channel, CONTEXT).text
        assert CONTEXT["confirm_url"] in text
        assert CONTEXT["service_name"] in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_link_that_was_asked_for_stands_in_mail_and_sms(
    messages: Messages, language: str
) -> None:
    for channel in CHANNELS:
        text = messages.render("preferences", language, channel, CONTEXT).text
        assert CONTEXT["preferences_url"] in text
        assert CONTEXT["number"] in text


def test_an_sms_that_could_need_more_than_four_parts_is_refused(folder: Path) -> None:
    file = folder / "zh-TW" / "accepted.jinja"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("{% block sms %}", "{% block sms %}" + "長" * 180), "utf-8")
    with pytest.raises(MessagesError, match=r"zh-TW/accepted\.jinja:1: an SMS has 4 parts"):
        Messages.load(folder, load_catalogue())


def test_what_an_event_leaves_out_leaves_no_gap(messages: Messages) -> None:
    full = messages.render("correction_requested", "zh-TW", "mail", CONTEXT).text
    assert "請補正" in full
    assert "說明" in full
    sparse = CONTEXT | {"reason": "", "items": "", "due_on": ""}
    mail = messages.render("correction_requested", "zh-TW", "mail", sparse).text
    assert "請補正" not in mail
    assert "說明" not in mail
    assert "\n\n\n" not in mail


def test_a_value_is_text_and_never_a_template(messages: Messages) -> None:
    mail = messages.render("approved", "en", "mail", CONTEXT | {"reason": "{{ number * 9 }}"})
    assert "{{ number * 9 }}" in mail.text


def test_a_subject_is_one_line_whatever_the_values(messages: Messages) -> None:
    context = CONTEXT | {"number": "1\r\nBcc: all@example.org"}
    assert messages.render("received", "en", "mail", context).subject.splitlines() == [
        "Taipei City, case 1 Bcc: all@example.org: we have received your application"
    ]


def test_a_name_that_is_missing_is_an_error(messages: Messages) -> None:
    with pytest.raises(UndefinedError):
        messages.render("received", "en", "sms", {"number": "1"})


def test_there_is_a_text_for_exactly_the_keys_that_events_lead_to() -> None:
    asked = ApplicationConfirmationRequested.model_construct()
    link = ApplicationPreferencesRequested.model_construct()
    submitted = ApplicationSubmitted.model_construct()
    routed = [
        CaseRouted.model_construct(tried=tried, decision=Decision.model_construct(outcome=outcome))
        for outcome in get_args(Decision.model_fields["outcome"].annotation)
        for tried in ((), ("DOSW",))
    ]
    changed = [
        CaseStatusChanged.model_construct(to_status=status, path=path)
        for status in load_catalogue().statuses
        for path in ((), ("APPROVED",), ("REJECTED",))
    ]
    keys = {template_of(event) for event in (asked, link, submitted, *routed, *changed)}
    assert keys - {None} == set(KEYS)


@pytest.mark.parametrize(
    ("find", "put", "line", "why"),
    [
        ("{{ number }}", "{{ nubmer }}", 2, "nothing is called nubmer"),
        ("{{ number }}", "{{ number", 2, "expected token"),
        ("{{ number }}", "{{ 'a' * 10**9 }}", 2, "is not for messages"),
        ("{{ number }}", "{{ number.__class__ }}", 2, "getattr is not for messages"),
        ("{{ number }}", "{{ number | upper }}", 2, "no filter is called upper"),
        ("{% block sms %}", "{% block sms %}{{ reason }}", 18, "an SMS may not name reason"),
        ("block sms", "block text", 1, "no block named sms"),
    ],
)
def test_a_broken_text_fails_at_start_with_file_and_line(
    folder: Path, find: str, put: str, line: int, why: str
) -> None:
    file = folder / "en" / "received.jinja"
    file.write_text(file.read_text().replace(find, put, 1))
    with pytest.raises(MessagesError) as caught:
        Messages.load(folder)
    assert any(
        problem.startswith(f"messages/en/received.jinja:{line}: ") and why in problem
        for problem in caught.value.problems
    ), caught.value.problems


def test_all_that_is_missing_is_told_at_once(folder: Path) -> None:
    (folder / "en" / "approved.jinja").unlink()
    (folder / "zh-TW" / "rejected.jinja").unlink()
    with pytest.raises(MessagesError) as caught:
        Messages.load(folder)
    assert caught.value.problems == (
        "messages/zh-TW/rejected.jinja:1: the file is missing",
        "messages/en/approved.jinja:1: the file is missing",
    )


def test_an_empty_text_fails_at_start(folder: Path) -> None:
    file = folder / "en" / "withdrawn.jinja"
    file.write_text(
        "{% block subject %}s{% endblock %}{% block mail %}m{% endblock %}"
        "{% block sms %} {% endblock %}"
    )
    with pytest.raises(MessagesError, match="sms is empty"):
        Messages.load(folder)
