"""Frames of SPDY/3.1 as bytes and back (draft-mbelshe-httpbis-spdy-00, section 2); no input or output here.

Header blocks stay compressed: their codec is the connection's.
"""

import struct
from collections.abc import Iterator

from corten.errors import InvalidArgument
from corten.values import dataclass

VERSION = 3
SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS = 1, 2, 3, 4
PING, GOAWAY, HEADERS, WINDOW_UPDATE = 6, 7, 8, 9
FLAG_FIN, FLAG_UNIDIRECTIONAL = 1, 2
PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL = 1, 2, 3, 5
"""Status codes of RST_STREAM."""

CONTROL_MAX = 256 << 10
"""Bytes of a control frame."""
DATA_MAX = 1 << 20
"""Bytes of a data frame that is passed on in one piece; a longer one comes in several."""
_HEAD = struct.Struct(">II")
_CONTROL = 0x80000000


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream."""

    stream: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Control:
    """Any control frame; `payload` begins after the length."""

    type: int
    flags: int
    payload: bytes

    def words(self, count: int) -> tuple[int, ...]:
        """The first 32-bit words of the payload, their highest bit cleared. Raises InvalidArgument if it is shorter."""
        try:
            return tuple(word & 0x7FFFFFFF for word in struct.unpack_from(f">{count}I", self.payload))
        except struct.error:
            raise InvalidArgument(f"SPDY: frame of type {self.type} with {len(self.payload)} bytes") from None


Frame = Data | Control


def data(stream: int, content: bytes, *, fin: bool = False) -> bytes:
    """A data frame, up to 16 MiB."""
    return _HEAD.pack(stream, (FLAG_FIN if fin else 0) << 24 | len(content)) + content


def control(type: int, payload: bytes, flags: int = 0) -> bytes:
    """A control frame."""
    return _HEAD.pack(_CONTROL | VERSION << 16 | type, flags << 24 | len(payload)) + payload


def syn_stream(stream: int, block: bytes, *, fin: bool = False) -> bytes:
    return control(SYN_STREAM, struct.pack(">IIBB", stream, 0, 0, 0) + block, FLAG_FIN if fin else 0)


def syn_reply(stream: int, block: bytes, *, fin: bool = False) -> bytes:
    return control(SYN_REPLY, struct.pack(">I", stream) + block, FLAG_FIN if fin else 0)


def rst_stream(stream: int, status: int) -> bytes:
    return control(RST_STREAM, struct.pack(">II", stream, status))


def ping(id: int) -> bytes:
    return control(PING, struct.pack(">I", id))


def goaway(last: int, status: int = 0) -> bytes:
    return control(GOAWAY, struct.pack(">II", last, status))


class FrameReader:
    """Cuts what arrives into frames."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._stream, self._left, self._fin = 0, 0, False

    def feed(self, arrived: bytes) -> Iterator[Frame]:
        """The frames that are complete with these bytes; data of a long frame also before it is complete.

        Raises InvalidArgument for what is no SPDY/3.
        """
        self._held += arrived
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        if self._left:
            return self._piece()
        if len(self._held) < _HEAD.size:
            return None
        first, second = _HEAD.unpack_from(self._held)
        length = second & 0xFFFFFF
        if not first & _CONTROL:
            del self._held[: _HEAD.size]
            self._stream, self._left, self._fin = first, length, bool(second >> 24 & FLAG_FIN)
            return self._piece() if length else Data(first, b"", self._fin)
        return self._control(first, second >> 24, length)

    def _piece(self) -> Data | None:
        """A whole data frame, or what is there of a very long one."""
        if not self._held or (len(self._held) < self._left and len(self._held) < DATA_MAX):
            return None
        content = bytes(self._held[: self._left])
        del self._held[: len(content)]
        self._left -= len(content)
        return Data(self._stream, content, self._fin and not self._left)

    def _control(self, first: int, flags: int, length: int) -> Control | None:
        if first >> 16 & 0x7FFF != VERSION:
            raise InvalidArgument(f"SPDY: version {first >> 16 & 0x7FFF}; only {VERSION} is understood")
        if length > CONTROL_MAX:
            raise InvalidArgument(f"SPDY: control frame of {length} bytes; at most {CONTROL_MAX} are taken")
        if len(self._held) < _HEAD.size + length:
            return None
        payload = bytes(self._held[_HEAD.size : _HEAD.size + length])
        del self._held[: _HEAD.size + length]
        return Control(first & 0xFFFF, flags, payload)
