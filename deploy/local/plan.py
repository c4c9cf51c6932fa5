"""What runs on one machine: every program with its own settings and no others'. Pure."""

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
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
    "smtp": 2525,
    "smpp": 2775,
    "postgres": 15432,
    "kafka": 19092,
    "kafka-controller": 19093,
}
PAGES = ("console", "intake", "backoffice", "mailbox", "sms")
SERVICES = ("intake", "router", "backoffice", "notifier", "console")


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
        name: f"http://127.0.0.1:{ports[name]}/health" for name in (*SERVICES, "mailbox", "sms")
    }


def programs(
    ports: Mapping[str, int], secrets: Secrets, database: Server, folder: Path
) -> Iterator[Program]:
    """The services and their counterparts: all but Kafka, PostgreSQL and the traffic."""
    specific: dict[str, dict[str, str]] = {
        "intake": {"MASTER_KEY": secrets.master_key, "CITIZEN_SECRET": secrets.citizen},
        "router": {},
        "backoffice": {"MASTER_KEY": secrets.master_key, "CLERK_SECRET": secrets.clerk},
        "notifier": {
            "MASTER_KEY": secrets.master_key,
            "SMTP": f"127.0.0.1:{ports['smtp']}",
            "SMPP": f"127.0.0.1:{ports['smpp']}",
            "SMPP_PASSWORD": secrets.smpp,
            "TRACK_URL": urls(ports)["intake"],
        },
        "console": {"LINKS": json.dumps(_links(ports))},
    }
    for name in SERVICES:
        settings = {
            "KAFKA": kafka(ports),
            "KAFKA_SECURITY": "SASL_PLAINTEXT",
            "KAFKA_USERNAME": name,
            "KAFKA_PASSWORD": secrets.kafka[name],
            "PORT": str(ports[name]),
            **specific[name],
        }
        if name in secrets.postgres:
            settings["POSTGRES"] = database.uri(name, secrets.postgres[name])
        yield _program(name, settings)
    yield _program(
        "mailbox",
        {
            "PORT": str(ports["mailbox"]),
            "DATA_DIR": str(folder / "mailbox"),
            "SMTP_PORT": str(ports["smtp"]),
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
        },
    )


def traffic(rate: float, folder: Path) -> Program:
    """Sample applications and clerks who work on them, for as long as the city runs."""
    command = [*_casebus(), "traffic", "--forever", "--clerks", "--rate", str(rate)]
    return Program("traffic", command, _environment() | {"CASEBUS_DATA": str(folder)})


def _program(name: str, settings: Mapping[str, str]) -> Program:
    environment = {f"CASEBUS_{key}": value for key, value in settings.items()}
    return Program(name, [*_casebus(), "run", name], _environment() | environment)


def _casebus() -> list[str]:
    return [sys.executable, "-m", "casebus"]


def _environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG", "TZ", "CASEBUS_LOG_LEVEL")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _links(ports: Mapping[str, int]) -> dict[str, str]:
    pages = urls(ports)
    return {
        "intake API": f"{pages['intake']}/api/applications",
        "back office API": f"{pages['backoffice']}/api/inbox",
        "mailbox": pages["mailbox"],
        "SMS": pages["sms"],
        "console": pages["console"],
        "metrics": f"{pages['console']}/metrics",
        "Kafka": kafka(ports),
        "PostgreSQL": f"127.0.0.1:{ports['postgres']}",
    }
