"""Stdio over containerd's streaming API (`containerd.services.streaming.v1`), as its CRI has it for virtual machines.

A client opens a stream by id with the message StreamInit, and gets an empty one back. Bytes go as
`containerd.types.transfer.Data`; their receiver grants how many may come by WindowUpdate, which adds up. A process
takes up a stream if its stdio is `ttrpc+unix://SOCKET?streaming_id=ID` (the shim's own socket) or `stream://ID`; it
may be made before the stream is opened, or after. A client that is gone is waited for, as with a FIFO; what was on its
way to it is lost, for nothing in the API tells what has arrived.
"""

import fcntl
import os
import sys
import termios
from collections.abc import Callable, Mapping
from typing import Any

from corten.api.services.streaming.v1.streaming_pb2 import StreamInit
from corten.api.types.transfer.streaming_pb2 import Data, WindowUpdate
from corten.errors import Aborted, AlreadyExists, InvalidArgument, ResourceExhausted, Unimplemented
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .loop import IN, OUT, Loop
from .peer import Wire

STREAMING = "containerd.services.streaming.v1.Streaming"
PIECE, WINDOW = 32 * 1024, 64 * 1024
"""Bytes of one message, and bytes that may be on their way; as containerd has them."""
STREAMS_MAX = 4096
"""Streams that may be open in a shim."""
_GRANTED_MAX = 1 << 30
_QUERY = "streaming_id="


def packed(message: Any) -> bytes:
    """As the message Any, its type named as Go's typeurl does."""
    return AnyMessage(type_url=message.DESCRIPTOR.full_name, value=message.SerializeToString()).SerializeToString()


def unpacked(data: bytes, kind: Any) -> Any:
    """What an Any holds, or None if it is of another type. Raises DecodeError."""
    message = AnyMessage.FromString(data)
    return kind.FromString(message.value) if message.type_url.endswith(kind.DESCRIPTOR.full_name) else None


def is_stream(uri: str) -> bool:
    """Whether a URI of stdio names a stream."""
    return uri.startswith("stream://") or "+" in uri.partition("://")[0]


def parsed(uri: str) -> tuple[str, str]:
    """The address (empty: the shim's own) and id of a stream. Raises InvalidArgument."""
    address, _, query = uri.partition("?")
    if uri.startswith("stream://"):
        address, name = "", address.removeprefix("stream://")
    else:
        words = [word for word in query.split("&") if word.startswith(_QUERY)]
        name = words[0].removeprefix(_QUERY) if words else ""
    if not name:
        raise InvalidArgument(f"stdio {uri!r}: it names no stream (…?{_QUERY}ID, or stream://ID)")
    return address, name


class Sender:
    """Sends what comes from `source` (non-blocking, owned); `ended` is called once, when all of it has left."""

    def __init__(self, loop: Loop, source: int, ended: "Callable[[Sender], None]") -> None:
        self._loop, self._source, self._ended = loop, source, ended
        self._wire: Wire | None = None
        self._granted = 0
        self._left: int | None = None
        self._watched = self._told = False

    def join(self, wire: Wire) -> None:
        """Send there from now on."""
        self._wire, self._granted = wire, 0

    def got(self, data: bytes) -> None:
        """A message of whoever reads. Raises DecodeError."""
        update = unpacked(data, WindowUpdate)
        if update is not None:
            self._granted = min(self._granted + max(update.update, 0), _GRANTED_MAX)
            self._look()

    def drained(self) -> None:
        """There is room to send again."""
        if self._source < 0:
            self._tell()
        else:
            self._look()

    def left(self) -> None:
        """Nobody reads now."""
        self._wire = None
        self.drained()

    def finish(self) -> None:
        """Send what is there now, then stop, whoever still holds the other end."""
        if self._source >= 0:
            self._left = int.from_bytes(fcntl.ioctl(self._source, termios.FIONREAD, bytes(4)), "little")
            if not self._left:
                self._end()

    def close(self) -> None:
        """Stop now; what was not sent is lost."""
        self._end()
        self._tell()

    def _look(self) -> None:
        wanted = self._source >= 0 and self._wire is not None and self._wire.clear and self._granted > 0
        if wanted and not self._watched:
            self._loop.watch(self._source, IN, self._fill)
        elif not wanted and self._watched:
            self._loop.forget(self._source)
        self._watched = wanted

    def _fill(self, events: int) -> None:
        try:
            data = os.read(self._source, min(PIECE, self._granted))
        except BlockingIOError:
            if events & IN:
                return
            data = b""
        except OSError:  # EIO is how a terminal ends
            data = b""
        if data and self._wire is not None:
            self._granted -= len(data)
            self._wire.send(packed(Data(data=data)))
        if self._left is not None:
            self._left -= len(data)
        if not data or (self._left is not None and self._left <= 0):
            self._end()
        else:
            self._look()

    def _end(self) -> None:
        if self._source < 0:
            return
        if self._watched:
            self._loop.forget(self._source)
        os.close(self._source)
        self._source = -1
        if self._wire is not None:
            self._wire.end()
        if self._wire is None or self._wire.clear:
            self._tell()

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._ended(self)


