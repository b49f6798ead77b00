"""One client of a ttrpc server: checks every frame that comes, starts calls, and ends them when the client goes."""

import asyncio
import logging
import socket
import struct
import sys
from collections.abc import Callable

from google.protobuf.message import DecodeError

from corten.api.ttrpc.request_pb2 import Request
from corten.errors import CortenError, InvalidArgument, ResourceExhausted, Unavailable

from ..catalogue import Catalogue
from ..running import Running
from ..status import Status, status_of
from .connection import FrameConnection
from .frames import DATA, REMOTE_CLOSED, REQUEST, Frame, Oversized
from .streams import Stream, refusal

log = logging.getLogger(__name__)


class Peer:
    """A connected client. Whatever it sends is answered on its stream, ignored, or ends this one connection."""

    def __init__(
        self, catalogue: Catalogue, running: Running, max_calls: int, stall: float, gone: Callable[["Peer"], None]
    ) -> None:
        self.connection = FrameConnection(self._received, self._lost, stall)
        self._catalogue, self._running, self._max_calls, self._gone = catalogue, running, max_calls, gone
        self._last = 0
        self._name = ""
        self._streams: dict[int, tuple[Stream, asyncio.Task[None]]] = {}

    def __repr__(self) -> str:
        return f"Peer({self.name}, {len(self._streams)} calls)"

    @property
    def name(self) -> str:
        """`unix:pid=…,uid=…` of the process that connected."""
        if not self._name and self.connection.transport:
            self._name = _credentials(self.connection.transport.get_extra_info("socket"))
        return self._name

    def interrupt(self) -> None:
        """End the calls that only read or wait, because the daemon stops."""
        for stream, task in self._streams.values():
            if stream.stops_at_once:
                stream.stopping = True
                task.cancel()

    async def finish(self, grace: float) -> None:
        """Wait for the calls under way, cancel what is left after `grace` seconds, and hang up."""
        tasks = [task for _, task in self._streams.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
        self.connection.close()
        self._leave()

    def _received(self, event: Frame | Oversized) -> None:
        try:
            if isinstance(event, Oversized):
                raise ResourceExhausted(event.message)
            if event.kind == REQUEST:
                self._start(event)
            elif event.kind == DATA:
                self._feed(event)
        except CortenError as error:
            self._refuse(event.stream, status_of(error, f"ttrpc stream {event.stream} of {self.name}"))

    def _start(self, frame: Frame) -> None:
        if frame.stream % 2 == 0:
            raise InvalidArgument(f"stream id {frame.stream}: a client's ids are odd")
        if frame.stream <= self._last:
            raise InvalidArgument(f"stream id {frame.stream}: ids only grow, the last one was {self._last}")
        self._last = frame.stream
        if len(self._streams) >= self._max_calls:
            raise ResourceExhausted(f"{self._max_calls} calls are under way on this connection, no more are taken")
        stream = self._opened(frame)
        task = asyncio.get_running_loop().create_task(stream.serve(self._running), name=f"ttrpc {stream.call.method}")
        self._streams[frame.stream] = (stream, task)
        task.add_done_callback(lambda _: self._streams.pop(frame.stream, None))

    def _opened(self, frame: Frame) -> Stream:
        try:
            request = Request.FromString(frame.data)
        except DecodeError as error:
            raise InvalidArgument(f"{len(frame.data)} bytes are no ttrpc request: {error}") from error
        path = f"{request.service}/{request.method}"
        method = self._catalogue.find(path)
        if method is None and self._catalogue.complete:
            raise self._catalogue.refusal(path)
        return Stream(frame, request, method or self._catalogue.awaited(path), self.connection, self.name)

    def _feed(self, frame: Frame) -> None:
        stream, task = self._streams.get(frame.stream, (None, None))
        if stream is None or task is None:
            if frame.flags & REMOTE_CLOSED or frame.stream in range(1, self._last + 1, 2):
                return  # what a client sends before it has seen the end of its call
            raise InvalidArgument(f"stream id {frame.stream}: there is no such call")
        try:
            stream.feed(frame)
        except CortenError:
            stream.leave()
            task.cancel()
            raise

    def _refuse(self, stream: int, status: Status) -> None:
        try:
            self.connection.send(refusal(stream, status))
        except Unavailable:
            log.debug("%s went before it was told: %s", self.name, status.text)

    def _lost(self, reason: CortenError | None) -> None:
        if reason and self.connection.faulty:
            log.warning("ttrpc client %s: the connection was ended: %s", self.name or "unknown", reason.message)
        self._leave()
        self._gone(self)

    def _leave(self) -> None:
        for stream, task in list(self._streams.values()):
            stream.leave()
            task.cancel()  # an operation of the daemon's goes on without it


def _credentials(sock: socket.socket | None) -> str:
    if sock is None or sys.platform != "linux":
        return "unix:"
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return f"unix:pid={pid},uid={uid}"
