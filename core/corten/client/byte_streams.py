"""Archives to and from the daemon: bytes over a stream, with windows that the receiver grants."""

import asyncio
from typing import BinaryIO

from corten.api.types.transfer.streaming_pb2 import Data, WindowUpdate
from corten.errors import Unavailable

from .streams import ClientStream

MOST = 1 << 18
"""Bytes of one message that is sent."""
WINDOW = 1 << 20
"""Bytes that may be on their way to this client."""


async def send_file(stream: ClientStream, file: BinaryIO) -> None:
    """Send the file to its end, as fast as the daemon takes it; returns early if the daemon ends the stream."""
    window = 0
    while data := await asyncio.to_thread(file.read, MOST):
        view = memoryview(data)
        while view:
            while window <= 0:
                if (message := await stream.receive()) is None:
                    return
                window += WindowUpdate.FromString(message.value).update
            size = min(len(view), window)
            stream.send(Data(data=bytes(view[:size])))
            window -= size
            view = view[size:]
    stream.finish()


async def receive_file(stream: ClientStream, file: BinaryIO) -> None:
    """Write what the daemon sends to the file, to its end. Raises OSError."""
    granted = 0
    while True:
        if granted <= WINDOW // 2:
            stream.send(WindowUpdate(update=WINDOW - granted))
            granted = WINDOW
        if (message := await stream.receive()) is None:
            return
        data = Data.FromString(message.value).data
        granted -= len(data)
        if granted < -WINDOW:
            raise Unavailable(f"stream {stream.id!r}: the daemon sends more than it was granted")
        await asyncio.to_thread(file.write, data)
