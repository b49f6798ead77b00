"""The socket where plugins connect: each connection is served beside the others, up to a bound."""

import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable

from corten.errors import CortenError, Unavailable, mapped

# ruff: noqa: E402  (what is imported below exists on Unix only)
assert sys.platform != "win32"

from corten.wire.unix import Owner, PlacedSocket

log = logging.getLogger(__name__)

MAX_PLUGINS = 64
"""Connected at once; a further one is hung up on."""


class Listener:
    """`serve(sock)` is run for each connection, to its end."""

    def __init__(self, path: str, serve: Callable[[socket.socket], Awaitable[None]]) -> None:
        self._place = PlacedSocket(path, Owner(mode=0o600))
        self._serve = serve
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises FailedPrecondition if another listens there."""
        self._place.prepare()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with mapped(f"NRI socket {self._place.path}: cannot listen"):
                listening.bind(self._place.bind_path)
                listening.listen()
            self._place.publish()
        except BaseException:
            listening.close()
            self._place.remove()
            raise
        self._socket = listening
        self._accepting = asyncio.create_task(self._accept(listening), name="NRI: accept plugins")

    async def close(self) -> None:
        """Take no more, and end the service of those that are connected."""
        self._place.remove()
        tasks = [*self._connections, *([self._accepting] if self._accepting else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError as error:
                log.error("NRI socket %s: cannot take a connection: %s", self._place.path, error)
                await asyncio.sleep(1)
                continue
            if len(self._connections) >= MAX_PLUGINS:
                log.warning("NRI socket %s: %d plugins are connected, no more are taken", self._place.path, MAX_PLUGINS)
                sock.close()
                continue
            task = loop.create_task(self._served(sock), name="NRI plugin")
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _served(self, sock: socket.socket) -> None:
        try:
            await self._serve(sock)
        except Unavailable as error:  # another daemon that looks whether the socket is taken, for example
            log.info("%s", error)
        except CortenError as error:
            log.error("%s", error)
