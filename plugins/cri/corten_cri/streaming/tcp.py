"""A TCP connection as a `Transport`, watched: when no byte has moved for too long, it is cut off."""

import asyncio
import socket
from contextlib import suppress

LINGER = 5.0
"""Seconds that a client may take to close after it was told that all is over; else its last bytes could be lost."""
_CHUNK = 64 << 10


class TcpTransport:
    """One accepted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle_timeout: float) -> None:
        self._reader, self._writer, self._idle_timeout = reader, writer, idle_timeout
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self.quiet_pings = False
        """Set where bytes that arrive are not activity of themselves: `touch` says what is."""
        raw = writer.get_extra_info("socket")
        if raw is not None:
            with suppress(OSError):
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._watch()

    def __repr__(self) -> str:
        return f"TcpTransport({self._writer.get_extra_info('peername')})"

    async def read(self) -> bytes:
        try:
            arrived = await self._reader.read(_CHUNK)
        except OSError:
            return b""
        if arrived and not self.quiet_pings:
            self.touch()
        return arrived

    async def send(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError("the client is gone")
        self._writer.write(data)
        if not self.quiet_pings:
            self.touch()
        try:
            await self._writer.drain()
        except OSError as error:
            raise ConnectionResetError(f"the client is gone: {error}") from error

    def touch(self) -> None:
        """Something has happened: the connection is not idle."""
        self._last = self._loop.time()

    def end(self) -> None:
        """Say that nothing more comes (TLS cannot); harmless if the client has gone."""
        with suppress(OSError, RuntimeError):  # uvloop raises RuntimeError for what was closed meanwhile
            if not self._writer.is_closing() and self._writer.can_write_eof():
                self._writer.write_eof()

    async def finish(self) -> None:
        """The same, and let the client close, for a while; nobody else reads."""
        self.end()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LINGER):
                while await self._reader.read(_CHUNK):
                    pass

    def abort(self) -> None:
        """Cut it off; what was not sent is lost. Harmless if it has ended."""
        if self._timer is not None:
            self._timer.cancel()
        self._writer.transport.abort()

    def _watch(self) -> None:
        if self._idle_timeout <= 0:
            return
        left = self._last + self._idle_timeout - self._loop.time()
        if left <= 0:
            self.abort()
        else:
            self._timer = self._loop.call_later(left, self._watch)
