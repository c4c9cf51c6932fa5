"""docs/events.md says what the code does: every type, field, topic, reader and writer."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from catalogue import load_catalogue
from deploy.access import grants
from services.backoffice.handlers import TAKEN as TAKEN_BY_BACKOFFICE
from services.console.worker import SHADOWED
from services.intake.handlers import FOLLOWED
from services.notifier.handlers import TAKEN as TAKEN_BY_NOTIFIER
from services.router.handlers import WANTED
from shared.contract import topics
from shared.contract.errors import PermanentError
from shared.contract.events import CASE_EVENTS, Carried, Decision, Event, RulesReleased
from shared.contract.wire import Record, encode
from shared.runtime.kafka import dead_letter_headers
from tests.docs import names, rows, section
from tests.examples import event

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text("utf-8")
TYPES: dict[str, type[BaseModel]] = {**CASE_EVENTS, RulesReleased.type: RulesReleased}
HANDLED = {
    "router": {*WANTED, RulesReleased},
    "backoffice": set(TAKEN_BY_BACKOFFICE),
    "notifier": set(TAKEN_BY_NOTIFIER),
    "intake": set(FOLLOWED),
    "console": set(SHADOWED),
}


def documented(heading: str) -> set[str]:
    """The fields that the table under `heading` explains."""
    return {name for row in rows(section(PAGE, heading)) for name in names(row[0])}


def pattern(topic: str) -> str:
    return re.sub(r"^agency\.[A-Z0-9-]+\.", "agency.CODE.", topic)


@pytest.mark.parametrize("name", TYPES)
def test_every_field_of_an_event_is_explained_and_no_other(name: str) -> None:
    model = TYPES[name]
    found = documented(name)
    if issubclass(model, Event):
        found |= documented("Every event")
    else:
        found |= {"id", "source", "time"}
    if issubclass(model, Carried):
        found |= documented("Every event that carries the application")

    assert found == set(model.model_fields)


def test_every_field_of_a_decision_is_explained_and_no_other() -> None:
    assert documented("Decision") == set(Decision.model_fields)


def test_every_event_stands_in_the_table_and_no_other() -> None:
    table = rows(section(PAGE, "Which event is where"))

    assert {names(row[0])[0] for row in table} == set(TYPES)


@pytest.mark.parametrize("name", TYPES)
def test_who_handles_an_event_is_who_says_so_in_the_code(name: str) -> None:
    table = rows(section(PAGE, "Which event is where"))
    topic, _, handled_by = next(row[1:] for row in table if names(row[0]) == [name])
    expected = {service for service, models in HANDLED.items() if TYPES[name] in models}
    if names(topic)[0] in (topics.APPLICATIONS, topics.CASES, topics.NOTICES):
        expected.add("console")  # it counts all of them

    assert set(handled_by.split(", ")) == expected


def test_every_topic_is_in_the_table_and_no_other() -> None:
    agencies = load_catalogue().agencies
    specs = topics.all_topics(list(agencies), list(agencies))
    table = rows(section(PAGE, "Topics"))

    assert {names(row[0])[0] for row in table} == {pattern(spec.name) for spec in specs}


@pytest.mark.parametrize(("column", "operation"), [(3, "WRITE"), (4, "READ")])
def test_who_writes_and_reads_a_topic_is_who_may(column: int, operation: str) -> None:
    may: dict[str, set[str]] = {}
    for grant in grants(load_catalogue()):
        wanted = (grant.kind, grant.operation) == ("TOPIC", operation) and not grant.for_recovery
        if wanted and grant.name != "*":
            user = "agency" if grant.user.startswith("agency-") else grant.user
            may.setdefault(pattern(grant.name), set()).add(user)
    for row in rows(section(PAGE, "Topics")):
        said = set(row[column].split(", ")) - {"-"}
        assert said == may.get(names(row[0])[0], set()), row[0]


def test_every_header_is_explained_and_no_other() -> None:
    sent = encode(topics.CASES, event(next(iter(CASE_EVENTS.values()))), traceparent="00-1-2-00")

    assert documented("On the wire") == {name for name, _ in sent.headers}


def test_every_header_of_a_dead_letter_is_explained() -> None:
    record = Record(topics.CASES, 0, 0, 0, None, (), None)
    added = dead_letter_headers(record, "event.schema", PermanentError("event.schema", "why"))

    assert {name for name, _ in added} <= documented("Dead letters")


def test_every_code_of_the_code_is_explained() -> None:
    root = Path(__file__).parents[2]
    sources = [*(root / "shared").rglob("*.py"), *(root / "services").rglob("*.py")]
    found = {
        code
        for path in sources
        for code in re.findall(r'PermanentError\(\s*"([a-z_]+\.[a-z_]+)"', path.read_text("utf-8"))
    }
    # Those of the vault end a notice; they do not come from a record.
    assert {code for code in found if not code.startswith("vault.")} <= documented("Dead letters")
