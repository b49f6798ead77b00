"""Streams of the streaming API as their client: the copier reads the output of processes in shims that serve them."""

import _socket
import sys
from typing import Any

from corten.api.services.streaming.v1.streaming_pb2 import StreamInit
from corten.api.ttrpc import request_pb2
from corten.errors import Unimplemented, mapped
from corten.wire.ttrpc import frames

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .loop import Loop
from .peer import Peer, Wire
from .streaming import STREAMING, Receiver, Sender, packed


class FarStreams(Peer):
    """A connection to a shim. An end that is opened is told that the other has left when the connection breaks."""

    served = False

    def __init__(self, loop: Loop, address: str) -> None:
        """Connect. Raises Unavailable, Unimplemented for what is not `ttrpc+unix://PATH`."""
        super().__init__(loop, _connected(address))
        self._last = -1

    def open_stream(self, name: str, end: Sender | Receiver) -> None:
        """Have `end` carry the stream of that id."""
        self._last += 2
        request = request_pb2.Request(service=STREAMING, method="Stream").SerializeToString()
        wire = Wire(self, self._last, _Opened(end))
        self.send(self._last, frames.REQUEST, request, frames.REMOTE_OPEN)
        wire.send(packed(StreamInit(id=name)))


class _Opened:
    """Owner of a stream: its first message says that it is open."""

    def __init__(self, end: Sender | Receiver) -> None:
        self._end, self._joined = end, False

    def got(self, wire: Wire, data: bytes) -> None:
        if not self._joined:
            self._joined = True
            self._end.join(wire)
            return
        try:
            self._end.got(data)
        except Exception as error:  # it does not keep to the protocol
            print(f"corten-copier: a stream of a shim: {error}", file=sys.stderr)
            wire.end()
            self._end.left()

    def closed(self, wire: Wire) -> None:
        """The other end wants no more, or sends no more."""
        if isinstance(self._end, Sender):
            self._end.close()
        else:
            self._end.left()

    def lost(self, wire: Wire) -> None:
        self.closed(wire)

    def drained(self, wire: Wire) -> None:
        self._end.drained()


def _connected(address: str) -> Any:
    protocol, _, path = address.partition("+unix://")
    if protocol != "ttrpc" or not path:
        raise Unimplemented(f"streams at {address}: only those at ttrpc+unix://PATH can be read")
    peer = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    with mapped(f"streams at {address}"):
        try:
            peer.connect(path)
        except BaseException:
            peer.close()
            raise
    peer.setblocking(False)
    return peer
