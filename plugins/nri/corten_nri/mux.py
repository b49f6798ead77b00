"""Two ttrpc connections on one socket: frames of `connection id u32, length u32` (big-endian) and that many bytes.

Source: pkg/net/multiplex of github.com/containerd/nri. Connection 1 is the one on which the plugin serves, 2 the one
on which the runtime does. The reader of Go's side takes a frame only if it fits into the buffer it happens to read
with, which is one of 4,096 bytes or what is missing of a message: so a message goes in a first frame of at most that,
and one with the rest.
"""

import asyncio
from collections.abc import Mapping
from struct import Struct
from typing import cast

from corten.errors import InvalidArgument
from corten.wire.ttrpc.connection import FrameConnection

PLUGIN, RUNTIME = 1, 2
HEADER = Struct(">II")
MAX_PAYLOAD = 10 + (4 << 20)
"""Bytes of one frame: a whole ttrpc message with its header."""
FIRST = 4096
"""Bytes of the first frame of a message."""


class Trunk(asyncio.Protocol):
    """The socket; `lanes` are the connections on it by their ids."""

    def __init__(self, lanes: Mapping[int, FrameConnection]) -> None:
        self._lanes = dict(lanes)
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        for id, lane in self._lanes.items():
            lane.connection_made(Lane(id, self._transport))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (payload := self._next()) is not None:
            id, part = payload
            if (lane := self._lanes.get(id)) is not None and lane.transport is not None:
                lane.data_received(part)

    def connection_lost(self, error: Exception | None) -> None:
        for lane in self._lanes.values():
            if lane.transport is not None:
                lane.connection_lost(error)

    def pause_writing(self) -> None:
        for lane in self._lanes.values():
            lane.pause_writing()

    def resume_writing(self) -> None:
        for lane in self._lanes.values():
            lane.resume_writing()

    def _next(self) -> tuple[int, bytes] | None:
        if len(self._buffer) < HEADER.size:
            return None
        id, length = HEADER.unpack_from(self._buffer)
        if length > MAX_PAYLOAD:
            self._fail(length)
            return None
        end = HEADER.size + length
        if len(self._buffer) < end:
            return None
        part = bytes(memoryview(self._buffer)[HEADER.size : end])
        del self._buffer[:end]
        return id, part

    def _fail(self, length: int) -> None:
        self._buffer.clear()
        error = InvalidArgument(f"a frame of {length} bytes: the peer does not speak NRI")
        for lane in self._lanes.values():
            lane.fail(error)


class Lane(asyncio.Transport):
    """What a connection of the trunk writes to; closing one closes the trunk, as one is of no use without the other."""

    def __init__(self, id: int, trunk: asyncio.Transport) -> None:
        super().__init__()
        self._id = id
        self._trunk = trunk

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """One ttrpc message."""
        for part in (data[:FIRST], data[FIRST:]):
            if part:
                self._trunk.write(HEADER.pack(self._id, len(part)) + bytes(part))

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._trunk.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._trunk.is_closing()

    def close(self) -> None:
        self._trunk.close()

    def abort(self) -> None:
        self._trunk.abort()

    def pause_reading(self) -> None:
        self._trunk.pause_reading()

    def resume_reading(self) -> None:
        self._trunk.resume_reading()
