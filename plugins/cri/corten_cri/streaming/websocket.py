"""A WebSocket (RFC 6455), the server's side: the handshake, messages in pieces, pings answered, closed in order."""

import base64
import hashlib
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from typing import TYPE_CHECKING

from corten.values import dataclass
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from . import http

if TYPE_CHECKING:
    from .tcp import TcpTransport

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009
"""Codes that a connection is closed with."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a message. `first` and `last`: whether it begins and ends it."""

    data: bytes
    first: bool
    last: bool


def negotiate(head: http.Head, known: Collection[str]) -> tuple[str, bytes]:
    """The sub-protocol, the first that the client names and that is known, and the answer. Raises Refusal.

    A client that names none gets the empty one, if that is known.
    """
    keys = [value for name, value in head.headers if name == "sec-websocket-key"]
    if len(keys) != 1 or head.values("sec-websocket-version") != ["13"] or head.method != "GET":
        raise http.Refusal(400, "unable to upgrade: not a WebSocket handshake of version 13")
    offered = head.values("sec-websocket-protocol")
    chosen = next((each for each in offered or [""] if each in known), None)
    if chosen is None:
        served = ", ".join(each for each in known if each)
        raise http.Refusal(403, f"unable to upgrade: client supports {', '.join(offered)}, server accepts {served}")
    accept = base64.b64encode(hashlib.sha1(keys[0].encode() + _GUID).digest()).decode()
    told = [("Upgrade", "websocket"), ("Sec-WebSocket-Accept", accept)]
    return chosen, http.switching([*told, *([("Sec-WebSocket-Protocol", chosen)] if chosen else [])])


class WebSocket:
    """An open one; `rest` are bytes that came with the handshake."""

    def __init__(self, transport: "TcpTransport", rest: bytes) -> None:
        self._transport = transport
        self._connection = Connection(ConnectionType.SERVER, trailing_data=rest)
        self._first = True
        transport.quiet_pings = True  # clients ping all the time: that is not use

    async def pieces(self) -> AsyncIterator[Piece]:
        """What the client sends, until it closes or is gone."""
        try:
            while True:
                for event in self._connection.events():
                    if isinstance(event, CloseConnection):
                        with suppress(LocalProtocolError, ConnectionError):
                            await self._transport.send(self._connection.send(event.response()))
                        return
                    if isinstance(event, Ping):
                        await self._transport.send(self._connection.send(event.response()))
                    if isinstance(event, TextMessage | BytesMessage):
                        yield self._piece(event)
                arrived = await self._transport.read()
                if not arrived:
                    return
                self._connection.receive_data(arrived)
        except (RemoteProtocolError, ConnectionError):
            await self.close(PROTOCOL_ERROR)

    async def send(self, data: bytes | str) -> None:
        """One message: binary, or text for a str. Raises ConnectionError."""
        event = TextMessage(data) if isinstance(data, str) else BytesMessage(data)
        try:
            frame = self._connection.send(event)
        except LocalProtocolError as error:
            raise ConnectionResetError(f"the WebSocket is closed: {error}") from error
        self._transport.touch()
        await self._transport.send(frame)

    async def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Say goodbye; harmless if that was said already, or nobody is there."""
        with suppress(LocalProtocolError, ConnectionError):
            await self._transport.send(self._connection.send(CloseConnection(code, reason[:100] or None)))

    def _piece(self, event: TextMessage | BytesMessage) -> Piece:
        data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
        piece = Piece(data, self._first, event.message_finished)
        self._first = event.message_finished
        if data:
            self._transport.touch()
        return piece


class Tunnel:
    """A `Transport` in the binary messages of a WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._pieces = socket.pieces()

    async def read(self) -> bytes:
        async for piece in self._pieces:
            if piece.data:
                return piece.data
        return b""

    async def send(self, data: bytes) -> None:
        await self._socket.send(data)
