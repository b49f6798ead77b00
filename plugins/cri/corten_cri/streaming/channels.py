"""Channels of Kubernetes on a WebSocket: the first byte of a message says which stream it belongs to.

In the base64 variants it is a digit, and the rest is base64 in a text message. Version 5 knows a message of the bytes
255 and N: the client will send no more on channel N.
"""

import base64
import binascii
from collections.abc import Iterable

from . import websocket
from .inbox import Inbox

CLOSE = 255
MESSAGE_MAX = 1 << 20
"""Bytes of one message in base64, which is decoded as a whole."""


class Channel:
    """One stream (contract `Duplex`); what is sent on it is not closed but by the whole connection."""

    def __init__(self, socket: "ChannelSocket", number: int) -> None:
        self._socket, self._number = socket, number
        self.inbox = Inbox()

    def __repr__(self) -> str:
        return f"Channel({self._number}, {self.inbox})"

    async def read(self) -> bytes:
        return await self.inbox.read()

    async def write(self, data: bytes) -> None:
        await self._socket.send(self._number, data)

    async def close(self) -> None:
        return


class ChannelSocket:
    """All channels of a WebSocket. `readable` are those that the client may send on; others are dropped."""

    def __init__(
        self, socket: websocket.WebSocket, count: int, readable: Iterable[int], *, text: bool, half_close: bool
    ) -> None:
        self._socket, self._text, self._half_close = socket, text, half_close
        self.channels = [Channel(self, number) for number in range(count)]
        for number, channel in enumerate(self.channels):
            if number not in set(readable):
                channel.inbox.discard()
        self._current: int | None = None
        self._held = b""

    async def run(self) -> None:
        """Read until the client has closed or gone."""
        try:
            async for piece in self._socket.pieces():
                if not await (self._take_text(piece) if self._text else self._take(piece)):
                    return
        finally:
            for channel in self.channels:
                channel.inbox.end()

    async def send(self, number: int, data: bytes) -> None:
        """Raises ConnectionError."""
        if self._text:
            await self._socket.send(f"{number}{base64.b64encode(data).decode()}")
        else:
            await self._socket.send(bytes([number]) + data)

    async def close(self) -> None:
        await self._socket.close()

    async def _take(self, piece: websocket.Piece) -> bool:
        """Whether the connection goes on. Data is passed on in the pieces in which it comes."""
        data = piece.data
        if piece.first:
            self._current = None
        if self._current is None and data:
            self._current, data = data[0], data[1:]
        if self._half_close and self._current == CLOSE:
            return await self._take_close(data, piece)
        if data:
            await self._deliver(data)
        return True

    async def _take_close(self, data: bytes, piece: websocket.Piece) -> bool:
        self._held += data
        if not piece.last:
            return len(self._held) <= 1
        held, self._held = self._held, b""
        if len(held) != 1 or held[0] >= len(self.channels):
            await self._socket.close(websocket.PROTOCOL_ERROR, "one channel follows the byte 255")
            return False
        self.channels[held[0]].inbox.end()
        return True

    async def _take_text(self, piece: websocket.Piece) -> bool:
        self._held += piece.data
        if len(self._held) > MESSAGE_MAX:
            await self._socket.close(websocket.TOO_BIG, f"messages have at most {MESSAGE_MAX} bytes")
            return False
        if not piece.last:
            return True
        held, self._held = self._held, b""
        self._current = held[0] - ord("0") if held else None
        try:
            await self._deliver(base64.b64decode(held[1:], validate=True))
        except binascii.Error:
            await self._socket.close(websocket.PROTOCOL_ERROR, "not base64")
            return False
        return True

    async def _deliver(self, data: bytes) -> None:
        """Data for a channel that does not exist is dropped, as Kubernetes does."""
        if self._current is not None and 0 <= self._current < len(self.channels):
            await self.channels[self._current].inbox.put(data)
