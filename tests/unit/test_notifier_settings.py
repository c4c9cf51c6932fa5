"""The notifier's settings: what would fail later, or leak, is refused at once in a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.notifier.channels import GatewayProvider, SmppProvider, SmtpProvider
from services.notifier.providers import (
    bounces_of,
    gateway_tokens,
    price_of,
    route_of,
    secret_of,
)
from services.notifier.settings import NotifierSettings

SMS = [
    {"name": "telco", "url": "smpp://acc:p%40ss@sms.example:2776", "weight": 3, "price_twd": "0.8"},
    {"name": "gateway", "url": "https://:to%2Fken@gw.example/v1", "rate_per_s": 5},
]
MAIL = [{"name": "relay", "url": "smtps://u:p@mail.example"}]
KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


def settings(**changes: Any) -> NotifierSettings:
    given = {"sms_providers": SMS, "mail_providers": MAIL, "master_key": KEY} | changes
    return NotifierSettings(kafka="k:1", postgres="postgresql://x", **given)  # type: ignore[arg-type]


async def ignore(_: object) -> None: ...


def test_each_provider_is_made_as_its_url_says() -> None:
    found = settings(receipts_url="https://city.example/receipts")
    providers = [*found.sms_providers, *found.mail_providers]
    routes = [route_of(found, one, ignore, ignore) for one in providers]
    kinds = [type(one.provider) for one in routes]
    assert kinds == [SmppProvider, GatewayProvider, SmtpProvider]
    assert [(one.weight, one.rate_per_s) for one in routes] == [(3, None), (1, 5), (1, None)]
    assert gateway_tokens(found) == {"gateway": b"to/ken"}
    assert str(price_of(found)) == "0.8"
    assert bounces_of(found) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sms_providers": []}, "at least 1 item"),
        ({"sms_providers": [*SMS, SMS[0]]}, "two providers have one name"),
        ({"sms_providers": MAIL}, "begins with none of smpp://"),
        ({"mail_providers": SMS}, "begins with none of smtp://"),
        ({"sms_providers": [{"name": "A b", "url": "smpp://a:b@c"}]}, "should match pattern"),
        ({"sms_providers": [{"name": "a", "url": "https://gw.example"}]}, "needs a token"),
        ({"sms_providers": [{"name": "a", "url": "smpp://a:123456789@c"}]}, "8 characters"),
        ({"sms_providers": [{"name": "a", "url": "smpp://a@c"}]}, "8 characters"),
        ({"sms_providers": [{"name": "a", "url": "smpp://a:secret@c:port"}]}, "port a number"),
        ({"sms_providers": [{"name": "a", "url": "smpp://"}]}, "names no host"),
        ({"sms_providers": [SMS[0] | {"weigth": 1}]}, "Extra inputs"),
        ({"quiet_hours": "city"}, "two full hours"),
        ({"quiet_hours": "21-25"}, "two full hours"),
        ({"dkim_selector": "a"}, "give both"),
        ({"dkim_key_file": "/tmp/x"}, "give both"),
    ],
)
def test_what_cannot_work_is_refused_without_telling_a_secret(
    changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**changes)
    told = json.dumps(refused.value.errors(include_input=False, include_context=False))
    assert why in told
    assert "secret" not in told


def test_a_key_that_is_not_there_or_none_ends_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.pem").write_text("no key")
    for name in ("none.pem", "bad.pem"):
        found = settings(dkim_selector="a", dkim_key_file=tmp_path / name)
        with pytest.raises(SystemExit):
            route_of(found, found.mail_providers[0], ignore, ignore)
        assert "casebus: CASEBUS_DKIM_KEY_FILE: " in capsys.readouterr().err


def test_each_purpose_has_a_secret_of_its_own() -> None:
    key = settings().master_key
    purposes = ("links", "addresses", "bounces")
    secrets = {secret_of(key, purpose) for purpose in purposes}
    assert len(secrets) == 3
    assert secret_of(key, "links") == secret_of(settings().master_key, "links")
