"""Kafka's brokers of a data folder: one, or three of which any one may fail."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from aiokafka.errors import KafkaError
from kafka.errors import KafkaError as AdminKafkaError

from deploy import topics
from deploy.local import plan
from deploy.local.kafka import Broker, new_cluster_id
from deploy.local.state import write_json
from shared.runtime import kafka
from shared.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Cluster:
    """Made once for a data folder. `cluster_id` is kept outside the brokers' own folders: one
    that was emptied is formatted anew as the same cluster's, else the others refuse it."""

    cluster_id: str
    brokers: int

    @classmethod
    def of(cls, folder: Path, brokers: int) -> "Cluster":
        """That of this folder; a new one of so many brokers when it has none."""
        path = folder / "kafka.json"
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            # Data from before this file was written are one broker's.
            made = cls(new_cluster_id(), 1 if (folder / "kafka").exists() else brokers)
            write_json(path, asdict(made))
            return made


def brokers(
    cluster: Cluster,
    folder: Path,
    ports: Mapping[str, int],
    jars: tuple[Path, ...],
    admin_password: str,
) -> dict[str, Broker]:
    """The brokers by the names of their programs, which are those of their folders too."""
    names = plan.broker_names(ports)
    quorum = {node: ports[f"{name}-controller"] for node, name in enumerate(names, start=1)}
    return {
        name: Broker(
            folder / name,
            jars,
            ports[name],
            ports[f"{name}-controller"],
            admin_password,
            cluster.cluster_id,
            node,
            quorum if len(names) > 1 else {},
        )
        for node, name in enumerate(names, start=1)
    }


async def kafka_answers(settings: Settings, timeout_s: float, brokers: int = 1) -> None:
    """Until Kafka lets this user in and so many brokers are up. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while True:
            admin = kafka.admin(settings)
            try:
                await admin.start()
                if len((await admin.describe_cluster())["brokers"]) >= brokers:
                    return
            except KafkaError:
                pass
            finally:
                await admin.close()
            await asyncio.sleep(0.2)


def preparing(
    broker: Broker, admin: Settings, furnish: Callable[[], None], told: Callable[[str], None]
) -> Callable[[], None]:
    """What is done before each start of a broker. One of three whose folder was emptied has all
    from the others; one that is alone gets users and topics again, else nobody could sign in to
    find that his position is lost."""
    loop = asyncio.get_running_loop()

    async def furnish_again() -> None:
        try:
            await kafka_answers(admin, 60)
            await asyncio.to_thread(furnish)
        except (TimeoutError, topics.ApplyError, AdminKafkaError) as error:
            told(f"Kafka's users and topics could not be made again: {error!r}")
        else:
            told("Kafka's folder was empty: its users and topics were made again, without records")

    def prepare() -> None:
        if broker.prepare() and not broker.controllers:
            asyncio.run_coroutine_threadsafe(furnish_again(), loop)

    return prepare
