"""Kafka's brokers of a data folder: one, or three of which any one may fail."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.local import plan
from deploy.local.kafka import Broker, new_cluster_id
from deploy.local.state import write_json


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
    controllers = {node: ports[f"{name}-controller"] for node, name in enumerate(names, start=1)}
    return {
        name: Broker(
            folder / name,
            jars,
            ports[name],
            ports[f"{name}-controller"],
            admin_password,
            cluster.cluster_id,
            node,
            controllers,
        )
        for node, name in enumerate(names, start=1)
    }
