"""Settings from the environment: what is missing is said at once, and no secret is shown."""

import base64

import pytest

from shared.runtime.settings import SealedSettings, Settings, StoreSettings, load

KEY = base64.b64encode(bytes(range(32))).decode()
FULL = {
    "CASEBUS_KAFKA": "broker:9092",
    "CASEBUS_POSTGRES": "postgresql://intake:a-password@db/casebus",
    "CASEBUS_MASTER_KEY": KEY,
}


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's environment gets in."""
    import os

    for name in os.environ:
        if name.startswith("CASEBUS_"):
            monkeypatch.delenv(name)


def _set(monkeypatch: pytest.MonkeyPatch, **changes: str | None) -> None:
    for name, value in (FULL | changes).items():
        if value is not None:
            monkeypatch.setenv(name, value)


def _refusal(capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        load(SealedSettings)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, CASEBUS_PORT="8081")

    settings = load(SealedSettings)

    assert (settings.kafka, settings.port) == ("broker:9092", 8081)
    assert settings.master_key.get_secret_value() == KEY


def test_the_broker_is_spoken_to_safely_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set(monkeypatch)

    assert load(Settings).kafka_security == "SASL_SSL"


def test_all_missing_settings_are_named_at_once_and_the_process_ends_with_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = _refusal(capsys).splitlines()

    assert [line.split(":")[1].strip() for line in lines[:-1]] == list(FULL)
    assert "docs/operations.md" in lines[-1]


def test_only_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _set(monkeypatch, CASEBUS_POSTGRES=None)

    err = _refusal(capsys)

    assert "CASEBUS_POSTGRES" in err
    assert "CASEBUS_KAFKA" not in err


@pytest.mark.parametrize("key", ["", "short", "not base64 !", KEY[:-4], KEY + KEY])
def test_a_master_key_of_another_length_is_refused_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    _set(monkeypatch, CASEBUS_MASTER_KEY=key)

    err = _refusal(capsys)

    assert "CASEBUS_MASTER_KEY: Value error, must be 32 random bytes in base64" in err
    assert not key or key not in err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CASEBUS_PORT", "65536"),
        ("CASEBUS_KAFKA_SECURITY", "NONE"),
        ("CASEBUS_POOL_MAX", "1"),
        ("CASEBUS_LOG_LEVEL", "loud"),
    ],
)
def test_a_setting_that_cannot_be_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    _set(monkeypatch, **{name: value})

    assert f"casebus: {name}: " in _refusal(capsys)


def test_secrets_are_not_shown_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, CASEBUS_KAFKA_PASSWORD="kafka-password")

    shown = repr(load(SealedSettings)) + str(load(StoreSettings))

    assert not [secret for secret in (KEY, "a-password", "kafka-password") if secret in shown]


def test_a_pool_too_small_for_what_holds_connections_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Relay and orders hold one while they ask for another; five could all be held."""
    _set(monkeypatch, CASEBUS_POOL_MAX="5")
    with pytest.raises(SystemExit):
        load(StoreSettings)
    _set(monkeypatch, CASEBUS_POOL_MAX="6")
    assert load(StoreSettings).pool_max == 6
