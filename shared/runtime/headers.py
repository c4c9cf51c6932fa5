"""Header names that are no UTF-8, which Kafka takes from anybody and aiokafka cannot read.

aiokafka's parser raises UnicodeDecodeError for the whole batch: one such record would stop every
reader of its topic for ever. Here a byte of a name that is no text becomes one character that
every text column, log and JSON can hold, and on the way back to Kafka that byte again.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.producer import message_accumulator
from aiokafka.record.default_records import (
    DefaultRecordBatch,
    _DefaultRecordBatchBuilderPy,
    _DefaultRecordBatchPy,
)
from aiokafka.record.memory_records import _MemoryRecordsPy

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


# aiokafka publishes no types, and has no other way in.
class _Buffer(bytearray):
    """What aiokafka's own parser in Python cuts a batch from; it decodes nothing but names."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return found if isinstance(found, int) else _Buffer(found)

    def decode(self, *_: object) -> str:
        return text(bytes(self))


class _SlowBatch(_DefaultRecordBatchPy):  # type: ignore[misc]
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Buffer(self._buffer)


class _Batch:
    """A batch as it was fetched: read in C and, where that fails, once more in Python."""

    def __init__(self, batch: Any, raw: memoryview) -> None:
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)  # the fetcher's look at a transaction's marker

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except UnicodeDecodeError:
            # From the batch's beginning: the fetcher leaves out the offsets that it had.
            yield from _SlowBatch(self._raw)


class _Records(_MemoryRecordsPy):  # type: ignore[misc]
    def next_batch(self) -> Any:
        raw = self._next_slice
        batch = super().next_batch()
        return _Batch(batch, raw) if isinstance(batch, DefaultRecordBatch) else batch


class _Name(str):
    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return original(self)


class _Outgoing(message_accumulator.BatchBuilder):  # type: ignore[misc]
    """A batch to be sent: built in C until a name needs its bytes back."""

    def append(self, *, headers: Headers | None = None, **parts: Any) -> Any:
        if headers and not all(name.isascii() for name, _ in headers):
            if any(original(name) != name.encode() for name, _ in headers):
                if not self._rebuilt():
                    return None
                headers = [(_Name(name), value) for name, value in headers]
        return super().append(headers=headers, **parts)

    def _rebuilt(self) -> bool:
        """Whether this batch is built in Python from now on; one begun in C cannot be."""
        if self._closed or isinstance(self._builder, _DefaultRecordBatchBuilderPy):
            return not self._closed
        if self.record_count():
            self.close()
            return False
        begun = self._builder
        ...
        return True
