"""One bound session of SMPP 3.4, as a transceiver.

Requests are encoded by aiosmpplib; the session is ours. That library's own session ends when a
receipt carries a date with seconds or an error code with letters, and when an SMSC answers with a
status of its own range (all of which occur), writes texts and numbers into its log, and cannot
say of a message whether it had been written when the link broke.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import structlog
from aiosmpplib.protocol import BindTransceiver, SubmitSm
from aiosmpplib.state import SmppCommand, SmppCommandStatus

log = structlog.get_logger()
_HEADER = struct.Struct("!IIII")
_RESPONSE = 0x8000_0000
_LONGEST_PDU = 70_000  # a message_payload of 64 KiB and what is around it
_WINDOW_TIMEOUT_S = 3.0
_DELIVERING_AT_ONCE = 256
OnDeliver = Callable[[bytes], Awaitable[SmppCommandStatus]]
"""Takes the body of a deliver_sm; its answer goes back to the SMSC."""


class LinkLost(Exception):  # noqa: N818  named for what happened
    """The session is over; whether a request under way was taken is not known."""


class BindRefused(Exception):  # noqa: N818
    """The SMSC does not let us in."""


class WindowFull(Exception):  # noqa: N818
    """Too many requests wait for their answers; this one was not written."""


@dataclass(frozen=True, slots=True)
class Pdu:
    command: int
    status: int
    sequence: int
    body: bytes


class SmppSession:
    """Bound from `open` on until `closed` is set. Of any number of submits, `window` are on the
    way at once."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_deliver: OnDeliver,
        window: int,
    ) -> None:
        self.closed = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._on_deliver = on_deliver
        self._sequence = count(1)
        self._waiting: dict[int, Callable[[Pdu | None], None]] = {}
        self._window = asyncio.Semaphore(window)
        self._delivering = asyncio.Semaphore(_DELIVERING_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        system_id: str,
        password: str,
        on_deliver: OnDeliver,
        timeout_s: float,
        window: int = 32,
        enquire_link_every_s: float = 30.0,
    ) -> "SmppSession":
        """Connect and bind; then ask now and then whether the other side is still there.

        Raises OSError, TimeoutError, LinkLost or BindRefused.
        """
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            session = cls(reader, writer, on_deliver, window)
            session._background(session._read())
            try:
                bind = BindTransceiver(system_id=system_id, password=password)
                answer = await session._request(bind)
            except BaseException:
                await session.close()
                raise
        if answer.status != SmppCommandStatus.ESME_ROK:
            await session.close()
            raise BindRefused(status_name(answer.status))
        session._background(session._keep_alive(enquire_link_every_s, timeout_s))
        return session

    async def submit(
        self, message: SubmitSm, on_accepted: Callable[[str], None], timeout_s: float
    ) -> int:
        """Send one part and return the command_status of its answer.

        `on_accepted` gets the message id in the turn in which the answer is read, before any
        receipt. Raises LinkLost or TimeoutError when no answer came to what was written, and
        WindowFull when it was not written.
        """

        def read(answer: Pdu) -> None:
            if answer.status == SmppCommandStatus.ESME_ROK:
                on_accepted(answer.body.partition(b"\0")[0].decode("latin-1"))

        try:
            async with asyncio.timeout(_WINDOW_TIMEOUT_S):
                await self._window.acquire()
        except TimeoutError:
            raise WindowFull from None
        try:
            async with asyncio.timeout(timeout_s):
                return (await self._request(message, read)).status
        finally:
            self._window.release()

    async def close(self) -> None:
        """Close the link; whoever waits for an answer gets LinkLost."""
        self._end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(OSError):
            await self._writer.wait_closed()

    async def unbind(self, timeout_s: float) -> None:
        """Say goodbye, wait for the answer, close."""
        with suppress(TimeoutError, LinkLost):
            async with asyncio.timeout(timeout_s):
                await self._request(SmppCommand.UNBIND)
        await self.close()

    async def _request(
        self, what: Any | SmppCommand, read: Callable[[Pdu], None] = lambda _: None
    ) -> Pdu:
        if self.closed.is_set():
            raise LinkLost
        sequence = next(self._sequence)
        answer: asyncio.Future[Pdu] = asyncio.get_running_loop().create_future()

        def take(pdu: Pdu | None) -> None:
            if pdu is not None:
                read(pdu)
            if not answer.done():
                answer.set_exception(LinkLost()) if pdu is None else answer.set_result(pdu)

        self._waiting[sequence] = take
        try:
            if isinstance(what, SmppCommand):
                self._write(what, 0, sequence)
            else:
                what.sequence_num = sequence
                self._writer.write(what.pdu())
            return await answer
        finally:
            self._waiting.pop(sequence, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # it was seen, even when a time-out came in the same turn

    def _write(self, command: int, status: int, sequence: int, body: bytes = b"") -> None:
        self._writer.write(_HEADER.pack(16 + len(body), command, status, sequence) + body)

    async def _read(self) -> None:
        try:
            while True:
                length, command, status, sequence = _HEADER.unpack(
                    await self._reader.readexactly(16)
                )
                if not 16 <= length <= _LONGEST_PDU:
                    log.warning("smpp.pdu_length", length=length)
                    return
                body = await self._reader.readexactly(length - 16)
                await self._take(Pdu(command, status, sequence, body))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._end()

    async def _take(self, pdu: Pdu) -> None:
        if pdu.command & _RESPONSE:
            if waiting := self._waiting.pop(pdu.sequence, None):
                waiting(pdu)
            else:
                log.warning("smpp.late_answer", status=status_name(pdu.status))
        elif pdu.command == SmppCommand.DELIVER_SM:
            # No more than some at once: then reading waits, and with it the SMSC.
            await self._delivering.acquire()
            self._background(self._deliver(pdu))
        elif pdu.command == SmppCommand.ENQUIRE_LINK:
            self._write(SmppCommand.ENQUIRE_LINK_RESP, 0, pdu.sequence)
        elif pdu.command == SmppCommand.UNBIND:
            self._write(SmppCommand.UNBIND_RESP, 0, pdu.sequence)
            self._end()
        else:
            status = SmppCommandStatus.ESME_RINVCMDID
            self._write(SmppCommand.GENERIC_NACK, status, pdu.sequence)

    async def _deliver(self, pdu: Pdu) -> None:
        try:
            status = await self._on_deliver(pdu.body)
            # An empty message_id, as deliver_sm_resp demands.
            self._write(SmppCommand.DELIVER_SM_RESP, status, pdu.sequence, b"\0")
        finally:
            self._delivering.release()

    async def _keep_alive(self, every_s: float, timeout_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                async with asyncio.timeout(timeout_s):
                    await self._request(SmppCommand.ENQUIRE_LINK)
            except (TimeoutError, LinkLost):
                self._end()
                return

    def _end(self) -> None:
        self._writer.close()
        waiting, self._waiting = self._waiting, {}
        for take in waiting.values():
            take(None)
        self.closed.set()

    def _background(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def status_name(status: int) -> str:
    """`throttled` for ESME_RTHROTTLED; `status_0x400` for one that only this SMSC knows."""
    try:
        return str(SmppCommandStatus(status).name).removeprefix("ESME_R").lower()
    except ValueError:
        return f"status_{status:#x}"
