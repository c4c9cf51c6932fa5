"""Events on the wire: CloudEvents in binary mode, and what is refused of what arrives."""

import json
import types
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel

from shared.contract.errors import PermanentError
from shared.contract.events import (
    CASE_EVENTS,
    ApplicationSubmitted,
    ApplicationWithdrawn,
    CaseReturned,
    CaseRouted,
    Event,
    RulesReleased,
    derived_id,
)
from shared.contract.wire import Record, decode, decode_release, encode
from tests import examples

_ZONES = st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(-timedelta(minutes=570))])
_TIMES = st.builds(
    lambda seconds, zone: datetime.fromtimestamp(seconds / 1000, zone),
    st.integers(0, 4_000_000_000_000),
    _ZONES,
)
_FACT = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20)


def _values(annotation: Any, name: str) -> st.SearchStrategy[Any]:
    """Any value that a field of an event may have."""
    if name == "facts":
        return st.dictionaries(st.text(max_size=10), _FACT, max_size=4)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        UUID: st.uuids(),
        str: st.text(max_size=20),
        bool: st.booleans(),
        int: st.integers(1, 10),
        date: st.dates(),
        AwareDatetime: _TIMES,
        type(None): st.none(),
    }
    if annotation in simple:
        return simple[annotation]
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(args[0], name)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, types.UnionType):
        return st.one_of(*(_values(arg, name) for arg in args))
    if origin is tuple:
        return st.lists(_values(args[0], name), max_size=3).map(tuple)
    return _models(annotation)


def _models(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    fields = {name: _values(f.annotation, name) for name, f in model.model_fields.items()}
    return st.builds(model, **fields)


ANY_EVENT = st.sampled_from(list(CASE_EVENTS.values())).flatmap(_models)


@given(ANY_EVENT)
def test_every_event_is_read_as_it_was_written(event: Event) -> None:
    read = decode(examples.record(encode("cases.events", event)))

    assert read == event
    assert type(read) is type(event)


def test_a_release_of_rules_is_read_as_it_was_written_and_keyed_by_its_number() -> None:
    release = examples.released(examples.document(examples.rule_row()), release=7)
    out = encode("rules.releases", release)

    assert out.key == b"lead:7"
    assert decode_release(examples.record(out)) == release


def test_the_attributes_are_headers_and_the_body_repeats_none_of_them() -> None:
    event = examples.event(ApplicationSubmitted)
    out = encode("applications.events", event, "00-aa-bb-01")

    assert dict(out.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": str(event.id).encode(),
        "ce_type": b"application.submitted.v1",
        "ce_source": b"test",
        "ce_time": event.time.isoformat().encode(),
        "ce_subject": str(event.case_id).encode(),
        "content-type": b"application/json",
        "traceparent": b"00-aa-bb-01",
    }
    assert set(json.loads(out.value or b"")) == {
        *("case_id", "number", "service", "received_at", "facts", "sealed", "duplicates")
    }


@given(ANY_EVENT)
def test_an_event_of_a_case_is_keyed_by_its_case_so_that_its_order_holds(event: Event) -> None:
    assert encode("any", event).key == str(event.case_id).encode()


def test_without_a_trace_no_trace_is_told() -> None:
    out = encode("any", examples.event(ApplicationWithdrawn))

    assert "traceparent" not in dict(out.headers)


def _changed(record: Record, **changes: Any) -> Record:
    """`record` with fields of its JSON body changed; None takes one out."""
    body = json.loads(record.value or b"") | changes
    kept = {name: value for name, value in body.items() if value is not None}
    return replace(record, value=json.dumps(kept).encode())


def _with_header(record: Record, name: str, value: bytes | None) -> Record:
    headers = tuple((n, value if n == name else v) for n, v in record.headers)
    return replace(record, headers=tuple((n, v) for n, v in headers if v is not None))


def _refusal(record: Record) -> PermanentError:
    with pytest.raises(PermanentError) as refused:
        decode(record)
    return refused.value


SOUND = examples.record_of(examples.event(CaseReturned, id=UUID(int=3)))


def test_fields_that_nobody_knows_yet_are_ignored() -> None:
    assert decode(_changed(SOUND, added_next_year={"deep": [1]})) == decode(SOUND)


def test_a_body_that_claims_another_id_does_not_change_the_events_identity() -> None:
    read = decode(_changed(SOUND, id=str(UUID(int=99)), source="forged"))

    assert read is not None
    assert (read.id, read.source) == (UUID(int=3), "test")


def test_a_record_without_a_type_is_refused_as_that() -> None:
    assert _refusal(_with_header(SOUND, "ce_type", None)).code == "event.no_type"


def test_a_type_that_the_contract_lacks_is_refused_even_when_nobody_wants_it() -> None:
    unknown = _with_header(SOUND, "ce_type", b"case.returned.v2")

    assert _refusal(unknown).code == "event.unknown_type"
    with pytest.raises(PermanentError) as refused:
        decode(unknown, [ApplicationSubmitted])
    assert refused.value.code == "event.unknown_type"


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"",
        None,
        b'{"cut',
        b"[]",
        b"null",
        b'"text"',
        b'{"number": "\xff\xfe"}',
        b"[" * 100_000,
    ],
    ids=["text", "empty", "tombstone", "cut", "list", "null", "string", "bytes", "deep"],
)
def test_a_body_that_is_no_json_object_is_refused_as_that(body: bytes | None) -> None:
    assert _refusal(replace(SOUND, value=body)).code == "event.not_json"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"tried": None}, "tried"),
        ({"step": "first"}, "step"),
        ({"received_at": "2026-11-24T09:30:00"}, "received_at"),
        ({"case_id": "no uuid"}, "case_id"),
        ({"facts": {"fee": 1.5}}, "facts.fee"),
        ({"facts": {"address": {"line": "nested"}}}, "facts.address"),
    ],
    ids=["missing", "no number", "no time zone", "no uuid", "float fact", "nested fact"],
)
def test_a_body_that_breaks_the_schema_is_refused_and_the_field_is_named(
    changes: dict[str, Any], field: str
) -> None:
    refused = _refusal(_changed(SOUND, **changes))

    assert refused.code == "event.schema"
    assert field in str(refused)


