"""One call on a ttrpc server: reads the requests of its stream, runs the method, writes the replies and the end."""

import asyncio
import time
from collections.abc import Awaitable

from google.protobuf.message import Message

from corten.api.ttrpc.request_pb2 import Request, Response
from corten.errors import CortenError, DeadlineExceeded, ResourceExhausted, Unavailable, Unknown
from corten.tracing import server_span

from ..methods import Method
from ..running import Running, interrupted
from ..status import Status, status_of
from .call import TtrpcCall
from .connection import FrameConnection
from .frames import DATA, NO_DATA, REMOTE_CLOSED, REMOTE_OPEN, RESPONSE, Frame, encode

STREAM_BACKLOG = 64
"""Requests of one stream that wait for the service; one more ends the stream."""


class Stream:
    """A call under way; `serve` is its task, `feed` gives it what arrives on its stream id."""

    def __init__(
        self, frame: Frame, request: Request, method: Method | Awaitable[Method], connection: FrameConnection, peer: str
    ) -> None:
        """`frame` is the one that `request` came in; a method that is awaited is one whose service still starts."""
        self.id = frame.stream
        self.call = TtrpcCall(request, peer)
        self._method = method
        self.stopping = False
        self._connection = connection
        self._payload = request.payload
        self._requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._open = bool(frame.flags & REMOTE_OPEN)
        self._begin()

    def __repr__(self) -> str:
        return f"Stream({self.id}, {self.call!r})"

    @property
    def stops_at_once(self) -> bool:
        """Whether the daemon ends it when it stops, instead of waiting for its end."""
        return not isinstance(self._method, Method) or self._method.stops_at_once

    def feed(self, frame: Frame) -> None:
        """Data for the service. Raises ResourceExhausted if it has too much already, Unavailable after the end."""
        if not self._open:
            raise Unavailable(f"stream {self.id} takes no more data")
        if not frame.flags & NO_DATA:
            if self._requests.qsize() >= STREAM_BACKLOG:
                raise ResourceExhausted(f"{self.call.method}: {STREAM_BACKLOG} requests wait for the service already")
            self._requests.put_nowait(frame.data)
        if frame.flags & REMOTE_CLOSED:
            self._open = False
            self._requests.put_nowait(None)

    def leave(self) -> None:
        """The client is gone."""
        self.call.client_gone = True
        self._requests.put_nowait(None)

    async def serve(self, running: Running) -> None:
        """Run the call to its end and answer it. Raises only CancelledError."""
        try:
            with server_span(self.call.method, self.call.metadata):
                await self._within_deadline(running)
        except asyncio.CancelledError:
            if interrupted() and not self.stopping:
                raise
            why = "the daemon stops" if self.stopping else "the service was cancelled by itself"
            self._end(status_of(Unavailable(f"{self.call.method}: {why}"), self.call.method))
        except Exception as error:
            self._end(status_of(error, self.call.method))

    async def _within_deadline(self, running: Running) -> None:
        deadline = self.call.deadline
        limit = asyncio.timeout(None if deadline is None else deadline - time.monotonic())
        try:
            async with limit:
                if not isinstance(self._method, Method):
                    self._method = await self._method
                await self._run(running, self._method)
        except TimeoutError:
            if not limit.expired():
                raise
            self.leave()
            raise DeadlineExceeded(f"{self.call.method}: not done by the client's deadline") from None

    async def _run(self, running: Running, method: Method) -> None:
        match method.client_streaming, method.server_streaming:
            case False, False:
                self._answer(await running.unary(method, self._payload, self.call))
            case True, False:
                self._answer(await running.client_stream(method, self._requests.get, self.call))
            case False, True:
                await running.server_stream(method, self._payload, self.call, self._write)
                self._send(DATA, b"", REMOTE_CLOSED | NO_DATA)
            case True, True:
                await running.bidi(method, self._requests.get, self.call, self._write)
                self._send(DATA, b"", REMOTE_CLOSED | NO_DATA)

    def _begin(self) -> None:
        if self._payload:
            self._requests.put_nowait(self._payload)
        if not self._open:
            self._requests.put_nowait(None)

    def _answer(self, reply: Message) -> None:
        self._send(RESPONSE, Response(payload=_bytes(self.call.method, reply)).SerializeToString())

    async def _write(self, reply: Message) -> None:
        self._send(DATA, _bytes(self.call.method, reply))
        await self._connection.drain()

    def _send(self, kind: int, data: bytes, flags: int = 0) -> None:
        self._connection.send(encode(self.id, kind, data, flags))

    def _end(self, status: Status) -> None:
        try:
            self._connection.send(refusal(self.id, status))
        except CortenError:  # the connection is gone: nobody is left to tell
            self.call.client_gone = True


def refusal(stream: int, status: Status) -> bytes:
    """The frame that ends a stream with an error."""
    response = Response()
    response.status.code, response.status.message = status.code, status.text
    return encode(stream, RESPONSE, response.SerializeToString())


def _bytes(path: str, reply: object) -> bytes:
    if not isinstance(reply, Message):
        raise Unknown(f"{path}: the service answered with {type(reply).__name__}, not a message")
    return reply.SerializeToString()
