"""Bytes over a stream of messages, with windows: who receives says how many bytes may come (`WindowUpdate`)."""

import asyncio
from contextlib import suppress

from corten.api.types.transfer.streaming_pb2 import Data, WindowUpdate
from corten.contracts.streaming import Stream
from corten.errors import InvalidArgument, Unavailable
from corten.messages.transfer import packed
from google.protobuf.message import DecodeError

MOST = 32 << 10
"""Bytes of one message."""
WINDOW = 1 << 20
"""Bytes that may be on their way from a client; containerd grants 64 KiB."""
LINGER = 5.0
"""Seconds in which a client must take what is left at the end."""
HEADWAY = 0.05
"""Seconds that a client has to write what has reached it by then."""
_DATA = str(Data.DESCRIPTOR.full_name)
_UPDATE = str(WindowUpdate.DESCRIPTOR.full_name)


class StreamReader:
    """Fulfils `ByteReader`: what a client sends."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._granted = 0

    async def read(self) -> bytes:
        if self._granted <= WINDOW // 2:
            await self._stream.send(packed(WindowUpdate(update=WINDOW - self._granted)))
            self._granted = WINDOW
        while (message := await self._stream.receive()) is not None:
            if message.type_url.rpartition("/")[2] != _DATA:
                continue
            try:
                data = Data.FromString(message.value).data
            except DecodeError as error:
                raise InvalidArgument(f"archive: the client sent a damaged message: {error}") from error
            self._granted -= len(data)
            if data:
                return data
        return b""


class StreamWriter:
    """Fulfils `ByteWriter`: what a client receives."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._window = 0

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            while self._window <= 0:
                self._window += await self._update()
            size = min(len(view), self._window, MOST)
            await self._stream.send(packed(Data(data=bytes(view[:size]))))
            self._window -= size
            view = view[size:]

    async def close(self) -> None:
        await asyncio.shield(self._stream.close())
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stream.finished(), LINGER)
        # containerd's clients drop what they have not read yet when the transfer is answered.
        await asyncio.sleep(HEADWAY)

    async def _update(self) -> int:
        message = await self._stream.receive()
        if message is None:
            raise Unavailable("archive: the client takes no more of it")
        if message.type_url.rpartition("/")[2] != _UPDATE:
            return 0
        try:
            return max(0, WindowUpdate.FromString(message.value).update)
        except DecodeError as error:
            raise InvalidArgument(f"archive: the client sent a damaged message: {error}") from error
