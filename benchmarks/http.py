"""An HTTP client that costs little: prepared requests over keep-alive connections.

A general client spends more on a request than the server that is measured.
"""

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import cast


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


def post(path: str, host: str, body: bytes) -> bytes:
    """The bytes of a request, ready to be sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = b""
        self._waiting: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one in all but its class.
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> "asyncio.Future[Answer]":
        if self.transport is None or self.transport.is_closing():
            raise ConnectionError("the server hung up")
        self._waiting = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._waiting

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) >= length and self._waiting and not self._waiting.done():
            self._received = body[length:]
            self._waiting.set_result(Answer(int(head[9:12]), body[:length]))

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(error or ConnectionError("the server hung up"))


class Client:
    """Some connections to one server; who finds none free waits for one."""

    def __init__(self, host: str, port: int, connections: int) -> None:
        self._where = (host, port)
        self._count = connections
        self._free: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()

    async def __aenter__(self) -> "Client":
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            _, connection = await loop.create_connection(_Connection, *self._where)
            self._free.put_nowait(connection)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while not self._free.empty():
            self._free.get_nowait().close()

    async def ask(self, request: bytes) -> Answer:
        """Send, and wait for the answer. Raises ConnectionError."""
        connection = await self._free.get()
        answer = await connection.ask(request)
        self._free.put_nowait(connection)
        return answer
