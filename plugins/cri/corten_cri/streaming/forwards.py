"""Port-forward with a client: each connection of the client is a pair of streams, one for data, one for errors.

Over SPDY (also in a WebSocket tunnel) pairs come and go, joined by the header requestID; over plain WebSocket there is
one pair for each port of the request, from the beginning.
"""

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from corten.errors import CortenError, InvalidArgument

from . import http, websocket
from .channels import ChannelSocket
from .commands import CREATION_DEADLINE, spdy_answer
from .model import Duplex, Transport
from .serving import while_connected
from .spdy import SpdyConnection, SpdyStream
from .tcp import TcpTransport

log = logging.getLogger(__name__)

PROTOCOL = "portforward.k8s.io"
TUNNEL = "SPDY/3.1+portforward.k8s.io"
WEBSOCKET_PROTOCOLS = (TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")

Forward = Callable[[int, Duplex], Awaitable[None]]
"""Connects a stream to a port of the pod until both have ended; raises CortenError."""


async def serve(transport: TcpTransport, head: http.Head, pod: str, ports: Sequence[int], forward: Forward) -> None:
    """Answer the request and forward. `ports` are those of the request. Raises Refusal, ConnectionError."""
    if not head.upgrades_to("websocket"):
        _, answer = spdy_answer(head, (PROTOCOL,))
        await transport.send(answer)
        await _Pairs(pod, forward).serve(transport, head.rest)
        return
    protocol, answer = websocket.negotiate(head, WEBSOCKET_PROTOCOLS)
    await transport.send(answer)
    socket = websocket.WebSocket(transport, head.rest)
    if protocol == TUNNEL:
        await _Pairs(pod, forward).serve(websocket.Tunnel(socket), b"")
        await socket.close()
    else:
        await _serve_ports(transport, socket, "base64" in protocol, pod, ports, forward)


async def _serve_ports(
    transport: TcpTransport, socket: websocket.WebSocket, text: bool, pod: str, ports: Sequence[int], forward: Forward
) -> None:
    channels = ChannelSocket(socket, 2 * len(ports), range(0, 2 * len(ports), 2), text=text, half_close=False)

    async def one(place: int, port: int) -> None:
        data, error = channels.channels[2 * place : 2 * place + 2]
        try:
            for channel in (data, error):
                await channel.write(struct.pack("<H", port))
            if text_of_failure := await _forward(forward, pod, port, data):
                await error.write(text_of_failure)
        except ConnectionError:
            pass
        finally:
            data.inbox.discard()

    async def all_ports() -> None:
        async with asyncio.TaskGroup() as group:
            for place, port in enumerate(ports):
                group.create_task(one(place, port))
        await channels.close()

    await while_connected(transport, channels.run(), all_ports())


async def _forward(forward: Forward, pod: str, port: int, stream: Duplex) -> bytes:
    """What is to be told on the error stream; empty when all went well."""
    try:
        await forward(port, stream)
    except CortenError as error:
        return f"error forwarding port {port} to pod {pod}: {error.message}".encode()
    return b""


class _Pairs:
    """The pairs of one SPDY connection."""

    def __init__(self, pod: str, forward: Forward) -> None:
        self._pod, self._forward = pod, forward
        self._half: dict[str, tuple[SpdyStream, asyncio.TimerHandle]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, transport: Transport, rest: bytes) -> None:
        """Until the client has gone."""
        connection = SpdyConnection(transport, self._accept)
        try:
            await connection.run(rest)
        except InvalidArgument as error:
            log.info("port-forward to %s: the client breaks the protocol: %s", self._pod, error.message)
        finally:
            for _, timer in self._half.values():
                timer.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            with suppress(ConnectionError):
                await connection.close()

    def _accept(self, stream: SpdyStream) -> None:
        port, kind = _port(stream.headers.get("port", "")), stream.headers.get("streamtype", "")
        if kind not in ("data", "error"):
            raise InvalidArgument(f"port-forward: stream of type {kind!r}")
        key = _request_id(stream, kind)
        if key not in self._half:
            timer = asyncio.get_running_loop().call_later(CREATION_DEADLINE, self._expire, key)
            self._half[key] = stream, timer
            return
        other, timer = self._half[key]
        if other.headers["streamtype"] == kind:
            raise InvalidArgument(f"port-forward: request {key} has its {kind} stream already")
        timer.cancel()
        del self._half[key]
        data, error = (stream, other) if kind == "data" else (other, stream)
        self._start(self._run(port, data, error))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("port-forward to %s failed", self._pod, exc_info=error)

    def _expire(self, key: str) -> None:
        """A stream whose other half does not come is reset."""
        stream, _ = self._half.pop(key)
        self._start(stream.reset())

    async def _run(self, port: int, data: SpdyStream, error: SpdyStream) -> None:
        failure = b""
        try:
            failure = await _forward(self._forward, self._pod, port, data)
            if failure:
                await error.write(failure)
        except ConnectionError:
            pass
        finally:
            await (data.reset() if failure else data.finish())
            await error.finish()


def _request_id(stream: SpdyStream, kind: str) -> str:
    """Old clients send none: their error stream comes just before its data stream, whose number is higher by 2."""
    return stream.headers.get("requestid") or str(stream.id if kind == "error" else stream.id - 2)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise InvalidArgument(f"port-forward: {text!r:.20} is no port")
    return int(text)
