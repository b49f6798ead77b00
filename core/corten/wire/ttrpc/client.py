"""A ttrpc client: many calls at once on one connection, and a clear end for all of them when it breaks.

client = await TtrpcClient.connect("/run/corten/shim.sock")
state = await client.call("containerd.task.v3.Task", "State", StateRequest(id="a"), StateResponse, timeout=5)
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from corten.api.ttrpc.request_pb2 import KeyValue, Request, Response
from corten.errors import CortenError, DeadlineExceeded, Unavailable, Unknown, from_code

from .. import virtual
from ..address import socket_path
from .connection import FrameConnection
from .frames import DATA, NO_DATA, REMOTE_CLOSED, REQUEST, RESPONSE, Frame, Oversized, encode

M = TypeVar("M", bound=Message)
Closed = Callable[[CortenError | None], None]

_MAX_STREAM = 0xFFFFFFFF
_STREAM_BACKLOG = 1024
"""Messages of one stream that wait for their reader; one more breaks the stream."""


class TtrpcClient:
    """A connection to one server. A call that waits costs a future, no thread.

    Every call raises the error of `corten.errors` that the server answered with; DeadlineExceeded after `timeout`
    seconds; Unavailable when the connection is closed or breaks, also for all calls that wait at that moment;
    ResourceExhausted for a request of over 4 MiB. ttrpc has no cancellation: a cancelled call is only forgotten.
    """

    def __init__(self, name: str, on_close: Closed | None = None) -> None:
        self.name = name
        self.connection = FrameConnection(self._received, self._lost)
        self._on_close = on_close
        self._last = -1
        self._waiting: dict[int, asyncio.Queue[Frame | CortenError]] = {}
        self._calls: dict[int, asyncio.Future[Frame]] = {}
        self._gone: CortenError | None = None
        self._end = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"TtrpcClient({self.name}, {'closed' if self.closed else f'{len(self._calls)} calls'})"

    @classmethod
    async def connect(cls, path: str, *, timeout: float | None = 10.0, on_close: Closed | None = None) -> "TtrpcClient":
        """Connect to the socket at `path` (or `unix://path`, or one of a virtual machine, see `virtual`).

        `on_close` is called once when the connection has ended, with the reason if there is one.
        Raises Unavailable, also after `timeout` seconds.
        """
        machine = path.startswith(virtual.SCHEMES)
        path = path if machine else socket_path(path.removeprefix("unix://"))
        client = cls(path, on_close)
        try:
            async with asyncio.timeout(timeout):
                await _open(client, path, machine)
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or error or f"no answer in {timeout} s"
            raise Unavailable(f"ttrpc socket {path}: cannot connect: {reason}") from error
        return client

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._end.done()

    async def wait_closed(self, timeout: float) -> None:
        """Until the connection has ended, at most so many seconds. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            await asyncio.shield(self._end)

    async def close(self) -> None:
        """End the connection; calls that wait fail with Unavailable."""
        self._gone = self._gone or Unavailable(f"{self.name}: the connection was closed")
        if self.connection.transport is None:
            return
        self.connection.close()
        await asyncio.shield(self._end)

    async def call(
        self,
        service: str,
        method: str,
        request: Message,
        response_type: type[M],
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> M:
        """One request, one reply."""
        frame = await self._answer(_request(service, method, request, timeout, metadata or {}), timeout)
        return _reply(frame.data, response_type, f"{service}/{method}")

    async def stream(
        self,
        service: str,
        method: str,
        request: Message,
        response_type: type[M],
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> AsyncIterator[M]:
        """One request, many replies."""
        stream, frames, streamed = self._next(), asyncio.Queue[Frame | CortenError](), False
        self._waiting[stream] = frames
        try:
            self._send(stream, _request(service, method, request, timeout, metadata or {}), REMOTE_CLOSED)
            while (frame := await frames.get()) and isinstance(frame, Frame) and frame.kind == DATA:
                if not frame.flags & NO_DATA:
                    streamed = True
                    yield response_type.FromString(frame.data)
                if frame.flags & REMOTE_CLOSED:
                    return
            if isinstance(frame, CortenError):
                raise frame
            reply = _reply(frame.data, response_type, f"{service}/{method}")
            if not streamed:  # after data it only says that the stream is over
                yield reply
        finally:
            self._waiting.pop(stream, None)

    async def _answer(self, request: Request, timeout: float | None) -> Frame:
        stream, answer = self._next(), asyncio.get_running_loop().create_future()
        self._calls[stream] = answer
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                self._send(stream, request, 0)
                await self.connection.drain()
                frame: Frame = await answer
                return frame
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                f"{self.name}: {request.service}/{request.method}: no answer in {timeout:g} s"
            ) from None
        finally:
            self._calls.pop(stream, None)

    def _send(self, stream: int, request: Request, flags: int) -> None:
        if self._gone:
            raise self._gone
        self.connection.send(encode(stream, REQUEST, request.SerializeToString(), flags))

    def _next(self) -> int:
        self._last += 2
        if self._last > _MAX_STREAM:
            self.connection.fail(Unavailable(f"{self.name}: the connection has used up its stream ids"))
        return self._last

    def _received(self, event: Frame | Oversized) -> None:
        if answer := self._calls.get(event.stream):
            if answer.done():
                return
            if isinstance(event, Oversized):
                answer.set_exception(Unknown(f"{self.name}: {event.message}"))
            elif event.kind == RESPONSE:
                answer.set_result(event)
        elif frames := self._waiting.get(event.stream):
            self._queue(frames, event)

    def _queue(self, frames: asyncio.Queue[Frame | CortenError], event: Frame | Oversized) -> None:
        if isinstance(event, Oversized):
            frames.put_nowait(Unknown(f"{self.name}: {event.message}"))
        elif frames.qsize() >= _STREAM_BACKLOG:
            self._waiting.pop(event.stream, None)
            frames.put_nowait(Unavailable(f"{self.name}: {_STREAM_BACKLOG} messages of a stream were left unread"))
        else:
            frames.put_nowait(event)

    def _lost(self, reason: CortenError | None) -> None:
        text = f"{self.name}: {reason.message if reason else 'the server closed the connection'}"
        self._gone = self._gone or Unavailable(text)
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(Unavailable(self._gone.message))
        for frames in self._waiting.values():
            frames.put_nowait(Unavailable(self._gone.message))
        self._end.set_result(None)
        if self._on_close:
            self._on_close(reason)


async def _open(client: TtrpcClient, path: str, machine: bool) -> None:
    loop = asyncio.get_running_loop()
    if not machine:
        await loop.create_unix_connection(lambda: client.connection, path)
        return
    await loop.create_unix_connection(lambda: client.connection, sock=await virtual.connect(path))


def _request(
    service: str, method: str, request: Message, timeout: float | None, metadata: Mapping[str, str]
) -> Request:
    return Request(
        service=service,
        method=method,
        payload=request.SerializeToString(),
        timeout_nano=0 if timeout is None else max(1, int(timeout * 1e9)),
        metadata=[KeyValue(key=key, value=value) for key, value in metadata.items()],
    )


def _reply(data: bytes, response_type: type[M], path: str) -> M:
    try:
        response = Response.FromString(data)
        if response.status.code:
            raise from_code(response.status.code, response.status.message)
        return response_type.FromString(response.payload)
    except DecodeError as error:
        raise Unknown(f"{path}: the answer cannot be read: {error}") from error
