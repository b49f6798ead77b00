"""Streams to the daemon: channels of typed messages under an id that a request then names."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from corten.api.services.streaming.v1 import streaming_pb2 as pb
from corten.errors import Unavailable

from .calls import Calls, methods

_RPC = methods(pb, "Streaming")


class ClientStream:
    """One open stream; `id` is what requests call it."""

    def __init__(self, calls: Calls, id: str) -> None:
        self.id = id
        self._requests: asyncio.Queue[AnyMessage | None] = asyncio.Queue()
        self._answers: AsyncIterator[Any] = calls.bidi(_RPC["Stream"], self._drawn())

    async def open(self) -> None:
        """Make it known to the daemon."""
        self.send(pb.StreamInit(id=self.id))
        if await self.receive() is None:
            raise Unavailable(f"stream {self.id!r}: the daemon ended it at once")

    def send(self, message: Message) -> None:
        """Queue a message; who sends much waits for the other side's windows."""
        self._requests.put_nowait(
            AnyMessage(type_url=str(message.DESCRIPTOR.full_name), value=message.SerializeToString())
        )

    async def receive(self) -> AnyMessage | None:
        """The next message of the daemon; None when it has ended the stream."""
        found: AnyMessage | None = await anext(self._answers, None)
        return found

    def finish(self) -> None:
        """Send no more."""
        self._requests.put_nowait(None)

    async def close(self) -> None:
        self.finish()
        await self._answers.aclose()  # type: ignore[attr-defined]

    async def _drawn(self) -> AsyncIterator[AnyMessage]:
        while (message := await self._requests.get()) is not None:
            yield message


@asynccontextmanager
async def stream(calls: Calls, purpose: str) -> AsyncIterator[ClientStream]:
    """A new stream, closed at the end."""
    made = ClientStream(calls, f"{purpose}-{secrets.token_hex(8)}")
    try:
        await made.open()
        yield made
    finally:
        await asyncio.shield(made.close())
