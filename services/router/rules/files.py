"""A file as text, or what it is when it is not that: spreadsheets save many things as CSV."""

import csv
import io
import stat
from pathlib import Path

from services.router.rules.errors import Problem

# Some 200,000 rows have half of it.
MOST_BYTES = 100_000_000
# YAML is slow to read: some 300 kB a second.
MOST_YAML_BYTES = 200_000
_SHEET = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_FOREIGN = {"cp950": "Big5", "gb18030": "GBK", "shift_jis": "Shift JIS"}


class _NoTextError(ValueError):
    """Why a file is no text: the error's code, and the row from which on."""

    def __init__(self, code: str, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.row = row


def read_text(path: Path, problems: list[Problem]) -> str | None:
    """The file as text, without a byte order mark; None, and a problem, when it is none."""
    try:
        return _text(path)
    except _NoTextError as error:
        problems.append(Problem(error.code, path.name, error.row, None, "", str(error)))
    except FileNotFoundError:
        problems.append(Problem("T001", path.name, None, None, "", "the file is missing"))
    except OSError as error:
        detail = f"cannot be read: {error.strerror}"
        problems.append(Problem("T001", path.name, None, None, "", detail))
    return None


def _text(path: Path) -> str:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _NoTextError("T001", "cannot be read: it is no file")
    most = MOST_BYTES if path.suffix == ".csv" else MOST_YAML_BYTES
    if status.st_size > most:
        raise _NoTextError("T012", f"larger than {most // 1000} kB")
    data = path.read_bytes()
    if data.startswith(_SHEET):
        detail = f"a spreadsheet with the ending {path.suffix}: save it as CSV UTF-8"
        raise _NoTextError("T003", detail)
    if data.startswith(_UTF_16) or b"\x00" in data:
        raise _NoTextError("T002", "is not UTF-8; it looks like UTF-16: save it as CSV UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        row = _row(before) if path.suffix == ".csv" else before.count("\n") + 1
        detail = f"is not UTF-8 from here on{_looks_like(data)}: save it as CSV UTF-8"
        raise _NoTextError("T002", detail, row) from None
    if not text.strip():
        raise _NoTextError("T001", "the file is empty: fill it, or take it away")
    return text


def _looks_like(data: bytes) -> str:
    titles = []
    for name, title in _FOREIGN.items():
        try:
            data.decode(name)
        except UnicodeDecodeError:
            continue
        titles.append(title)
    return f"; it looks like {' or '.join(titles[:2])}" if titles else ""


def _row(before: str) -> int | None:
    """The row, as a spreadsheet counts, in which the text goes on."""
    try:
        return sum(1 for _ in csv.reader(io.StringIO(before + "x", newline="")))
    except csv.Error:
        return None
