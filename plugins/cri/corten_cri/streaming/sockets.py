"""Connections to ports of a pod: sockets made inside its network namespace, used from here."""

import asyncio
import json
import os
import socket
import sys
from contextlib import suppress

from corten.contracts.workers import Workers
from corten.errors import CortenError, FailedPrecondition, mapped
from corten.pools import Pools

from .copying import pump
from .model import Duplex

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .connecting import FAMILIES, own_sockets

POOL = "cri-sockets"
HELPER = "corten_cri.streaming.connecting:make_sockets"
HELPER_DEADLINE = 10.0
CONNECT_DEADLINE = 30.0
"""Seconds that a port of a pod may take to accept."""
AFTER_POD = 1.0
"""Seconds that the client may go on to send after the pod has closed: there is nobody to read it."""


class PodSockets:
    """Makes connections; `netns` is empty for a pod on the host's network."""

    def __init__(self, workers: Workers, pools: Pools) -> None:
        self._workers, self._pools = workers, pools

    async def forward(self, pod: str, netns: str, port: int, stream: Duplex) -> None:
        """Connect, and copy until both directions have ended. Raises FailedPrecondition if nobody listens there."""
        connection = await self._connect(pod, netns, port)
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise FailedPrecondition(f"localhost:{port} inside pod {pod} closed at once: {error}") from error
            raise
        to_pod = asyncio.create_task(_send(stream, writer))
        to_client = asyncio.create_task(pump(_Reading(reader), stream))
        try:
            await asyncio.wait({to_client})
            await asyncio.wait({to_pod}, timeout=AFTER_POD)
        finally:
            for task in (to_pod, to_client):
                task.cancel()
            await asyncio.gather(to_pod, to_client, return_exceptions=True)
            writer.transport.abort()

    async def _connect(self, pod: str, netns: str, port: int) -> socket.socket:
        """To the pod's own localhost, by IPv4 and else by IPv6."""
        made = await self._pools.run(POOL, self._make, pod, netns)
        loop, failures, chosen = asyncio.get_running_loop(), [], None
        try:
            for each in made:
                address = dict(FAMILIES)[each.family]
                try:
                    async with asyncio.timeout(CONNECT_DEADLINE):
                        await loop.sock_connect(each, (address, port))
                    chosen = each
                    return chosen
                except (OSError, TimeoutError) as error:
                    failures.append(f"{address}: {_reason(error)}")
        finally:
            for each in made:
                if each is not chosen:
                    each.close()
        raise FailedPrecondition(f"failed to connect to localhost:{port} inside pod {pod} ({'; '.join(failures)})")

    def _make(self, pod: str, netns: str) -> list[socket.socket]:
        """Sockets belong to the namespace in which they were made, wherever they are used."""
        if not netns:
            return own_sockets()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs:
            with mapped(f"open the network namespace of pod {pod}", {FileNotFoundError: FailedPrecondition}):
                fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                worker = self._workers.start(HELPER, json.dumps({"pod": pod}).encode(), [fd, theirs.fileno()])
            finally:
                os.close(fd)
            try:
                worker.result(HELPER_DEADLINE)
            except CortenError:
                worker.kill()
                raise
            return _received(ours)


def _received(channel: socket.socket) -> list[socket.socket]:
    channel.settimeout(HELPER_DEADLINE)
    with mapped("receive sockets from a helper"):
        fds = socket.recv_fds(channel, 16, len(FAMILIES))[1]
    made = [socket.socket(fileno=fd) for fd in fds]
    for each in made:
        each.setblocking(False)
        each.set_inheritable(False)
    return made


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_DEADLINE:g} s"
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


class _Reading:
    """A stream reader as a `Source`."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def read(self) -> bytes:
        try:
            return await self._reader.read(64 << 10)
        except OSError:
            return b""


async def _send(stream: Duplex, writer: asyncio.StreamWriter) -> None:
    """From the client to the pod; the client's end is the pod's end of input."""
    with suppress(OSError):
        while data := await stream.read():
            writer.write(data)
            await writer.drain()
        writer.write_eof()
