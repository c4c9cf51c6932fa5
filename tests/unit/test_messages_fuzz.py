"""Hostile texts and hostile values: refused with file and line, or shown as they are, and short."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from services.notifier.messages import FOLDER, Messages, MessagesError, sample

# What a template is made of, and what somebody might try with it.
_PIECES = st.sampled_from(
    [
        *("{{ number }}", "{{ service_name }}", "{{ due_on | roc_date }}", "{{ 7 * 7 }}"),
        *("{{ 'a' * 10**9 }}", "{{ number.__class__ }}", "{{ number[0] }}", "{{ self }}"),
        *("{% for x in number %}", "{% endfor %}", "{% if number %}", "{% endif %}", "{% else %}"),
        *("{% set x = 1 %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% macro m() %}"),
        *("{{ lipsum(100) }}", "{{ range(10**9) | list }}", "{{ cycler }}", "{{ joiner() }}"),
        *("{% raw %}", "{% endraw %}", "{# a remark #}", "{{", "}}", "{%", "%}", "{#", "#}"),
        *("{{ number | e }}", "{{ number | long_date }}", "{{ number ~ number }}", "{{ -1 }}"),
        *("text", "\n", "\u202e", "\x00", "臺", "{{ 'x'.join([number]) }}", "{% block sms %}"),
    ]
)
_LONGEST = 5_000


@given(st.lists(_PIECES, max_size=12).map("".join))
@settings(max_examples=80, deadline=None)
def test_a_text_is_refused_with_its_place_or_is_short(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(shutil.copytree(FOLDER, Path(folder) / "messages"))
        file = texts / "en" / "received.jinja"
        body = file.read_text(encoding="utf-8")
        file.write_text(body.replace("{% block sms %}", "{% block sms %}" + text), "utf-8")
        try:
            messages = Messages.load(texts)
        except MessagesError as error:
            for problem in error.problems:
                assert problem.startswith("messages/en/received.jinja:"), problem
            return
        rendered = messages.render("received", "en", "sms", sample("en"))
        assert len(rendered.text) < _LONGEST


VALUES = st.text(max_size=60) | _PIECES
MESSAGES = Messages.load()


@given(st.lists(VALUES, min_size=4, max_size=4), st.sampled_from(["sms", "mail"]))
def test_a_value_is_shown_and_never_run(values: list[str], channel: str) -> None:
    names = ("number", "service_name", "agency_name", "track_url")
    context = sample("en") | dict(zip(names, values, strict=True))
    rendered = MESSAGES.render("accepted", "en", channel, context)
    assert "\n" not in rendered.subject
    assert len(rendered.text) < _LONGEST
    if channel == "mail":
        for value in values:
            shown = value.replace("\r\n", "\n").replace("\r", "\n")
            if "\n\n" not in shown:
                assert value.strip() in rendered.text or shown.strip() in rendered.text
    else:
        assert " ".join(values[0].split()) in rendered.text
