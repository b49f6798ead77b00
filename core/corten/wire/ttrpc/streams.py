"""One call on a ttrpc server: reads the requests of its stream, runs the method, writes the replies and the end."""

import asyncio
import time

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

    def __init__(self, id: int, method: Method, request: Request, flags: int, connection: FrameConnection, peer: str):
        self.id = id
        self.method = method
        self.call = TtrpcCall(request, peer)
        self.stopping = False
        self._connection = connection
        self._payload = request.payload
        self._requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._open = bool(flags & REMOTE_OPEN)
        if method.client_streaming:
            self._begin()

    def __repr__(self) -> str:
        return f"Stream({self.id}, {self.call!r})"

    def feed(self, frame: Frame) -> None:
        """Data for the service. Raises ResourceExhausted if it has too much already, Unavailable after the end."""
        if not self._open:
            raise Unavailable(f"stream {self.id} takes no more data")
        if not frame.flags & NO_DATA:
            if self._requests.qsize() >= STREAM_BACKLOG:
                raise ResourceExhausted(f"{self.method.path}: {STREAM_BACKLOG} requests wait for the service already")
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
            with server_span(self.method.path, self.call.metadata):
                await self._within_deadline(running)
        except asyncio.CancelledError:
            if interrupted() and not self.stopping:
                raise
            why = "the daemon stops" if self.stopping else "the service was cancelled by itself"
            self._end(status_of(Unavailable(f"{self.method.path}: {why}"), self.method.path))
        except Exception as error:
            self._end(status_of(error, self.method.path))

    async def _within_deadline(self, running: Running) -> None:
        deadline = self.call.deadline
        limit = asyncio.timeout(None if deadline is None else deadline - time.monotonic())
        try:
            async with limit:
                await self._run(running)
        except TimeoutError:
            if not limit.expired():
                raise
            self.leave()
            raise DeadlineExceeded(f"{self.method.path}: not done by the client's deadline") from None

    async def _run(self, running: Running) -> None:
        match self.method.client_streaming, self.method.server_streaming:
            case False, False:
                self._answer(await running.unary(self.method, self._payload, self.call))
            case True, False:
                self._answer(await running.client_stream(self.method, self._requests.get, self.call))
            case False, True:
                await running.server_stream(self.method, self._payload, self.call, self._write)
                self._send(DATA, b"", REMOTE_CLOSED | NO_DATA)
            case True, True:
                await running.bidi(self.method, self._requests.get, self.call, self._write)
                self._send(DATA, b"", REMOTE_CLOSED | NO_DATA)

    def _begin(self) -> None:
        if self._payload:
            self._requests.put_nowait(self._payload)
        if not self._open:
            self._requests.put_nowait(None)

    def _answer(self, reply: Message) -> None:
        self._send(RESPONSE, Response(payload=_bytes(self.method, reply)).SerializeToString())

    async def _write(self, reply: Message) -> None:
        self._send(DATA, _bytes(self.method, reply))
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


def _bytes(method: Method, reply: object) -> bytes:
    if not isinstance(reply, Message):
        raise Unknown(f"{method.path}: the service answered with {type(reply).__name__}, not a message")
    return reply.SerializeToString()
