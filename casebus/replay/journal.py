"""How far a replay is, kept beside its CSV, so that an interrupted one goes on where it was."""

import codecs
import csv
import fcntl
import json
import os
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import IO, Any

from casebus.replay.counting import Move
from casebus.replay.totals import Totals
from casebus.replay.way import Stretch, Way

_FORMAT = 1
COLUMNS = tuple(one.name for one in fields(Move))


class BusyError(Exception):
    """Another replay writes the same CSV, or without one the same state."""


class ForeignTableError(Exception):
    """Where the CSV is to be written lies another file, which is not overwritten."""


class Journal:
    """The CSV of the moves and, until the end, the state beside it.

    `key` says which replay it is (rule set, version, since). The state holds the counts, the
    ends of the topics as they were at the start, and the CSV's length in bytes, so that what
    was written after it is taken back. A lock beside the state keeps others away from both.
    OSError passes through.
    """

    def __init__(self, table: Path | None, state: Path, key: dict[str, str]) -> None:
        self._path = table
        self._state = state
        self._key = key
        self._table: IO[str] | None = None
        self._guard = state.with_name(state.name + ".lock")
        self._lock: IO[bytes] | None = None

    def claim(self) -> None:
        """Nobody else writes from here to `close`. Raises BusyError or ForeignTableError."""
        while self._lock is None:
            file = self._guard.open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise BusyError(str(self._path or self._state)) from None
            # Who had it may have taken it away in between; then it keeps nobody off.
            if _lies_at(self._guard, file):
                self._lock = file
            else:
                file.close()
        if self._path is not None and self._table is None and not _is_ours(self._path):
            raise ForeignTableError(str(self._path))

    def resumed(self, cluster: str) -> tuple[Way, Totals] | None:
        """Where an interrupted replay of the same history was; None when there is none."""
        self.claim()
        said = self._read()
        if said is None or said["way"]["cluster"] != cluster:
            return None
        if self._path is not None:
            self._open("r+", said["csv_bytes"])
        pairs = [(Stretch(**c), Stretch(**a)) for c, a in said["way"]["pairs"]]
        return Way(cluster, pairs), Totals.from_json(said["totals"])

    def begin(self) -> None:
        """An empty CSV with its head; what an earlier replay left counts no longer."""
        self.claim()
        self._state.unlink(missing_ok=True)
        if self._path is not None:
            self._open("a+", 0)
            csv.writer(self._file).writerow(COLUMNS)

    def write(self, move: Move) -> None:
        if self._path is not None:
            csv.writer(self._file).writerow(astuple(move))

    def save(self, way: Way, totals: Totals) -> None:
        """Whole or not at all, whatever ends the process."""
        said = {
            "format": _FORMAT,
            "key": self._key,
            "way": asdict(way),
            "totals": totals.to_json(),
            "csv_bytes": self._length(),
        }
        fresh = self._state.with_name(self._state.name + ".new")
        fresh.write_text(json.dumps(said, ensure_ascii=False), "utf-8")
        fresh.replace(self._state)

    def finish(self) -> None:
        """The CSV is complete, and no state is left."""
        self._close_table()
        self._state.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        self._close_table()
        if self._lock is not None:
            self._guard.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _close_table(self) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None

    @property
    def _file(self) -> IO[str]:
        assert self._table is not None
        return self._table

    def _open(self, mode: str, length: int) -> None:
        assert self._path is not None
        self._table = self._path.open(mode, encoding="utf-8", newline="")
        self._table.truncate(length)
        self._table.seek(0, os.SEEK_END)

    def _length(self) -> int:
        if self._path is None:
            return 0
        self._file.flush()
        return os.fstat(self._file.fileno()).st_size

    def _read(self) -> dict[str, Any] | None:
        """The state, if it is of this replay and the CSV still holds what it says."""
        try:
            said: dict[str, Any] = json.loads(self._state.read_text("utf-8"))
            fits = (said["format"], said["key"]) == (_FORMAT, self._key)
            length = self._path.stat().st_size if self._path else 0
            return said if fits and length >= said["csv_bytes"] else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def _lies_at(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _is_ours(table: Path) -> bool:
    """Whether it begins as a replay's CSV; also a new one, and one that was cut off."""
    head = ",".join(COLUMNS).encode()
    try:
        with table.open("rb") as file:
            line = file.readline(2 * len(head)).removeprefix(codecs.BOM_UTF8)
    except FileNotFoundError:
        return True
    return (
        line.rstrip(b"\r\n") == head
        if line.endswith(b"\n")
        else head.startswith(line.rstrip(b"\r"))
    )
