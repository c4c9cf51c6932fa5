"""What a relay, a router, a stream and an operator's order do, step by step.

Each is a generator that stops at every `yield`: there it may be killed, frozen, or overtaken.
What stands between two `yield`s is one call to one store, or follows it at once.

| here | there |
|---|---|
| `relay` | `shared/runtime/relay.py`: `_session`, `_resume`, `_loop`, `_publish`, `_purge` |
| `router` | `services/router/engine.py`: `_own`, `_step` |
| `stream` | `shared/runtime/stream.py`: `perform_seek`, `feed`; `shared/runtime/sink.py`: `take` |
| `order` | `shared/runtime/sink.py`: `carry_out`; `shared/runtime/outbox.py`: `send_anew` |

`Protocol()` is what the code does, but for `young_writers` and `moves_alone`, which the code has
yet to learn: without them the machine finds a case's records out of order. Each switch turned off
is a mistake that somebody could make, and `test_model.py` shows that it would be found.

Not modelled: what the rules decide (a record of the router's input gives one of an agency's topic
and one of the cases'), commands of agencies' systems (refused, never parked), letters of the dead,
`casebus recover`, copies that are restored, time-outs other than the broker's.
"""

from collections.abc import Generator
from dataclasses import dataclass, field

from tests.model.kafka import Fenced, Kafka, Producer, Record
from tests.model.postgres import Lost, Postgres, Row, Transaction

Steps = Generator[None]
APPLICATIONS, AGENCY, CASES = "applications", "agency", "cases"
_BATCH = 3


@dataclass(frozen=True, slots=True)
class Protocol:
    rows_by_xid: bool = True  # and not by seq
    rows_below_xmin: bool = True  # and not all that is committed
    position_in_transaction: bool = True
    relay_starts_first: bool = True  # its producer, and then it reads the position
    router_starts_first: bool = True
    fencing: bool = True
    read_committed: bool = True
    offset_in_transaction: bool = True  # the router's
    position_with_batch: bool = True  # the stream's, in PostgreSQL, and not in Kafka before
    inbox: bool = True
    parks: bool = True  # and does not acknowledge what its handler refused
    holds: bool = True  # later events of a case behind the parked one
    replay_locks: bool = True
    purge_behind: bool = True  # and not all that the relay has read
    young_writers: bool = True  # see World.tell
    moves_alone: bool = True  # see move_rows


class BadError(Exception):
    """The handler's."""


@dataclass(slots=True)
class World:
    protocol: Protocol
    kafka: Kafka = field(default_factory=Kafka)
    postgres: Postgres = field(default_factory=Postgres)
    # Events that the handler, and that Kafka refuses, until somebody mends it.
    bad: set[int] = field(default_factory=set)
    too_large: set[int] = field(default_factory=set)
    # Of each consumer group: whom the broker gave the partition, and who believes to have it.
    owner: dict[str, str] = field(default_factory=dict)
    believers: set[str] = field(default_factory=set)
    orders: list[tuple[str, str, int]] = field(default_factory=list)
    started: int = 0

    def producer(self, name: str) -> Producer:
        self.started += 1
        return self.kafka.producer(name if self.protocol.fencing else f"{name}-{self.started}")

    def tell(self, transaction: Transaction, case: int, event: int) -> bool:
        """A service tells of a case, which it has locked. False: it must begin again, later.

        The relay goes by the transactions' numbers. So who changes a case must be younger than
        who changed it before; a batch has its number long before it locks its last case.
        """
        last = self.postgres.tables["last told"].get(case, 0)
        if self.protocol.young_writers and transaction.number() < last:
            return False
        transaction.put("last told", case, transaction.number())
        transaction.append(case, event)
        return True


def place(world: World, row: Row) -> tuple[int, int]:
    return (row.xid if world.protocol.rows_by_xid else 0, row.seq)


def _select(world: World, after: tuple[int, int]) -> list[Row]:
    """The relay's SELECT: one statement, so one snapshot."""
    rows = sorted(world.postgres.tables["outbox"].values(), key=lambda row: place(world, row))
    refused = world.postgres.tables["refused"]
    held = {row.case: place(world, row) for row in reversed(rows) if row.seq in refused}
    sees_all = not (world.protocol.rows_by_xid and world.protocol.rows_below_xmin)
    return [
        row
        for row in rows
        if place(world, row) > after
        and (sees_all or row.xid < world.postgres.xmin)
        and (row.case not in held or place(world, row) < held[row.case])
    ][:_BATCH]


