"""On what it was measured: without this no figure means anything."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from deploy.local.jars import KAFKA_VERSION
from deploy.local.postgres import Server


def describe(database: Server) -> list[tuple[str, str]]:
    """What and how much, line by line."""
    said = subprocess.run(
        [database.command()[0], "--version"], capture_output=True, text=True, check=True
    )
    libraries = ("aiokafka", "asyncpg", "pydantic", "uvicorn", "uvloop")
    return [
        ("processor", f"{processor()}, {len(os.sched_getaffinity(0))} cores"),
        ("memory", f"{memory_bytes() / 2**30:.0f} GiB"),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("Python", platform.python_version()),
        ("Kafka", f"{KAFKA_VERSION}; one broker, not replicated, where nothing else is said"),
        ("PostgreSQL", said.stdout.split()[-1]),
        ("libraries", ", ".join(f"{name} {version(name)}" for name in libraries)),
    ]


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown processor"


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
