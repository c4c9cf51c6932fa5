"""Header names that are no UTF-8, which Kafka takes from anybody and aiokafka cannot read.

aiokafka's parser raises UnicodeDecodeError for the whole batch: one such record would stop every
reader of its topic for ever. Here a byte of a name that is no text becomes one character that
every text column, log and JSON can hold, and on the way back to Kafka that byte again.
"""

from collections.abc import Sequence
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.producer import message_accumulator
from aiokafka.record.default_records import (
    _DefaultRecordBatchBuilderPy,
    _DefaultRecordBatchPy,
)
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy

# In a block for private use that has no other: not the surrogates that Python has for this,
# which neither PostgreSQL nor UTF-8 takes. 0 stands for NUL, which a text column cannot hold.
_FIRST = 0x10FE00
_BYTES = (0, *range(0x80, 0x100))
_STAND_INS = {0xDC00 + byte: _FIRST + byte for byte in _BYTES if byte}
_BACK = {_FIRST + byte: 0xDC00 + byte if byte else 0 for byte in _BYTES}

Headers = Sequence[tuple[str, bytes | None]]


def text(name: bytes) -> str:
    """The header name `name`, with stand-ins for the bytes that are no UTF-8."""
    return name.decode("utf-8", "surrogateescape").translate(_STAND_INS)


def storable(name: str) -> str:
    """`name` as a text column takes it: with a stand-in for NUL."""
    return name.replace("\0", chr(_FIRST))


def original(name: str) -> bytes:
    """The bytes of a header name that `text` or `storable` gave."""
    return name.translate(_BACK).encode("utf-8", "surrogateescape")


# aiokafka publishes no types, and has no other way in than these of its classes.
class _Fetched(MemoryRecords):  # type: ignore[misc]
    """The batches of one fetch, cut in C, and the bytes that they were cut from."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.raw = raw


class _Reader(fetcher.PartitionRecords):  # type: ignore[misc]
    """Parses in C and, from a name that fails to the end of the fetch, in Python."""

    _records: Any
    _records_iterator: Any

    def __next__(self) -> Any:
        try:
            return next(self._records_iterator)
        except StopIteration:
            self._records_iterator = None  # a reference cycle, as aiokafka says
            raise
        except UnicodeDecodeError:
            if not isinstance(self._records, _Fetched):
                raise
            self._records = _Again(self._records.raw, self.next_fetch_offset)
            self._records_iterator = self._unpack_records()
            return next(self)


class _Again(_MemoryRecordsPy):  # type: ignore[misc]
    """The batches of a fetch from the one on that `offset` is in.

    aiokafka leaves out the records of it that it has had.
    """

    _next_slice: Any

    def __init__(self, raw: bytes, offset: int) -> None:
        super().__init__(raw)
        while _Batch(self._next_slice).next_offset <= offset:
            self._cache_next()

    def next_batch(self) -> Any:
        # Headers came with format 2, and Kafka 4 writes no other.
        raw = self._next_slice
        self._cache_next()
        return _Batch(raw)


class _Batch(_DefaultRecordBatchPy):  # type: ignore[misc]
    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)


class _Buffer(bytearray):
    """What aiokafka's parser in Python cuts a batch from; it decodes nothing but names."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return found if isinstance(found, int) else _Buffer(found)

    def decode(self, *_: object) -> str:
        return text(bytes(self))


class _Outgoing(message_accumulator.BatchBuilder):  # type: ignore[misc]
    """A batch to be sent: built in C and, where a name needs its bytes back, in Python."""

    _builder: Any

    def __init__(
        self, batch_size: int, compression_type: int, *, is_transactional: int = 0, **rest: Any
    ) -> None:
        super().__init__(batch_size, compression_type, is_transactional=is_transactional, **rest)
        self._slow: tuple[int, ...] = (2, compression_type, is_transactional, -1, -1, 0, batch_size)

    def append(
        self, *, timestamp: Any, key: Any, value: Any, headers: Headers | None = None
    ) -> Any:
        for name, _ in headers or ():
            if not name.isascii() and original(name) != name.encode():
                return self._append_in_python(timestamp, key, value, headers or ())
        return super().append(timestamp=timestamp, key=key, value=value, headers=headers)

    def _append_in_python(self, timestamp: Any, key: Any, value: Any, headers: Headers) -> Any:
        if not isinstance(self._builder, _DefaultRecordBatchBuilderPy):
            if self.record_count():
                self.close()
                return None  # to aiokafka this batch is full, and the record begins the next
            self._builder = _DefaultRecordBatchBuilderPy(*self._slow)
        names = [(_Name(name), value) for name, value in headers]
        return super().append(timestamp=timestamp, key=key, value=value, headers=names)

    def _set_producer_state(self, *state: int) -> None:
        self._builder.set_producer_state(*state)


class _Name(str):
    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return original(self)


def tolerate() -> None:
    """From now on every aiokafka client of this process reads and writes such names."""
    fetcher.MemoryRecords = _Fetched
    fetcher.PartitionRecords = _Reader
    message_accumulator.BatchBuilder = _Outgoing
