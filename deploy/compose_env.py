"""`casebus compose-env > deploy/.env`: fresh secrets, and what a city must fill in."""

import base64
import json
import secrets
from typing import Annotated

import typer

from deploy.access import SERVICE_USERS
from shared.runtime.migrations import ROLES

# The super user, the brokers among themselves, and one for each service and for the operators.
KAFKA_USERS = ("admin", "broker", *SERVICE_USERS)

_HEAD = """\
# Settings of deploy/docker-compose.yml; docs/compose.md explains each. Everything below is
# secret: keep this file to yourself (chmod 600) and out of the repository. The master key opens
# every case: without a copy of it elsewhere, a lost file is the loss of what citizens wrote.
"""

_CITY = """
# How citizens, clerks and operators reach the pages; the first stands in every message.
CASEBUS_PORTAL_URL=http://127.0.0.1:8081
CASEBUS_BACKOFFICE_URL=http://127.0.0.1:8082
CASEBUS_CONSOLE_URL=http://127.0.0.1:8080
# Where citizens choose how they hear of their cases, and where SMS gateways bring receipts.
CASEBUS_NOTICES_URL=http://127.0.0.1:8084
CASEBUS_RECEIPTS_URL=http://notifier-receipts:8080/receipts

# Who messages come from: a mail address and a number or name that the SMS provider accepts.
CASEBUS_MAIL_FROM=noreply@casebus.example
CASEBUS_SMS_FROM=1999
"""


def compose_env(
    demo: Annotated[
        bool, typer.Option("--demo", help="With simulators in place of the providers.")
    ] = False,
) -> None:
    """Print the settings for docker-compose.yml, with new secrets."""
    lines = [_HEAD, *(f"{name}={value}\n" for name, value in _secrets().items()), _CITY]
    lines += [f"{line}\n" for line in _providers(demo)]
    print("".join(lines), end="")


def _secrets() -> dict[str, str]:
    """All are URL-safe, since they stand in URIs and in Kafka's settings; but the master key."""
    found = {"CASEBUS_CLUSTER_ID": _cluster_id(), "CASEBUS_MASTER_KEY": _key_base64()}
    for owner in ("CITIZEN", "CLERK", "COUNTER", "AGENCIES"):
        found[f"CASEBUS_{owner}_SECRET"] = secrets.token_urlsafe(32)
    for role in ("admin", *ROLES):
        found[f"CASEBUS_POSTGRES_PASSWORD_{role.upper()}"] = secrets.token_urlsafe(24)
    for user in KAFKA_USERS:
        found[f"CASEBUS_KAFKA_PASSWORD_{user.upper()}"] = secrets.token_urlsafe(24)
    return found


def _providers(demo: bool) -> list[str]:
    """Who carries messages. SMPP allows a password of 8 characters."""
    password, token = secrets.token_urlsafe(6), secrets.token_urlsafe(24)
    simulators = [
        "",
        "# Secrets of the simulators, which run with the profile `demo` only.",
        f"CASEBUS_SIMULATOR_SMPP_PASSWORD={password}",
        f"CASEBUS_SIMULATOR_GATEWAY_TOKEN={token}",
    ]
    if demo:
        sms = [
            {"name": "smpp", "url": f"smpp://casebus:{password}@sms:2775", "weight": 3},
            {"name": "gateway", "url": f"http://:{token}@sms:8080/gateway"},
        ]
        mail = [{"name": "relay", "url": "smtp://mailbox:2525"}]
        return [
            *simulators,
            "COMPOSE_PROFILES=demo",
            f"CASEBUS_SMS_PROVIDERS='{json.dumps(sms)}'",
            f"CASEBUS_MAIL_PROVIDERS='{json.dumps(mail)}'",
        ]
    return [
        *simulators,
        "",
        "# Who carries messages, a JSON list each in single quotes (docs/notices.md); to be",
        "# filled in. Text messages:",
        '# \'[{"name": "telco", "url": "smpp://ACCOUNT:PASSWORD@HOST:PORT", "rate_per_s": 100}]\'',
        '# and mail: \'[{"name": "relay", "url": "smtp://HOST:25"}]\'',
        "CASEBUS_SMS_PROVIDERS=",
        "CASEBUS_MAIL_PROVIDERS=",
        "# The domain to which mail comes back that cannot be delivered, at port 2526.",
        "# CASEBUS_BOUNCE_DOMAIN=",
    ]


def _key_base64() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _cluster_id() -> str:
    """22 characters, 16 bytes; Kafka's tool takes a leading '-' for an option."""
    while True:
        found = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not found.startswith("-"):
            return found