def test_what_a_broken_event_says_is_not_repeated_in_the_refusal() -> None:
    refused = _refusal(_changed(SOUND, step="王小明 A123456789"))

    assert "A123456789" not in str(refused)


@pytest.mark.parametrize(
    ("header", "value"),
    [("ce_id", b"17"), ("ce_id", None), ("ce_time", b"yesterday"), ("ce_source", None)],
)
def test_a_broken_attribute_is_a_broken_schema(header: str, value: bytes | None) -> None:
    assert _refusal(_with_header(SOUND, header, value)).code == "event.schema"


@pytest.mark.parametrize("key", [None, b"", str(UUID(int=5)).encode()])
def test_a_key_of_another_case_than_the_body_is_refused(key: bytes | None) -> None:
    out = encode("any", examples.event(CaseReturned))

    assert _refusal(examples.record(out, key=key)).code == "event.key"


def test_an_event_that_the_caller_does_not_want_is_skipped_unread() -> None:
    unreadable = replace(SOUND, value=b"not json")

    assert decode(unreadable, [ApplicationSubmitted]) is None


def test_a_wanted_event_is_read() -> None:
    assert decode(SOUND, [ApplicationSubmitted, CaseReturned]) == decode(SOUND)


def test_another_event_on_the_topic_of_releases_is_refused() -> None:
    with pytest.raises(PermanentError) as refused:
        decode_release(SOUND)
    assert refused.value.code == "event.unknown_type"


def test_a_release_without_tables_is_refused() -> None:
    sound = examples.record(encode("rules.releases", examples.released({})))

    with pytest.raises(PermanentError) as refused:
        decode_release(_changed(sound, tables=None))
    assert refused.value.code == "event.schema"


def test_every_event_type_has_a_version_and_a_name_of_its_own() -> None:
    names = [*CASE_EVENTS, RulesReleased.type]

    assert len(set(names)) == len(names)
    assert all(name.endswith(".v1") for name in names)


def test_a_record_that_cannot_be_read_still_tells_which_case_it_is_of() -> None:
    out = encode("any", examples.event(CaseRouted))

    assert examples.record(out, value=b"\xff").case_id == str(examples.CASE)
    assert examples.record(out, key=None).case_id == ""
    assert examples.record(out, key=b"\xff\x00").case_id == "\ufffd\ufffd"


@given(st.uuids(), st.uuids(), st.text(), st.text())
def test_the_same_cause_and_label_give_the_same_id_and_others_another(
    cause: UUID, other: UUID, label: str, word: str
) -> None:
    assert derived_id(cause, label) == derived_id(cause, label)
    assert (derived_id(cause, label) == derived_id(other, word)) == (
        (cause, label) == (other, word)
    )
