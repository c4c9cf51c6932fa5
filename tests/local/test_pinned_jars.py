"""The jars of the launcher: only those that were pinned, whatever lies in the repository."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jgo.maven._core
import pytest

from deploy.local import jars

_WHERE = Path("org/example/thing/1.0/thing-1.0.jar")
_RIGHT = b"what was pinned"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Who asked for what is of no interest here."""


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Maven repository over HTTP, the only one that is asked; its one jar is pinned."""
    folder = tmp_path / "remote"
    (folder / _WHERE).parent.mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(jgo.maven._core, "DEFAULT_REMOTE_REPOS", {"only": url})
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    pins = tmp_path / "jars.txt"
    pins.write_text(f"# pins\norg.example:thing:1.0 {hashlib.sha256(_RIGHT).hexdigest()}\n")
    monkeypatch.setattr(jars, "_PINS", pins)
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Maven keeps jars on this machine, still empty."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.setenv("M2_REPO", str(folder))
    return folder


def _put(folder: Path, content: bytes) -> Path:
    path = folder / _WHERE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_jar_is_fetched_once(remote: Path, repository: Path) -> None:
    served = _put(remote, _RIGHT)
    told: list[tuple[int, int]] = []
    found = jars.classpath(lambda done, total: told.append((done, total)))
    assert found == [repository / _WHERE]
    assert told == [(1, 1)]
    served.unlink()
    assert [path.read_bytes() for path in jars.classpath()] == [_RIGHT]


def test_a_damaged_copy_is_fetched_anew(remote: Path, repository: Path) -> None:
    _put(remote, _RIGHT)
    damaged = _put(repository, _RIGHT[:7])
    assert jars.classpath() == [damaged]
    assert damaged.read_bytes() == _RIGHT


def test_a_jar_with_another_checksum_is_refused(remote: Path, repository: Path) -> None:
    _put(remote, b"what somebody put there")
    with pytest.raises(jars.JarError, match=r"org\.example:thing:1\.0 has another checksum"):
        jars.classpath()


def test_a_damaged_copy_is_refused_when_nothing_can_be_fetched(
    remote: Path, repository: Path
) -> None:
    _put(repository, b"damaged")
    with pytest.raises(jars.JarError, match=r"org\.example:thing:1\.0 cannot be fetched"):
        jars.classpath()


def test_every_jar_of_kafka_is_pinned_by_its_sha256() -> None:
    pins = jars.pins()
    assert f"org.apache.kafka:kafka_2.13:{jars.KAFKA_VERSION}" in pins
    assert len(pins) > 30
    assert all(len(bytes.fromhex(digest)) == 32 for digest in pins.values())
