"""Where the system is that the commands speak to.

On one machine: what the launcher wrote into the data folder. On many: the environment
(CASEBUS_KAFKA, CASEBUS_POSTGRES, CASEBUS_INTAKE_URL, ...; docs/operations.md lists them).
"""

import os
import sys
from dataclasses import dataclass
from typing import NoReturn

from pydantic import SecretStr

from deploy.access import agency_password, agency_user
from deploy.local.postgres import Server
from deploy.local.state import Running, Secrets, data_folder, read_running
from shared.runtime.migrations import OPERATOR
from shared.runtime.settings import Settings, StoreSettings, load


@dataclass(frozen=True, slots=True)
class System:
    """`settings` sign in to Kafka and `postgres` to the database, both as the operator."""

    settings: Settings
    postgres: str
    urls: dict[str, str]


def running() -> System:
    """The system that runs here. Ends the command with a clear message when none does."""
    if "CASEBUS_KAFKA" in os.environ:
        urls = {
            name: os.environ.get(f"CASEBUS_{name.upper()}_URL", "")
            for name in ("intake", "backoffice", "console")
        }
        return System(load(Settings), required("CASEBUS_POSTGRES"), urls)
    found, secrets = _local()
    return System(
        _kafka(found, OPERATOR, secrets.kafka[OPERATOR]),
        _database(found, secrets).uri(OPERATOR, secrets.postgres[OPERATOR]),
        found.urls,
    )


def as_agency(code: str) -> Settings:
    """Kafka, as an agency's own system signs in to it."""
    if "CASEBUS_KAFKA" in os.environ:
        secret = required("CASEBUS_AGENCIES_SECRET")
        return load(Settings).model_copy(
            update={
                "kafka_username": agency_user(code),
                "kafka_password": SecretStr(agency_password(secret, code)),
            }
        )
    found, secrets = _local()
    return _kafka(found, agency_user(code), agency_password(secrets.agencies, code))


def clerk_secret() -> str:
    """What the tokens of clerks are signed with."""
    if "CASEBUS_KAFKA" in os.environ:
        return required("CASEBUS_CLERK_SECRET")
    return _local()[1].clerk


def counter_secret() -> str:
    """What the tokens of those are signed with who file for citizens."""
    if "CASEBUS_KAFKA" in os.environ:
        return required("CASEBUS_COUNTER_SECRET")
    return _local()[1].counter


def console_postgres() -> str:
    """The database as the console's role, which releases rules."""
    if "CASEBUS_CONSOLE_POSTGRES" in os.environ:
        return os.environ["CASEBUS_CONSOLE_POSTGRES"]
    found, secrets = _local()
    return _database(found, secrets).uri("console", secrets.postgres["console"])


def service_settings(service: str) -> Settings:
    """What a service itself signs in with: StoreSettings, the router's without a database."""
    kind = Settings if service == "router" else StoreSettings
    if "CASEBUS_KAFKA" in os.environ:
        return load(kind)
    found, secrets = _local()
    settings = _kafka(found, service, secrets.kafka[service])
    if service == "router":
        return settings
    uri = _database(found, secrets).uri(service, secrets.postgres[service])
    return StoreSettings(**settings.model_dump(), postgres=SecretStr(uri))


def _local() -> tuple[Running, Secrets]:
    folder = data_folder()
    found = read_running(folder)
    if found is None:
        end(
            f"nothing runs from {folder}; start it with `casebus up`, "
            "or go to the folder where it was started"
        )
    return found, Secrets.of(folder)


def _database(found: Running, secrets: Secrets) -> Server:
    return Server(data_folder() / "postgres", found.postgres_port, secrets.postgres["postgres"])


def _kafka(found: Running, user: str, password: str) -> Settings:
    return Settings(
        kafka=found.kafka,
        kafka_security="SASL_PLAINTEXT",
        kafka_username=user,
        kafka_password=SecretStr(password),
    )


def required(name: str) -> str:
    """A variable of the environment; the command ends with a clear message when it is not set."""
    if name not in os.environ:
        end(f"{name} is not set; docs/operations.md says what it is")
    return os.environ[name]


def end(message: str) -> NoReturn:
    """The command cannot go on: one sentence, status 2."""
    print(f"casebus: {message}", file=sys.stderr)
    raise SystemExit(2)
