"""What the launcher writes down for the other commands: its secrets, and what runs where."""

import base64
import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from deploy.access import SERVICE_USERS
from shared.runtime.migrations import ROLES


def data_folder() -> Path:
    """CASEBUS_DATA, or the nearest .casebus from here upwards, or a new one here."""
    if given := os.environ.get("CASEBUS_DATA"):
        return Path(given).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".casebus").is_dir():
            return folder / ".casebus"
    return here / ".casebus"


@dataclass(slots=True)
class Running:
    """What runs: the launcher's own process id, those of its children, and every address.

    `urls` are the pages, `health` where each process says whether it is ready.
    """

    pid: int
    kafka: str
    postgres_port: int
    urls: dict[str, str]
    health: dict[str, str]
    pids: dict[str, int] = field(default_factory=dict)


def write_running(folder: Path, running: Running) -> None:
    write_json(folder / "running.json", asdict(running))


def read_running(folder: Path) -> Running | None:
    """What runs from this folder, or None when nothing does (the lock tells, not the file)."""
    try:
        with (folder / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        try:
            return Running(**json.loads((folder / "running.json").read_text()))
        except FileNotFoundError:
            return None
    return None


class AlreadyRunningError(Exception):
    """Another launcher holds this folder."""


def hold(folder: Path) -> IO[str]:
    """Take the folder for this process until it ends. Raises AlreadyRunningError."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "running.json").touch(mode=0o600)
    lock = (folder / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise AlreadyRunningError(str(folder)) from None
    (folder / "running.json").unlink()
    return lock


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """Made once for a data folder, at random; readable by its owner only; never printed.

    `kafka` by user, `postgres` by role; `agencies` is what agencies' passwords derive from.
    """

    master_key: str
    citizen: str
    clerk: str
    counter: str
    agencies: str
    smpp: str
    gateway: str
    kafka: dict[str, str]
    postgres: dict[str, str]

    @classmethod
    def of(cls, folder: Path) -> "Secrets":
        """Those of this folder; new ones for what it lacks."""
        path = folder / "secrets.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        made = {
            "master_key": base64.b64encode(os.urandom(32)).decode(),
            "citizen": secrets.token_urlsafe(32),
            "clerk": secrets.token_urlsafe(32),
            "counter": secrets.token_urlsafe(32),
            "agencies": secrets.token_urlsafe(32),
            "smpp": secrets.token_hex(4),  # SMPP takes eight characters
            "gateway": secrets.token_urlsafe(24),
            "kafka": {user: secrets.token_urlsafe(24) for user in ("admin", *SERVICE_USERS)},
            "postgres": {role: secrets.token_urlsafe(24) for role in ("postgres", *ROLES)},
        }
        found = cls(**made | known)
        # A folder of an earlier version lacks some.
        if made.keys() - known.keys():
            write_json(path, asdict(found))
        return found


def write_json(path: Path, content: dict[str, Any]) -> None:
    """The whole file or none of it, readable by its owner only."""
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(content, indent=2))
    fresh.replace(path)
