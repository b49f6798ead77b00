"""A socket on the loop that carries ttrpc frames, and the streams of messages on it; for server and client alike."""

import _socket
import sys
from typing import Any

from corten.api.ttrpc import request_pb2
from corten.errors import InvalidArgument, code_of
from corten.wire.ttrpc import frames

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .loop import IN, OUT, Loop

_RECEIVE = 64 * 1024


class Peer:
    """One connection. What it received goes to `_got`; `_gone` is called once, when it has ended."""

    served = True
    """Whether this is the server's end: what that says is the end of a stream is its end."""

    def __init__(self, loop: Loop, peer: _socket.socket) -> None:
        self._loop, self.peer = loop, peer
        self._decoder = frames.Decoder()
        self.unsent = b""
        self.wires: dict[int, Wire] = {}
        loop.watch(peer.fileno(), IN, self._ready)

    @property
    def open(self) -> bool:
        """Whether something can be sent."""
        return self.peer.fileno() >= 0

    def send(self, stream: int, kind: int, data: bytes = b"", flags: int = 0) -> None:
        """Send one frame, now or as soon as the peer takes it; nothing once the connection has ended."""
        if self.open:
            self.unsent += frames.encode(stream, kind, data, flags)
            self._flush()

    def answer(self, stream: int, message: Any, error: BaseException | None) -> None:
        """Send the one answer to a call, or what ends a stream with an error."""
        response = request_pb2.Response()
        if error is not None:
            response.status.code = code_of(error)
            response.status.message = str(getattr(error, "message", "")) or f"{type(error).__name__}: {error}"
        else:
            response.payload = message.SerializeToString()
        self.send(stream, frames.RESPONSE, response.SerializeToString())

    def close(self) -> None:
        """End it."""
        if not self.open:
            return
        self._loop.forget(self.peer.fileno())
        self.peer.close()
        self.unsent = b""
        wires, self.wires = self.wires, {}
        self._gone()
        for wire in wires.values():
            wire.owner.lost(wire)

    def _got(self, frame: frames.Frame) -> None:
        """A frame that belongs to no stream of messages."""

    def _gone(self) -> None:
        """The connection has ended."""

    def _ready(self, events: int) -> None:
        if events & OUT:
            self._flush()
            if not self.unsent:
                for wire in list(self.wires.values()):
                    wire.drained()
        if events & ~OUT and self.open:
            self._receive()

    def _receive(self) -> None:
        try:
            data = self.peer.recv(_RECEIVE)
            received = self._decoder.feed(data) if data else None
        except BlockingIOError:
            return
        except (OSError, InvalidArgument):
            received = None
        if received is None:
            self.close()
            return
        for frame in received:
            if isinstance(frame, frames.Oversized):
                self.answer(frame.stream, None, InvalidArgument(frame.message))
            elif frame.stream in self.wires:
                self.wires[frame.stream].received(frame)
            else:
                self._got(frame)

    def _flush(self) -> None:
        try:
            if self.unsent:
                self.unsent = self.unsent[self.peer.send(self.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._loop.change(self.peer.fileno(), IN | OUT if self.unsent else IN)


class Wire:
    """A stream of messages both ways. `owner` has `got(wire, bytes)`, and without arguments but the wire `closed` (the
    other side sends no more), `lost` (it is over, for whatever reason), and `drained` (all that was sent has left)."""

    def __init__(self, peer: Peer, number: int, owner: Any) -> None:
        self._peer, self._number, self.owner = peer, number, owner
        self._over = False
        peer.wires[number] = self

    @property
    def clear(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._peer.unsent

    def send(self, data: bytes) -> None:
        if not self._over:
            self._peer.send(self._number, frames.DATA, data)

    def end(self) -> None:
        """Send no more. It stays known until all has left."""
        if not self._over:
            self._over = True
            self._peer.send(self._number, frames.DATA, b"", frames.REMOTE_CLOSED | frames.NO_DATA)
            if self.clear and self._peer.served:
                self._peer.wires.pop(self._number, None)

    def fail(self, error: BaseException) -> None:
        """End it with an error; `lost` is not called."""
        self._over = True
        self._peer.wires.pop(self._number, None)
        self._peer.answer(self._number, None, error)

    def received(self, frame: frames.Frame) -> None:
        """A frame of the other side's."""
        if frame.kind == frames.DATA:
            if not frame.flags & frames.NO_DATA:
                self.owner.got(self, frame.data)
            if frame.flags & frames.REMOTE_CLOSED:
                self.owner.closed(self)
        elif frame.kind == frames.RESPONSE:  # the end, which may be an error
            self._peer.wires.pop(self._number, None)
            self.owner.lost(self)

    def drained(self) -> None:
        """All that was sent has left."""
        if self._over and self._peer.served:
            self._peer.wires.pop(self._number, None)
        self.owner.drained(self)
