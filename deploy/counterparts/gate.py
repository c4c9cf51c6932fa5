"""The door of the SMSC: who may bind.

The server of smpp34 lets everybody bind, whatever the password, and tells of a link only when it
is bound. So a gate stands before it: it reads the first PDU of each link, and passes the link on
when name and password are right.
"""

import asyncio
import hmac
import struct
from contextlib import suppress

_HEADER = struct.Struct("!IIII")
_BINDS = (0x1, 0x2, 0x9)  # receiver, transmitter, transceiver
_RESPONSE = 0x8000_0000
_LONGEST_BIND = 200
_FIRST_PDU_WITHIN_S = 10.0
ESME_RINVPASWD = 0x0E
ESME_RINVBNDSTS = 0x04


class Gate:
    """Listens on `host` and `port` (0: any free one, see `port`), passes on to `inner_port`."""

    def __init__(
        self, host: str, port: int, inner_port: int, system_id: str, password: str
    ) -> None:
        self._host = host
        self.port = port
        self._inner_port = inner_port
        self._wanted = (system_id.encode("ascii"), password.encode("ascii"))
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.cut()
            await self._server.wait_closed()

    @property
    def listening(self) -> bool:
        return self._server is not None and self._server.is_serving()

    def cut(self) -> None:
        """Cut every link, as a fault in the network does."""
        for writer in self._links:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.add(writer)
        try:
            async with asyncio.timeout(_FIRST_PDU_WITHIN_S):
                bind = await self._admit(reader, writer)
            if bind is not None:
                await self._pass_on(bind, reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            pass  # the client went away, or speaks something else
        finally:
            self._links.discard(writer)
            writer.close()

    async def _admit(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | None:
        """The bind, when it is one with the right name and password; else it is answered."""
        head = await reader.readexactly(16)
        length, command, _, sequence = _HEADER.unpack(head)
        if not 16 <= length <= _LONGEST_BIND:
            return None
        body = await reader.readexactly(length - 16)
        status = ESME_RINVBNDSTS
        if command in _BINDS:
            system_id, password = body.split(b"\0")[:2]
            status = ESME_RINVPASWD
            if all(map(hmac.compare_digest, (system_id, password), self._wanted)):
                return head + body
        writer.write(_HEADER.pack(17, command | _RESPONSE, status, sequence) + b"\0")
        await writer.drain()
        return None

    async def _pass_on(
        self, bind: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._inner_port)
        try:
            inner_writer.write(bind)
            ways = [
                asyncio.create_task(_copy(reader, inner_writer)),
                asyncio.create_task(_copy(inner_reader, writer)),
            ]
            # When one side is gone, the link is.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            inner_writer.close()
            with suppress(OSError):
                await inner_writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
