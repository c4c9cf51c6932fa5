"""PostgreSQL, in small: transactions that read what is committed, locks, the outbox's order.

- a transaction gets its number (xid) when it first writes or locks, a row of the outbox its seq
  when it is inserted; a seq is not given back when the transaction rolls back;
- they commit in any order; until then nobody else sees what they wrote;
- `xmin` is the oldest number that is still running: all below have ended;
- a lock is kept until the end; who waits for one tries again at each step;
- the end of a session (its process died, the server restarted) rolls back.

Not modelled: other isolation levels, deadlocks (no two of our transactions can have one), the
wrap-around of numbers (xid8 has none), copies that are restored.
"""

from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType
from typing import Any


class Lost(Exception):  # noqa: N818 - as asyncpg's ConnectionLost
    """The session was ended by the server."""


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """Of the outbox, in the relay's order."""

    xid: int
    seq: int
    case: int
    event: int


class Postgres:
    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, Any]] = defaultdict(dict)
        self.running: list[Transaction] = []
        self._xid = self._seq = 0
        # How often something became visible.
        self.changes = 0

    def begin(self) -> "Transaction":
        transaction = Transaction(self)
        self.running.append(transaction)
        return transaction

    def new_xid(self) -> int:
        self._xid += 1
        return self._xid

    def new_seq(self) -> int:
        self._seq += 1
        return self._seq

    @property
    def xmin(self) -> int:
        """Of a snapshot that is taken now."""
        return min([t.xid for t in self.running if t.xid is not None], default=self._xid + 1)

    def restart(self) -> None:
        """The server ends every session."""
        for transaction in list(self.running):
            transaction.end()
            transaction.lost = True


class Transaction:
    """Rolls back when its block is left before the commit. Every method may raise Lost."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._writes: dict[tuple[str, Any], Any] = {}
        # And whether it is shared.
        self._locks: dict[Any, bool] = {}
        self.xid: int | None = None
        self.lost = False

    def number(self) -> int:
        """pg_current_xact_id()"""
        self._alive()
        if self.xid is None:
            self.xid = self._postgres.new_xid()
        return self.xid

    def rows(self, table: str) -> dict[Any, Any]:
        self._alive()
        own = {key: value for (name, key), value in self._writes.items() if name == table}
        both = self._postgres.tables[table] | own
        return {key: value for key, value in both.items() if value is not None}

    def put(self, table: str, key: Any, value: Any) -> None:
        """Insert or update; None deletes."""
        self.number()
        self._writes[table, key] = value

    def append(self, case: int, event: int) -> Row:
        """To the outbox."""
        row = Row(self.number(), self._postgres.new_seq(), case, event)
        self.put("outbox", row.seq, row)
        return row

    def insert(self, table: str, value: Any) -> None:
        """With the next seq as its key."""
        self.put(table, self._postgres.new_seq(), value)

    def lock(self, what: Any, *, shared: bool = False) -> bool:
        """False while somebody else has it; then ask again later."""
        self.number()
        for other in self._postgres.running:
            theirs_is_shared = other._locks.get(what)
            if other is self or theirs_is_shared is None or (shared and theirs_is_shared):
                continue
            return False
        self._locks[what] = shared and self._locks.get(what, True)
        return True

    def commit(self) -> None:
        self._alive()
        self._postgres.changes += 1
        for (table, key), value in self._writes.items():
            if value is None:
                self._postgres.tables[table].pop(key, None)
            else:
                self._postgres.tables[table][key] = value
        self.end()

    def end(self) -> None:
        """Roll back, unless it has ended."""
        if self in self._postgres.running:
            self._postgres.running.remove(self)

    def _alive(self) -> None:
        if self.lost:
            raise Lost

    def __enter__(self) -> "Transaction":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
