"""The shim's ttrpc server: calls on a unix socket, any number at a time, answers in the order they are ready.

A method's entry is the class of its request and its handler; for a stream of messages None and the streams' owner.
"""

# The C class that `socket.socket` wraps: the wrapper's accept makes enums, which costs a shim 100 KiB.
import _socket
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from corten.api.ttrpc import request_pb2
from corten.errors import InvalidArgument, Unimplemented
from corten.wire.ttrpc import frames

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .loop import IN, Later, Loop
from .peer import Peer, Wire

BACKLOG = 128


def listen(path: str) -> _socket.socket:
    """A listening socket at `path`, mode 0600 from the start."""
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    mask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen(BACKLOG)
    return listener


class Deferred(NamedTuple):
    """An answer that may be long in coming, in place of the steps to it: a worker may end before (see `keeper`)."""

    later: Later[Any]
    make: Callable[[Any], Any]
    """The message, of the value."""


class Server:
    """Serves tables of methods, by the names of their services, to whoever connects."""

    def __init__(self, loop: Loop, services: Mapping[str, Mapping[str, Any]]) -> None:
        self._loop = loop
        self._listener: _socket.socket | None = None
        self.services = services
        self._connections: set[_Connection] = set()

    @property
    def connected(self) -> bool:
        """Whether a client is there."""
        return bool(self._connections)

    def kept(self) -> Any:
        """What `take_up` needs."""
        return self._listener, self._connections

    def abandon(self) -> None:
        """Close none of its sockets when it goes: another has them."""
        for peer in (self._listener, *(connection.peer for connection in self._connections)):
            if peer is not None:
                peer.detach()

    def take_up(self, state: Any) -> None:
        """Go on with what another worker had."""
        self._listener, self._connections = state

    def serve(self, listener: _socket.socket) -> None:
        """Accept connections; `close` ends that."""
        self._listener = listener
        self._loop.watch(listener.fileno(), IN, self._accept)

    def close(self) -> None:
        """Close the listening socket; connections go on."""
        if self._listener is not None:
            self._loop.forget(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def adopt(self, peer: _socket.socket) -> None:
        """Serve a connection that is there already."""
        peer.setblocking(False)
        self._connections.add(_Connection(self, self._loop, peer, self._connections))

    def _accept(self, events: int) -> None:
        assert self._listener is not None
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        self.adopt(_socket.socket(fileno=fd))


class _Connection(Peer):
    def __init__(self, server: Server, loop: Loop, peer: _socket.socket, all: "set[_Connection]") -> None:
        super().__init__(loop, peer)
        self._server, self._all = server, all

    def _got(self, frame: frames.Frame) -> None:
        if frame.kind != frames.REQUEST:
            return
        stream = frame.stream
        try:
            request = request_pb2.Request.FromString(frame.data)
            found = self._server.services.get(request.service, {}).get(request.method)
            if found is None:
                raise Unimplemented(f"{request.service}/{request.method}: no such method in this shim")
            kind, handler = found
            if kind is None:
                _require_open(frame, request)
                Wire(self, stream, handler)
                return
            steps = handler(kind.FromString(request.payload))
        except Exception as error:
            self.answer(stream, None, error)
            return
        if isinstance(steps, Deferred):
            steps.later.then(partial(self._give, stream, steps))
        else:
            self._loop.drive(steps, lambda value, error: self.answer(stream, value, error))

    def _give(self, stream: int, deferred: Deferred) -> None:
        self.answer(stream, deferred.make(deferred.later.value), None)

    def _gone(self) -> None:
        self._all.discard(self)


def _require_open(frame: frames.Frame, request: request_pb2.Request) -> None:
    if not frame.flags & frames.REMOTE_OPEN:
        raise InvalidArgument(f"{request.service}/{request.method}: it takes a stream of messages, this is one call")
