"""The service `Streaming`: channels of typed messages that other services use by their ids.

A client sends `StreamInit` first and is answered with an empty message once the stream can be found.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from corten.api.services.streaming.v1 import streaming_pb2 as pb
from corten.contracts.objects import AnyValue
from corten.contracts.streaming import StreamManager
from corten.errors import Cancelled, CortenError, InvalidArgument, Unavailable
from corten.messages.values import any_message, any_value
from corten.wire.service import CallContext, cancellable
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

AHEAD = 16
"""Messages that may wait in each direction."""
_INIT = str(pb.StreamInit.DESCRIPTOR.full_name)
_EMPTY = Any(type_url="google.protobuf.Empty")


class StreamingService:
    """A thin layer over the open streams."""

    def __init__(self, streams: StreamManager) -> None:
        self._streams = streams

    @cancellable
    async def stream(self, requests: AsyncIterator[Any], call: CallContext) -> AsyncIterator[Any]:
        """Raises InvalidArgument for another first message, AlreadyExists for an id that is taken."""
        scope, id = call.scope(), _id(await anext(requests, None))
        stream = WireStream(id)
        self._streams.register(scope, id, stream)
        feeding = asyncio.get_running_loop().create_task(stream.feed(requests), name=f"stream {id[:80]}")
        try:
            yield _EMPTY
            while (message := await stream.outgoing()) is not None:
                yield any_message(message)
        finally:
            self._streams.release(scope, id, stream)
            stream.end()
            feeding.cancel()
            with suppress(asyncio.CancelledError):
                await feeding


class WireStream:
    """Fulfils `Stream`: two queues between a call and whoever uses its stream."""

    def __init__(self, id: str) -> None:
        self._id = id
        self._out: asyncio.Queue[AnyValue | None] = asyncio.Queue(AHEAD)
        self._in: asyncio.Queue[AnyValue | CortenError | None] = asyncio.Queue(AHEAD)
        self._closing = False
        self._finished = False
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        return f"WireStream({self._id!r}{', closing' if self._closing else ''})"

    async def send(self, message: AnyValue) -> None:
        if not self._closing:
            await self._out.put(message)
        if self._closing:
            raise Unavailable(f"stream {self._id!r}: it has ended")

    async def receive(self) -> AnyValue | None:
        """What came before the end is still given."""
        message = None if self._finished else await self._in.get()
        self._finished = self._finished or message is None
        if isinstance(message, CortenError):
            raise message
        return message

    async def close(self) -> None:
        if not self._closing:
            self._closing = True
            await self._out.put(None)

    async def finished(self) -> None:
        await self._over.wait()

    async def outgoing(self) -> AnyValue | None:
        """The next message for the client; None when the stream was closed."""
        return await self._out.get()

    async def feed(self, requests: AsyncIterator[Any]) -> None:
        """Take in what the client sends, to its end."""
        try:
            async for message in requests:
                await self._in.put(any_value(message))
        except CortenError as error:
            await self._in.put(Cancelled(f"stream {self._id!r}: the client went away: {error.message}"))
        else:
            await self._in.put(None)

    def end(self) -> None:
        """The call is over: wake whoever still waits to send or to receive."""
        self._closing = True
        self._over.set()
        while not self._out.empty():
            self._out.get_nowait()
        if self._in.full():
            self._in.get_nowait()
        self._in.put_nowait(None)


def _id(first: Any | None) -> str:
    try:
        if first is not None and first.type_url.rpartition("/")[2] == _INIT:
            return pb.StreamInit.FromString(first.value).id
    except DecodeError:
        pass
    raise InvalidArgument(f"stream: the first message must be {_INIT}")