def relay(world: World, _: str) -> Steps:
    kafka = world.kafka
    while True:
        try:
            position = kafka.committed("relay", "positions") or (0, 0)
            yield
            producer = world.producer("relay")
            yield
            if world.protocol.relay_starts_first:
                position = kafka.committed("relay", "positions") or (0, 0)
                yield
            while True:
                rows = _select(world, position)
                yield
                if rows:
                    position = yield from _publish(world, producer, rows)
        except Fenced:
            yield  # tries again for ever, with a new producer


def _publish(
    world: World, producer: Producer, rows: list[Row]
) -> Generator[None, None, tuple[int, int]]:
    after = place(world, rows[-1])
    for row in rows:
        if row.event in world.too_large:
            producer.abort()
            world.postgres.tables["refused"][row.seq] = True
            return place(world, rows[0])[0], rows[0].seq - 1
        producer.send(APPLICATIONS, row.case, row.event)
        yield
    if world.protocol.position_in_transaction:
        producer.send_offset("relay", "positions", after)
        yield
    producer.commit()
    yield
    if not world.protocol.position_in_transaction:
        world.kafka.commit_offset("relay", "positions", after)
        yield
    return after


def purge(world: World, _: str) -> Steps:
    """Beside the relay; here every row is old enough. The row at the position stays."""
    while True:
        upto = world.kafka.committed("relay", "positions") or (0, 0)
        yield
        outbox, refused = world.postgres.tables["outbox"], world.postgres.tables["refused"]
        kept = {row.case for row in outbox.values() if row.seq in refused}
        for row in list(outbox.values()):
            behind = place(world, row) < upto or not world.protocol.purge_behind
            if behind and row.case not in kept:
                del outbox[row.seq]
        yield


def router(world: World, name: str) -> Steps:
    kafka = world.kafka
    while True:
        yield
        try:
            if name not in world.believers:
                continue
            offset = kafka.committed("router", APPLICATIONS) or 0
            yield
            producer = world.producer("router-applications-0")
            yield
            if world.protocol.router_starts_first:
                offset = kafka.committed("router", APPLICATIONS) or 0
                yield
            while True:
                records = kafka.read(
                    APPLICATIONS, offset, _BATCH, committed=world.protocol.read_committed
                )
                yield
                if not records:
                    continue
                for record in records:
                    producer.send(AGENCY, record.case, record.event)
                    yield
                    producer.send(CASES, record.case, record.event)
                    yield
                offset = records[-1].offset + 1
                if world.protocol.offset_in_transaction:
                    producer.send_offset("router", APPLICATIONS, offset)
                    yield
                producer.commit()
                yield
                if not world.protocol.offset_in_transaction:
                    kafka.commit_offset("router", APPLICATIONS, offset)
                    yield
        except Fenced:
            pass  # a new producer, as long as it believes to own the partition


def stream(world: World, name: str) -> Steps:
    kafka, tables = world.kafka, world.postgres.tables
    while True:
        yield
        if name not in world.believers:
            continue
        if world.protocol.position_with_batch:
            offset = tables["consumed"].get(AGENCY, 0)
        else:
            offset = kafka.committed("stream", AGENCY) or 0
        yield
        while True:
            records = kafka.read(AGENCY, offset, _BATCH, committed=world.protocol.read_committed)
            yield
            if not records:
                continue
            offset = records[-1].offset + 1
            if not world.protocol.position_with_batch:
                kafka.commit_offset("stream", AGENCY, offset)
                yield
            yield from _take(world, records)


def _take(world: World, records: list[Record]) -> Steps:
    while True:
        try:
            try:
                yield from _handle(world, records)
            except BadError:
                for record in records:
                    yield from _take_alone(world, record)
            return
        except Lost:
            yield  # the same batch again, in place


def _take_alone(world: World, record: Record) -> Steps:
    try:
        yield from _handle(world, [record])
    except BadError:
        yield
        with world.postgres.begin() as transaction:
            yield from _lock(transaction, "consumed")
            transaction.put("consumed", AGENCY, record.offset + 1)
            if world.protocol.parks:
                _park(transaction, record, waits=False)
            yield
            transaction.commit()
    yield


