"""What runs on one machine: every program with its own settings and no others'. Pure."""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from deploy.local.postgres import Server
from deploy.local.state import Secrets
from deploy.local.supervisor import Program

# Where each thing is when nobody else is there; see ports.py.
PORTS: Mapping[str, int] = {
    "console": 8080,
    "intake": 8081,
    "backoffice": 8082,
    "router": 8083,
    "notifier": 8084,
    "mailbox": 8085,
    "sms": 8086,
    "dispatcher": 8087,
    "smtp": 2525,
    "bounces": 2526,
    "smpp": 2775,
    "postgres": 15432,
    "kafka": 19092,
    "kafka-controller": 19093,
}
PAGES = ("console", "intake", "backoffice", "notifier", "mailbox", "sms")
SERVICES = ("intake", "router", "backoffice", "notifier", "console")
# Who sends is a process of its own: many may run.
PROCESSES = (*SERVICES, "dispatcher")
_PARTS: Mapping[str, tuple[str, ...]] = {
    "notifier": ("web", "worker", "receipts", "relay"),
    "dispatcher": ("dispatcher",),
}


def usual_ports(brokers: int) -> dict[str, int]:
    """PORTS; of several brokers each has a pair of its own, from the one's on."""
    if brokers == 1:
        return dict(PORTS)
    found = {name: port for name, port in PORTS.items() if not name.startswith("kafka")}
    for at in range(brokers):
        found[f"kafka-{at + 1}"] = PORTS["kafka"] + 2 * at
        found[f"kafka-{at + 1}-controller"] = PORTS["kafka-controller"] + 2 * at
    return found


def broker_names(ports: Mapping[str, int]) -> list[str]:
    """kafka-1, kafka-2, ... where the ports have them, else kafka, which is alone."""
    return [name for name in ports if re.fullmatch(r"kafka-\d+", name)] or ["kafka"]


def kafka(ports: Mapping[str, int]) -> str:
    """All brokers as clients are told: host:port, separated by commas."""
    return ",".join(f"127.0.0.1:{ports[name]}" for name in broker_names(ports))


def urls(ports: Mapping[str, int]) -> dict[str, str]:
    return {name: f"http://127.0.0.1:{ports[name]}" for name in PAGES}


def health(ports: Mapping[str, int]) -> dict[str, str]:
    """Where each process says whether it is ready."""
    return {
        name: f"http://127.0.0.1:{ports[name]}/health" for name in (*PROCESSES, "mailbox", "sms")
    }


def programs(
    ports: Mapping[str, int], secrets: Secrets, database: Server, folder: Path
) -> Iterator[Program]:
    """The services and their counterparts: all but Kafka, PostgreSQL and the traffic."""
    specific: dict[str, dict[str, str]] = {
        "intake": {
            "MASTER_KEY": secrets.master_key,
            "CITIZEN_SECRET": secrets.citizen,
            "COUNTER_SECRET": secrets.counter,
            "PORTAL_URL": urls(ports)["intake"],
        },
        "router": {},
        "backoffice": {"MASTER_KEY": secrets.master_key, "CLERK_SECRET": secrets.clerk},
        "notifier": _notifier(ports, secrets),
        "console": {"LINKS": json.dumps(_links(ports))},
    }
    for name in PROCESSES:
        service = "notifier" if name == "dispatcher" else name
        settings = {
            "KAFKA": kafka(ports),
            "KAFKA_SECURITY": "SASL_PLAINTEXT",
            "KAFKA_USERNAME": service,
            "KAFKA_PASSWORD": secrets.kafka[service],
            "PORT": str(ports[name]),
            **specific[service],
        }
        if service in secrets.postgres:
            settings["POSTGRES"] = database.uri(service, secrets.postgres[service])
        yield _program(name, settings, service, _PARTS.get(name, ()))
    yield _program(
        "mailbox",
        {
            "PORT": str(ports["mailbox"]),
            "DATA_DIR": str(folder / "mailbox"),
            "SMTP_PORT": str(ports["smtp"]),
            "BOUNCES": f"127.0.0.1:{ports['bounces']}",
        },
    )
    yield _program(
        "sms",
        {
            "PORT": str(ports["sms"]),
            "DATA_DIR": str(folder / "sms"),
            "SMPP_PORT": str(ports["smpp"]),
            "SMPP_SYSTEM_ID": "casebus",
            "SMPP_PASSWORD": secrets.smpp,
            "GATEWAY_TOKEN": secrets.gateway,
        },
    )


def _notifier(ports: Mapping[str, int], secrets: Secrets) -> dict[str, str]:
    """Two providers of text messages, and bounces. No quiet hours: messages come at once."""
    own = urls(ports)["notifier"]
    smpp = f"smpp://casebus:{secrets.smpp}@127.0.0.1:{ports['smpp']}"
    gateway = f"http://:{secrets.gateway}@127.0.0.1:{ports['sms']}/gateway"
    return {
        "MASTER_KEY": secrets.master_key,
        "SMS_PROVIDERS": json.dumps(
            [
                {"name": "smpp", "url": smpp, "weight": 3, "price_twd": "0.75"},
                {"name": "gateway", "url": gateway, "weight": 1, "price_twd": "0.85"},
            ]
        ),
        "MAIL_PROVIDERS": json.dumps(
            [{"name": "relay", "url": f"smtp://127.0.0.1:{ports['smtp']}"}]
        ),
        "TRACK_URL": urls(ports)["intake"],
        "PUBLIC_URL": own,
        "RECEIPTS_URL": f"{own}/receipts",
        "BOUNCE_DOMAIN": "bounces.casebus.example",
        "BOUNCE_PORT": str(ports["bounces"]),
        "QUIET_HOURS": "none",
    }


def traffic(rate: float, folder: Path) -> Program:
    """Sample applications and clerks who work on them, for as long as the city runs."""
    command = [*_casebus(), "traffic", "--forever", "--clerks", "--rate", str(rate)]
    return Program("traffic", command, _environment() | {"CASEBUS_DATA": str(folder)})


def _program(
    name: str, settings: Mapping[str, str], service: str = "", parts: Sequence[str] = ()
) -> Program:
    environment = {f"CASEBUS_{key}": value for key, value in settings.items()}
    only = [word for part in parts for word in ("--only", part)]
    command = [*_casebus(), "run", service or name, *only]
    return Program(name, command, _environment() | environment)


def _casebus() -> list[str]:
    return [sys.executable, "-m", "casebus"]


def _environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "TZ", "CASEBUS_LOG_LEVEL", "CASEBUS_CITY")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _links(ports: Mapping[str, int]) -> dict[str, str]:
    pages = urls(ports)
    return {
        "portal": pages["intake"],
        "intake API": f"{pages['intake']}/api/applications",
        "back office API": f"{pages['backoffice']}/api/inbox",
        "mailbox": pages["mailbox"],
        "SMS": pages["sms"],
        "console": pages["console"],
        "metrics": f"{pages['console']}/metrics",
        "Kafka": kafka(ports),
        "PostgreSQL": f"127.0.0.1:{ports['postgres']}",
    }
