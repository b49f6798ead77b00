"""A client of a shim's streams that speaks bytes put together by hand, after PROTOCOL.md of ttrpc and the .protos."""

import asyncio
import struct

STREAM = b"containerd.services.streaming.v1.Streaming"
REQUEST, RESPONSE, DATA = 1, 2, 3
CLOSED, OPEN, EMPTY = 1, 2, 4


def field(number: int, value: bytes | int) -> bytes:
    """One field of a message: a varint, or bytes with their length (protobuf.dev/programming-guides/encoding)."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def any_of(name: bytes, value: bytes) -> bytes:
    return field(1, name) + (field(2, value) if value else b"")


def init(id: str) -> bytes:
    return any_of(b"containerd.services.streaming.v1.StreamInit", field(1, id.encode()))


def update(count: int) -> bytes:
    return any_of(b"containerd.types.transfer.WindowUpdate", field(1, count))


def data(piece: bytes) -> bytes:
    return any_of(b"containerd.types.transfer.Data", field(1, piece))


ACK = any_of(b"google.protobuf.Empty", b"")


class HandStreams:
    """One connection. Frames arrive in `frames`, as (stream, kind, flags, bytes)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._last = reader, writer, -1
        self.frames: asyncio.Queue[tuple[int, int, int, bytes]] = asyncio.Queue()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, path: str) -> "HandStreams":
        return cls(*await asyncio.open_unix_connection(path))

    async def open(self, id: str) -> int:
        """Open a stream and see it acknowledged; returns its number."""
        stream = self.begin()
        self.send(stream, init(id))
        assert await self.next() == (stream, DATA, 0, ACK)
        return stream

    def begin(self, flags: int = OPEN) -> int:
        self._last += 2
        self.frame(self._last, REQUEST, flags, field(1, STREAM) + field(2, b"Stream"))
        return self._last

    def send(self, stream: int, message: bytes) -> None:
        self.frame(stream, DATA, 0, message)

    def close_send(self, stream: int) -> None:
        self.frame(stream, DATA, CLOSED | EMPTY, b"")

    def frame(self, stream: int, kind: int, flags: int, message: bytes) -> None:
        self._writer.write(struct.pack(">IIBB", len(message), stream, kind, flags) + message)

    async def next(self) -> tuple[int, int, int, bytes]:
        async with asyncio.timeout(20):
            return await self.frames.get()

    async def leave(self) -> None:
        self._writer.close()
        await self._task

    async def _read(self) -> None:
        try:
            while True:
                length, stream, kind, flags = struct.unpack(">IIBB", await self._reader.readexactly(10))
                self.frames.put_nowait((stream, kind, flags, await self._reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            self._writer.close()


def piece_in(message: bytes) -> bytes:
    """The bytes of a Data message in an Any."""
    head = any_of(b"containerd.types.transfer.Data", b"")
    assert message.startswith(head + b"\x12"), message[:80]
    value = _chunk(message[len(head) + 1 :])
    assert value.startswith(b"\x0a")
    return _chunk(value[1:])


def _chunk(text: bytes) -> bytes:
    """Bytes with their length before them, and nothing after."""
    length = shift = at = 0
    while True:
        length |= (text[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if not text[at - 1] & 128:
            break
    assert len(text) == at + length
    return text[at:]
