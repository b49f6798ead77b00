"""`SpdyConnection`: the streams of a SPDY/3.1 connection, as Kubernetes uses it.

Clients of Kubernetes neither send nor heed WINDOW_UPDATE, so it is not waited for: a slow reader is waited for through
TCP. One full stream therefore holds up the others of its connection, as in Kubernetes' own server.
"""

import logging
from collections.abc import Callable
from contextlib import suppress

from corten.errors import CortenError, InvalidArgument

from . import spdy_frames as frames
from .inbox import Inbox
from .model import Transport
from .spdy_headers import HeaderDecoder, HeaderEncoder

log = logging.getLogger(__name__)

STREAMS_MAX = 1024
"""Streams open at once on one connection."""
CHUNK = 64 << 10
"""Bytes in one data frame that is sent."""


class SpdyStream:
    """One stream that the client opened (contract `Duplex`)."""

    def __init__(self, connection: "SpdyConnection", id: int, headers: dict[str, str]) -> None:
        self._connection = connection
        self.id, self.headers = id, headers
        self.inbox = Inbox()
        self._closed = False

    def __repr__(self) -> str:
        return f"SpdyStream({self.id}, {self.headers}, {self.inbox})"

    async def read(self) -> bytes:
        return await self.inbox.read()

    async def write(self, data: bytes) -> None:
        if self._closed:
            raise ConnectionResetError(f"SPDY stream {self.id} is closed")
        for start in range(0, len(data), CHUNK):
            await self._connection.send(frames.data(self.id, data[start : start + CHUNK]))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            with suppress(ConnectionError):
                await self._connection.send(frames.data(self.id, b"", fin=True))
            self._connection.settle(self)

    async def finish(self) -> None:
        """End both directions in order: what the client still sends has nowhere to go."""
        await self.close()
        self.inbox.discard()
        self._connection.forget(self)

    async def reset(self) -> None:
        """End both directions: something went wrong."""
        self._closed = True
        self.inbox.discard()
        self._connection.forget(self)
        with suppress(ConnectionError):
            await self._connection.send(frames.rst_stream(self.id, frames.CANCEL))

    def lost(self) -> None:
        """The client reset it, or is gone."""
        self._closed = True
        self.inbox.end()

    def is_done(self) -> bool:
        """Whether both directions have ended."""
        return self._closed and self.inbox.has_ended


class SpdyConnection:
    """The server's side. `accept` is called for each new stream; it raises a CortenError to refuse it."""

    def __init__(self, transport: Transport, accept: Callable[[SpdyStream], None]) -> None:
        self._transport, self._accept = transport, accept
        self._reader, self._encoder, self._decoder = frames.FrameReader(), HeaderEncoder(), HeaderDecoder()
        self._streams: dict[int, SpdyStream] = {}
        self._last = 0

    def __repr__(self) -> str:
        return f"SpdyConnection({len(self._streams)} streams)"

    async def run(self, arrived: bytes = b"") -> None:
        """Read until the client has gone (also by GOAWAY); `arrived` came already.

        Raises InvalidArgument if the client breaks the protocol.
        """
        try:
            while arrived := arrived or await self._transport.read():
                for frame in self._reader.feed(arrived):
                    if not await self._take(frame):
                        return
                arrived = b""
        finally:
            for stream in self._streams.values():
                stream.lost()

    async def send(self, frame: bytes) -> None:
        await self._transport.send(frame)

    async def close(self) -> None:
        """End all streams in order, and say that nothing more will come."""
        for stream in list(self._streams.values()):
            await stream.close()
        with suppress(ConnectionError):
            await self.send(frames.goaway(self._last))

    def settle(self, stream: SpdyStream) -> None:
        """Forget a stream if both its directions have ended."""
        if stream.is_done():
            self.forget(stream)

    def forget(self, stream: SpdyStream) -> None:
        self._streams.pop(stream.id, None)

    async def _take(self, frame: frames.Frame) -> bool:
        """Whether the connection goes on."""
        if isinstance(frame, frames.Data):
            await self._take_data(frame.stream, frame.data, frame.fin)
            return True
        match frame.type:
            case frames.SYN_STREAM:
                await self._open(frame)
            case frames.HEADERS | frames.SYN_REPLY:
                self._decoder.decode(frame.payload[4:])  # to keep in step; no stream is opened by this side
            case frames.RST_STREAM:
                if stream := self._streams.pop(frame.words(1)[0], None):
                    stream.lost()
            case frames.PING:
                await self._pong(frame)
            case frames.GOAWAY:
                return False
            case _:
                pass  # SETTINGS and WINDOW_UPDATE say nothing that is heeded; unknown frames are to be ignored
        return True

    async def _pong(self, frame: frames.Control) -> None:
        """Pings of a client have odd numbers; an even one would answer a ping of this side, which sends none."""
        (id,) = frame.words(1)
        if id % 2:
            await self.send(frames.ping(id))

    async def _take_data(self, id: int, data: bytes, fin: bool) -> None:
        stream = self._streams.get(id)
        if stream is None:
            return  # it was reset meanwhile
        await stream.inbox.put(data)
        if fin:
            stream.inbox.end()
            self.settle(stream)

    async def _open(self, frame: frames.Control) -> None:
        id = frame.words(2)[0]
        headers = self._decoder.decode(frame.payload[10:])
        if id % 2 == 0 or id <= self._last:
            await self.send(frames.rst_stream(id, frames.PROTOCOL_ERROR))
            return
        self._last = id
        stream = SpdyStream(self, id, headers)
        try:
            if len(self._streams) >= STREAMS_MAX:
                raise InvalidArgument(f"SPDY: more than {STREAMS_MAX} streams at once")
            self._streams[id] = stream
            self._accept(stream)  # tasks that it makes run after the reply has been written
        except CortenError as error:
            log.info("a stream of a client is refused: %s", error.message)
            self.forget(stream)
            await self.send(frames.rst_stream(id, frames.REFUSED_STREAM))
            return
        if frame.flags & frames.FLAG_FIN:
            stream.inbox.end()
        await self.send(frames.syn_reply(id, self._encoder.encode({})))