class Receiver:
    """Writes what comes to `sink` (non-blocking, owned); `ended` is called once, when no more will come.

    One that is `lasting` waits for the next who writes if the connection breaks; it ends when that side says so.
    """

    def __init__(self, loop: Loop, sink: int, ended: "Callable[[Receiver], None]", *, lasting: bool) -> None:
        self._loop, self._sink, self._ended, self._lasting = loop, sink, ended, lasting
        self._wire: Wire | None = None
        self._granted = 0
        self._pending = b""
        self._over = False

    def join(self, wire: Wire) -> None:
        """Take what comes from there from now on."""
        self._wire, self._granted = wire, 0
        self._grant()

    def got(self, data: bytes) -> None:
        """A message of whoever writes. Raises DecodeError, ResourceExhausted for more than was granted."""
        piece = unpacked(data, Data)
        if piece is None or self._sink < 0:
            return
        self._granted -= len(piece.data)
        if self._granted < -WINDOW:
            raise ResourceExhausted(f"stream: more than the {WINDOW} bytes came that were granted")
        waiting, self._pending = bool(self._pending), self._pending + piece.data
        if not waiting:
            self._push()

    def closed(self) -> None:
        """No more will come: the process sees the end after what is on its way to it."""
        self._over = True
        if not self._pending:
            self.close()

    def left(self) -> None:
        """Nobody writes now."""
        self._wire = None
        if not self._lasting:
            self.closed()

    def release(self) -> None:
        """It ends with whoever writes now, and at once if nobody does."""
        self._lasting = False
        if self._wire is None:
            self.closed()

    def drained(self) -> None:
        """Of no matter to it."""

    def close(self) -> None:
        """Stop now; what is on the way is lost."""
        if self._sink >= 0:
            self._loop.forget(self._sink)
            os.close(self._sink)
            self._sink, self._pending = -1, b""
            if self._wire is not None:
                self._wire.end()
            self._ended(self)

    def _push(self, events: int = OUT) -> None:
        try:
            self._pending = self._pending[os.write(self._sink, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads any more
            self._pending, self._over = b"", True
        self._loop.forget(self._sink)
        if self._pending:
            self._loop.watch(self._sink, OUT, self._push)
        elif self._over:
            self.close()
        else:
            self._grant()

    def _grant(self) -> None:
        room = WINDOW - self._granted - len(self._pending)
        if self._wire is not None and room >= WINDOW // 2:
            self._granted += room
            self._wire.send(packed(WindowUpdate(update=room)))


class Stream:
    """A stream by its id: who has it open, and which end of a process's it is for; either may come first."""

    def __init__(self, streams: "Streaming", name: str) -> None:
        self._streams, self._name = streams, name
        self._wire: Wire | None = None
        self._early: list[bytes] = []
        self._closed = False
        self.claimed = False
        self._end: Sender | Receiver | None = None

    def opened(self, wire: Wire) -> None:
        """Somebody has opened it; who had it before loses it."""
        if self._wire is not None:
            self._wire.fail(Aborted(f"stream {self._name!r}: it was opened anew by somebody else"))
        self._wire, wire.owner = wire, self
        self._early.clear()
        self._closed = False
        wire.send(packed(Empty()))
        if self._end is not None:
            self._end.join(wire)

    def serve(self, end: Sender | Receiver) -> None:
        """The process's end is there."""
        self._end = end
        if self._wire is not None:
            end.join(self._wire)
            early, self._early = self._early, []
            for data in early:
                self.got(self._wire, data)
            if self._closed:
                self.closed(self._wire)

    def done(self) -> None:
        """The process wants it no more."""
        self._end = None
        self._streams.forget(self._name, self)
        if self._wire is not None:
            self._wire.end()

    def got(self, wire: Wire, data: bytes) -> None:
        try:
            if self._end is not None:
                self._end.got(data)
            elif len(self._early) < _EARLY_MAX:
                self._early.append(data)
            else:
                raise ResourceExhausted(f"stream {self._name!r}: {_EARLY_MAX} messages came before its process")
        except Exception as error:
            wire.fail(error)
            self.lost(wire)

    def closed(self, wire: Wire) -> None:
        self._closed = True
        if isinstance(self._end, Receiver):
            self._end.closed()
        elif self._end is not None:  # who reads no more has left
            wire.end()
            self.lost(wire)

    def lost(self, wire: Wire) -> None:
        if wire is not self._wire:
            return
        self._wire = None
        if self._end is not None:
            self._end.left()
        elif not self.claimed:
            self._streams.forget(self._name, self)

    def drained(self, wire: Wire) -> None:
        if self._end is not None:
            self._end.drained()


_EARLY_MAX = 16


class Streaming:
    """All streams of a shim. Owns those whose first message has not come."""

    def __init__(self) -> None:
        self.path = ""
        """The shim's socket."""
        self._streams: dict[str, Stream] = {}
        self.methods: Mapping[str, Any] = {"Stream": (None, self)}

    def kept(self) -> Any:
        """What `take_up` needs."""
        return self._streams

    def take_up(self, state: Any) -> None:
        """Go on with what another worker had."""
        self._streams = state

    def claim(self, uri: str) -> Stream:
        """The stream that a process names as its own. Raises AlreadyExists, InvalidArgument, Unimplemented."""
        address, name = parsed(uri)
        if address and not self._is_own(address):
            raise InvalidArgument(
                f"stdio {uri!r}: not the address of this shim, ttrpc+unix://{self.path}: it serves its own streams only"
            )
        stream = self._stream(name)
        if stream.claimed:
            raise AlreadyExists(f"stdio {uri!r}: another process has that stream")
        stream.claimed = True
        return stream

    def forget(self, name: str, stream: Stream) -> None:
        """It is wanted no more."""
        if self._streams.get(name) is stream:
            del self._streams[name]

    def got(self, wire: Wire, data: bytes) -> None:
        try:
            init = unpacked(data, StreamInit)
            if init is None or not init.id:
                raise InvalidArgument("the first message of a stream is StreamInit, with an id")
            self._stream(init.id).opened(wire)
        except Exception as error:
            wire.fail(error)

    def closed(self, wire: Wire) -> None:
        wire.fail(InvalidArgument("the stream was closed before its StreamInit"))

    def lost(self, wire: Wire) -> None:
        """Nothing was begun."""

    def drained(self, wire: Wire) -> None:
        """Nothing was begun."""

    def _stream(self, name: str) -> Stream:
        if name not in self._streams:
            if len(self._streams) >= STREAMS_MAX:
                raise ResourceExhausted(f"stream {name!r}: this shim has {STREAMS_MAX} streams, the most it may have")
            self._streams[name] = Stream(self, name)
        return self._streams[name]

    def _is_own(self, address: str) -> bool:
        protocol, _, path = address.partition("+unix://")
        if not path:
            raise Unimplemented(f"stdio at {address!r}: this shim listens on a unix socket alone")
        return protocol == "ttrpc" and f"/{path.lstrip('/')}" == self.path
