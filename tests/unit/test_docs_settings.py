"""docs/operations.md says what the code does: every variable and every metric."""

import re
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from deploy.access import SERVICE_USERS
from deploy.counterparts.settings import MailboxSettings, PhoneSettings
from services.backoffice.settings import BackofficeSettings
from services.console.settings import ConsoleSettings
from services.intake.settings import IntakeSettings
from services.notifier.settings import NotifierSettings
from services.router.settings import RouterSettings
from shared.runtime import metrics
from shared.runtime.migrations import ROLES
from tests.docs import names, rows, section

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
MODELS: dict[str, type[BaseSettings]] = {
    "intake": IntakeSettings,
    "router": RouterSettings,
    "backoffice": BackofficeSettings,
    "notifier": NotifierSettings,
    "console": ConsoleSettings,
    "mailbox": MailboxSettings,
    "sms": PhoneSettings,
}
GROUPS = {
    "services": ["intake", "router", "backoffice", "notifier", "console"],
    "simulators": ["mailbox", "sms"],
}
METRICS = [one for one in vars(metrics).values() if isinstance(one, Counter | Gauge | Histogram)]


def default(field: FieldInfo) -> str:
    """A default as the page writes it."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if field.is_required():
        return "required"
    if value is None:
        return "none"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return f"`{value}`" if value not in ("", {}) else "empty"


def said() -> dict[tuple[str, str], str]:
    """The default by variable and process, of the table for processes."""
    found = {}
    for row in rows(section(PAGE, "Variables")):
        if len(row) == 4:
            for word in row[1].split(", "):
                for process in GROUPS.get(word, [word]):
                    found[names(row[0])[0], process] = row[2]
    return found


def test_every_setting_of_every_process_is_in_the_table_with_its_default_and_no_other() -> None:
    expected = {
        (f"CASEBUS_{name.upper()}", process): default(field)
        for process, model in MODELS.items()
        for name, field in model.model_fields.items()
    }

    assert said() == expected


def test_every_variable_that_the_code_names_is_explained() -> None:
    explained = set(re.findall(r"CASEBUS_[A-Z0-9_]+", section(PAGE, "Variables")))
    # What `casebus compose-env` writes is for the compose file, and explained in compose.md.
    sources = [
        path
        for folder in ("casebus", "services", "shared", "catalogue", "deploy")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "compose_env.py"
    ]
    named = {
        name.removesuffix("_")
        for path in sources
        for name in re.findall(r"CASEBUS_[A-Z][A-Z0-9_]*", path.read_text("utf-8"))
    }

    assert not {name for name in named if not any(one.startswith(name) for one in explained)}
    assert {f"CASEBUS_{page}_URL" for page in ("INTAKE", "BACKOFFICE", "CONSOLE")} <= explained


@pytest.mark.parametrize(
    ("variable", "owners"),
    [("CASEBUS_POSTGRES_PASSWORD_ROLE", ROLES), ("CASEBUS_KAFKA_PASSWORD_USER", SERVICE_USERS)],
)
def test_everybody_who_needs_a_password_is_named(variable: str, owners: tuple[str, ...]) -> None:
    row = next(r for r in rows(section(PAGE, "Variables")) if names(r[0]) == [variable])

    assert re.findall(r"\b[A-Z]{3,}\b", row[-1]) == [owner.upper() for owner in owners]


def test_every_metric_is_in_the_table_with_its_kind_and_labels_and_no_other() -> None:
    table = {
        names(name)[0]: (kind, [one for one in labels.split(", ") if one != "-"])
        for name, kind, labels, _ in rows(section(PAGE, "Metrics"))
    }
    expected = {
        one._name + "_total" * isinstance(one, Counter): (one._type, list(one._labelnames))
        for one in METRICS
    }

    assert METRICS
    assert table == expected


def test_the_heading_that_a_stopped_relay_refers_to_is_there() -> None:
    source = (ROOT / "shared" / "runtime" / "relay.py").read_text("utf-8")

    assert "'A position that does not fit'" in source
    assert section(PAGE, "A position that does not fit")
