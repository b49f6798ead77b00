"""Events from the shim to the daemon: in order, one at a time, kept while the daemon is away and sent again."""

import _socket
import sys
from collections import deque
from collections.abc import Callable

from corten.api.services.ttrpc.events.v1 import events_pb2
from corten.api.ttrpc import request_pb2
from corten.api.types import event_pb2
from corten.wire.ttrpc import frames

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .loop import IN, OUT, Loop

KEPT_MAX = 4096
"""Events kept for a daemon that is away; beyond that the oldest is dropped."""
RETRY = 0.5
"""Seconds between attempts to reach the daemon."""
_SERVICE, _METHOD = "containerd.services.events.ttrpc.v1.Events", "Forward"


class Publisher:
    """A ttrpc client of one method. With an empty `address` (a path) nobody is told anything."""

    def __init__(self, loop: Loop) -> None:
        self._loop, self.address = loop, ""
        self._queue: deque[event_pb2.Envelope] = deque(maxlen=KEPT_MAX)
        self._socket: _socket.socket | None = None
        self._decoder = frames.Decoder()
        self._stream = -1
        self._waiting = False
        self._sent = b""
        self._idle: list[Callable[[], None]] = []

    @property
    def idle(self) -> bool:
        """Whether nothing is to be delivered, nor somebody to be reached."""
        return not self._queue and not self._waiting

    def publish(self, envelope: event_pb2.Envelope) -> None:
        """Queue an event."""
        if self.address:
            self._queue.append(envelope)
            self._next()

    def when_idle(self, seconds: float, call: Callable[[], None]) -> None:
        """Call once when all is delivered, or after so many seconds."""
        calls = [call]

        def once() -> None:
            if calls:
                calls.pop()()

        self._idle.append(once)
        self._loop.after(seconds, once)
        self._next()

    def close(self) -> None:
        """Let go of the connection and of what is not delivered."""
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _next(self) -> None:
        """Send the first of the queue unless one is on its way."""
        if not self._queue:
            idle, self._idle = self._idle, []
            for call in idle:
                call()
        elif not self._waiting and (self._socket is not None or self._connect()):
            self._waiting = True
            self._stream += 2
            forward = events_pb2.ForwardRequest(envelope=self._queue[0])
            request = request_pb2.Request(service=_SERVICE, method=_METHOD, payload=forward.SerializeToString())
            request.metadata.add(key="containerd-namespace-ttrpc", value=self._queue[0].namespace)
            self._sent = frames.encode(self._stream, frames.REQUEST, request.SerializeToString())
            self._write()

    def _connect(self) -> bool:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        if connection.connect_ex(self.address):
            connection.close()
            self._waiting = True
            self._loop.after(RETRY, self._retry)
            return False
        self._socket, self._decoder, self._stream = connection, frames.Decoder(), -1
        self._loop.watch(connection.fileno(), IN, self._ready)
        return True

    def _retry(self) -> None:
        self._waiting = False
        self._next()

    def _ready(self, events: int) -> None:
        if events & OUT:
            self._write()
        if self._socket is not None and events & ~OUT:
            self._read()

    def _write(self) -> None:
        assert self._socket is not None
        try:
            self._sent = self._sent[self._socket.send(self._sent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._lost()
            return
        self._loop.change(self._socket.fileno(), IN | OUT if self._sent else IN)

    def _read(self) -> None:
        assert self._socket is not None
        try:
            received = self._socket.recv(65536)
            answers = self._decoder.feed(received) if received else None
        except BlockingIOError:
            return
        except Exception:
            answers = None
        if answers is None:
            self._lost()
            return
        for answer in answers:
            if answer.stream == self._stream and self._waiting and self._queue:
                self._queue.popleft()  # an answer that refuses it counts too: it would refuse it again
                self._waiting = False
        self._next()

    def _lost(self) -> None:
        """The daemon is gone; what was not answered is sent again."""
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self._waiting = True
            self._loop.after(RETRY, self._retry)
