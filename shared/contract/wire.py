"""CloudEvents 1.0 over Kafka, binary mode: attributes as headers, the body as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from shared.contract.errors import PermanentError
from shared.contract.events import CASE_EVENTS, Event, RulesReleased

T = TypeVar("T", bound=BaseModel)
Headers = tuple[tuple[str, bytes], ...]
_ATTRIBUTES = {"id", "source", "time"}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to be sent: `key` decides the partition, so one case keeps its order."""

    topic: str
    key: bytes
    headers: Headers
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it was read, byte for byte. `timestamp_ms` is the broker's, since 1970."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    headers: Headers
    value: bytes | None

    def header(self, name: str) -> str | None:
        for key, value in self.headers:
            if key == name and value is not None:
                return value.decode("utf-8", "replace")
        return None

    @property
    def case_id(self) -> str:
        """The key as text; what parking goes by, even when the body cannot be read.

        Always fit for a text column: bytes that are none, and NUL, become U+FFFD.
        """
        return (self.key or b"").decode("utf-8", "replace").replace("\x00", "\ufffd")


def encode(topic: str, event: Event | RulesReleased, traceparent: str | None = None) -> Outgoing:
    subject = release_key(event) if isinstance(event, RulesReleased) else str(event.case_id)
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", str(event.id).encode()),
        ("ce_type", event.type.encode()),
        ("ce_source", event.source.encode()),
        ("ce_time", event.time.isoformat().encode()),
        ("ce_subject", subject.encode()),
        ("content-type", b"application/json"),
    ]
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
    body = event.model_dump_json(exclude=_ATTRIBUTES).encode()
    return Outgoing(topic, subject.encode(), tuple(headers), body)


def release_key(release: RulesReleased) -> str:
    """Each release has its own key: compaction must not take those that old cases need."""
    return f"{release.ruleset}:{release.release}"


def type_of(record: Record) -> str:
    """The event's type. Raises PermanentError when the header is missing."""
    found = record.header("ce_type")
    if found is None:
        raise PermanentError("event.no_type", "header ce_type is missing")
    return found


def decode(record: Record, wanted: Sequence[type[Event]] | None = None) -> Event | None:
    """The event in `record`, or None for a type that the caller does not want.

    Raises PermanentError with a code that says what is broken: event.no_type, event.unknown_type,
    event.not_json, event.schema, event.key (key or subject name another case than the body).
    """
    name = type_of(record)
    if wanted is not None and all(model.type != name for model in wanted):
        if name in CASE_EVENTS:
            return None
        raise PermanentError("event.unknown_type", f"unknown event type {name!r}")
    model = CASE_EVENTS.get(name)
    if model is None:
        raise PermanentError("event.unknown_type", f"unknown event type {name!r}")
    event = _parse(model, record)
    case, subject = str(event.case_id), record.header("ce_subject")
    if record.key != case.encode() or subject not in (None, case):
        told = f"key {record.case_id!r}, subject {subject!r}"
        raise PermanentError("event.key", f"{told}: not the body's case {case}")
    return event


def decode_release(record: Record) -> RulesReleased:
    """The rule set in `record`. Raises PermanentError as `decode` does."""
    if type_of(record) != RulesReleased.type:
        raise PermanentError("event.unknown_type", f"expected {RulesReleased.type}")
    return _parse(RulesReleased, record)


def _parse(model: type[T], record: Record) -> T:
    try:
        body = from_json(record.value or b"")
    except ValueError as error:
        raise PermanentError("event.not_json", f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise PermanentError("event.not_json", "the body is no JSON object")
    for name in _ATTRIBUTES:
        body[name] = record.header(f"ce_{name}")
    try:
        return model.model_validate(body)
    except ValidationError as error:
        # The input is left out on purpose: it may hold what the log must not.
        where = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}"
            for e in error.errors(include_input=False, include_url=False)
        )
        raise PermanentError("event.schema", where) from error
