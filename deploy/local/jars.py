"""Kafka's jars: pinned with their checksums in jars.txt, fetched once by jgo, checked always."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

KAFKA_VERSION = "4.3.1"
_PINS = Path(__file__).with_name("jars.txt")
# The broker itself and the binding that gives its log a place to go.
_ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
)


class JarError(Exception):
    """A jar cannot be fetched, or is not the one that was pinned."""


def pins() -> dict[str, str]:
    """SHA-256 by coordinates (group:artifact:version)."""
    lines = (line for line in _PINS.read_text().splitlines() if not line.startswith("#"))
    return dict(line.split() for line in lines)


def classpath(told: Callable[[int, int], None] = lambda done, total: None) -> list[Path]:
    """Every jar, on this machine and checked. `told(done, total)` reports progress.

    Raises JarError. Jars are kept where Maven keeps them (~/.m2, or M2_REPO).
    """
    # Only one machine has it: the image of the services has neither jars nor Java.
    from jgo.maven import MavenContext

    wanted = pins()
    maven = MavenContext(timeout=60)
    paths = []
    with ThreadPoolExecutor(8) as pool:
        for path in pool.map(lambda pin: _fetch(maven, *pin), wanted.items()):
            paths.append(path)
            told(len(paths), len(wanted))
    return paths


def _fetch(maven: Any, coordinates: str, digest: str) -> Path:
    group, name, version = coordinates.split(":")
    artifact = maven.project(group, name).at_version(version).artifact()
    for attempt in (1, 2):
        try:
            path = Path(artifact.resolve())
        except Exception as error:
            raise JarError(f"{coordinates} cannot be fetched: {error}") from error
        if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return path
        # A download that was cut off stands there half: once more from the beginning.
        if attempt == 1:
            path.unlink()
    raise JarError(f"{coordinates} has another checksum than the one in {_PINS.name}: {path}")


def _resolved() -> Iterator[str]:
    import jgo

    found = {artifact.cached_path: artifact for root in _ROOTS for artifact in jgo.resolve(root)}
    for path, artifact in found.items():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        yield f"{artifact.groupId}:{artifact.artifactId}:{artifact.version} {digest}\n"


if __name__ == "__main__":
    head = (
        f"# Apache Kafka {KAFKA_VERSION}, what it needs, and its log binding; each with its "
        "SHA-256.\n# `python -m deploy.local.jars` writes this file anew.\n"
    )
    _PINS.write_text(head + "".join(sorted(_resolved())))
