"""The frames of ttrpc as bytes: encoding, and a decoder that takes any bytes in any pieces; no I/O.

A frame is a header of 10 bytes (data length u32, stream id u32, both big-endian; type u8; flags u8) and its data, at
most 4 MiB. Source: PROTOCOL.md of github.com/containerd/ttrpc (versions 1.0 unary, 1.2 streaming). Client streams
have odd ids that only grow. Frames of an unknown type are for later versions of the protocol: whoever gets one
ignores it.

    decoder = Decoder()
    for event in decoder.feed(received):
        ...                                     # Frame or Oversized
    sock.sendall(encode(stream, RESPONSE, data))
"""

from struct import Struct

from corten.errors import InvalidArgument, ResourceExhausted
from corten.values import dataclass

HEADER = Struct(">IIBB")
HEADER_SIZE = HEADER.size
MAX_DATA = 4 << 20
"""Bytes of data in one frame."""
MAX_SKIPPED = (1 << 24) - 1
"""Bytes of an oversized frame that are read and dropped: the first byte of a header is reserved and zero."""

REQUEST, RESPONSE, DATA = 1, 2, 3

REMOTE_CLOSED = 0x01
"""On requests and data: the sender sends no more data on this stream."""
REMOTE_OPEN = 0x02
"""On a request: not unary, data follows."""
NO_DATA = 0x04
"""On data: there is no message in this frame, not even an empty one."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; `kind` is its type byte."""

    stream: int
    kind: int
    flags: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Oversized:
    """A frame of more than `MAX_DATA` bytes: its data is dropped, and the stream can be answered."""

    stream: int
    length: int

    @property
    def message(self) -> str:
        """The sentence for the peer."""
        return f"ttrpc message of {self.length} bytes on stream {self.stream}: more than the {MAX_DATA} allowed"


def encode(stream: int, kind: int, data: bytes = b"", flags: int = 0) -> bytes:
    """Header and data. Raises ResourceExhausted for data of more than `MAX_DATA` bytes."""
    if len(data) > MAX_DATA:
        raise ResourceExhausted(Oversized(stream, len(data)).message)
    return HEADER.pack(len(data), stream, kind, flags) + data


class Decoder:
    """Bytes in, frames out; holds what is incomplete, never more than one frame."""

    __slots__ = ("_buffer", "_skip")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0

    def __repr__(self) -> str:
        return f"Decoder(held={len(self._buffer)}, skipping={self._skip})"

    @property
    def idle(self) -> bool:
        """Whether the peer may go away now without cutting a frame in two."""
        return not self._buffer and not self._skip

    def feed(self, received: bytes | bytearray | memoryview) -> list[Frame | Oversized]:
        """Every frame that is complete now.

        Raises InvalidArgument when the bytes are not ttrpc; the connection is of no further use then.
        """
        self._buffer += received
        events: list[Frame | Oversized] = []
        while event := self._next():
            events.append(event)
        return events

    def _next(self) -> Frame | Oversized | None:
        self._drop()
        if self._skip or len(self._buffer) < HEADER_SIZE:
            return None
        length, stream, kind, flags = HEADER.unpack_from(self._buffer)
        if length > MAX_DATA:
            return self._oversized(stream, length)
        end = HEADER_SIZE + length
        if len(self._buffer) < end:
            return None
        data = bytes(memoryview(self._buffer)[HEADER_SIZE:end])
        del self._buffer[:end]
        return Frame(stream, kind, flags, data)

    def _oversized(self, stream: int, length: int) -> Oversized:
        if length > MAX_SKIPPED:
            raise InvalidArgument(f"ttrpc header says {length} bytes: the peer does not speak ttrpc")
        self._skip = HEADER_SIZE + length
        return Oversized(stream, length)

    def _drop(self) -> None:
        dropped = min(self._skip, len(self._buffer))
        del self._buffer[:dropped]
        self._skip -= dropped