def _lock(transaction: Transaction, what: object, *, shared: bool = False) -> Steps:
    while not transaction.lock(what, shared=shared):
        yield


def _handle(world: World, records: list[Record]) -> Steps:
    with world.postgres.begin() as transaction:
        yield from _lock(transaction, "consumed")
        transaction.put("consumed", AGENCY, records[-1].offset + 1)
        yield
        waiting = yield from _waiting(world, transaction, {record.case for record in records})
        yield
        for record in records:
            yield from _lock(transaction, ("inbox", record.event))
            known = record.event in transaction.rows("inbox")
            if record.case in waiting:
                if not known:
                    _park(transaction, record, waits=True)
            elif not known or not world.protocol.inbox:
                _handler(world, transaction, record)
                yield
        transaction.commit()
    yield


def _waiting(
    world: World, transaction: Transaction, cases: set[int]
) -> Generator[None, None, set[int]]:
    """The cases with a parked event, FOR SHARE: rows of one snapshot, looked at again when they
    could be locked."""
    if not world.protocol.holds:
        return set()
    found = {
        seq: parked.case
        for seq, (parked, _) in sorted(transaction.rows("parked").items())
        if parked.case in cases
    }
    for seq in found if world.protocol.replay_locks else ():
        yield from _lock(transaction, ("parked", seq), shared=True)
    left = transaction.rows("parked") if world.protocol.replay_locks else found
    return {case for seq, case in found.items() if seq in left}


def _park(transaction: Transaction, record: Record, *, waits: bool) -> None:
    if all(parked.offset != record.offset for parked, _ in transaction.rows("parked").values()):
        transaction.insert("parked", (record, waits))


def _handler(world: World, transaction: Transaction, record: Record) -> None:
    transaction.put("inbox", record.event, True)
    if record.event in world.bad:
        raise BadError
    transaction.insert("handled", (record.case, record.event))


def operator(world: World, _: str) -> Steps:
    """Carries out orders; one that was interrupted is carried out again."""
    while True:
        yield
        if not world.orders:
            continue
        kind, action, target = world.orders[0]
        try:
            if kind == "row":
                yield from move_rows(world, target, drop=action == "drop")
            else:
                yield from _replay(world, target, drop=action == "drop")
        except Lost:
            continue
        world.orders.remove((kind, action, target))


def _replay(world: World, case: int, *, drop: bool) -> Steps:
    """The case's parked events from the first on, each in a transaction, until one fails again."""
    while True:
        with world.postgres.begin() as transaction:
            seqs = sorted(s for s, (r, _) in transaction.rows("parked").items() if r.case == case)
            for seq in seqs if world.protocol.replay_locks else ():
                yield from _lock(transaction, ("parked", seq))
            parked = transaction.rows("parked")
            left = [seq for seq in seqs if seq in parked]
            if not left:
                return
            record = parked[left[0]][0]
            yield
            try:
                yield from _lock(transaction, ("inbox", record.event))
                if drop:
                    transaction.put("inbox", record.event, True)
                    transaction.put("dropped", record.event, True)
                elif record.event not in transaction.rows("inbox"):
                    _handler(world, transaction, record)
                yield
                transaction.put("parked", left[0], None)
                transaction.commit()
                drop = False
                yield
            except BadError:
                transaction.end()
                yield
                if left[0] in world.postgres.tables["parked"]:
                    world.postgres.tables["parked"][left[0]] = (record, False)
                return


def move_rows(world: World, seq: int, *, drop: bool) -> Steps:
    """A refused row and the later ones of its case to the outbox's end; the table is locked."""
    while True:
        with world.postgres.begin() as transaction:
            transaction.number()
            yield from _lock(transaction, "outbox")
            yield
            # Who began before this one may tell of the case after it, and would come out before.
            if world.protocol.moves_alone and transaction.number() != world.postgres.xmin:
                continue
            if seq in transaction.rows("refused"):
                rows = sorted(transaction.rows("outbox").values())
                (first,) = [row for row in rows if row.seq == seq]
                for row in rows:
                    if row.case == first.case and row >= first:
                        transaction.put("outbox", row.seq, None)
                        if row.seq != seq or not drop:
                            transaction.append(row.case, row.event)
                        else:
                            transaction.put("rows dropped", row.event, True)
                transaction.put("refused", seq, None)
            transaction.commit()
            return
