"""A ttrpc server for a catalogue of services on one safely placed unix socket."""

import asyncio
import logging
import socket
import sys

from corten.errors import mapped
from corten.supervisor import Supervisor

from .. import unix
from ..catalogue import Catalogue
from ..limits import TtrpcLimits
from ..running import Running
from .peers import Peer

assert sys.platform != "win32"

log = logging.getLogger(__name__)

_BACKLOG = 1024


class TtrpcServer:
    """`start` and `close` are called on the event loop, once each."""

    def __init__(
        self,
        path: str,
        catalogue: Catalogue,
        supervisor: Supervisor,
        limits: TtrpcLimits | None = None,
        owner: unix.Owner | None = None,
    ) -> None:
        self._place = unix.PlacedSocket(path, owner)
        self._catalogue, self._supervisor, self._running = catalogue, supervisor, Running(supervisor)
        self._limits = limits or TtrpcLimits()
        self._server: asyncio.AbstractServer | None = None
        self._peers: set[Peer] = set()

    def __repr__(self) -> str:
        return f"TtrpcServer({self._place.path}, {len(self._peers)} clients)"

    async def start(self) -> None:
        """Listen and answer. Raises FailedPrecondition when the address is taken."""
        self._place.prepare()
        try:
            listening = self._bound()
            loop = asyncio.get_running_loop()
            self._server = await loop.create_unix_server(self._connected, sock=listening, backlog=_BACKLOG)
            self._place.publish()
        except BaseException:
            if self._server:
                self._server.close()
            self._place.remove()
            raise
        log.info("listening on %s", self._place.path)
        self._supervisor.background(f"services of {self._place.path}", self._complete())

    async def _complete(self) -> None:
        await self._catalogue.completed()
        log.info("serving %d ttrpc services on %s", len(self._catalogue.services), self._place.path)

    async def close(self) -> None:
        """Take no more clients, end the calls that wait, give the others their grace, hang up."""
        server, self._server = self._server, None
        if server is None:
            return
        self._place.unlink()
        server.close()
        peers = list(self._peers)
        for peer in peers:
            peer.interrupt()
        await asyncio.gather(*(peer.finish(self._limits.stop_grace) for peer in peers))
        self._place.remove()

    def _bound(self) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            with mapped(f"ttrpc socket {self._place.path}: cannot listen"):
                listening.bind(self._place.bind_path)
                listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
        return listening

    def _connected(self) -> asyncio.BaseProtocol:
        peer = Peer(
            self._catalogue,
            self._running,
            self._limits.max_concurrent_calls,
            self._limits.stall,
            self._peers.discard,
        )
        if len(self._peers) >= self._limits.max_connections:
            log.warning(
                "ttrpc socket %s: %d clients are connected, no more are taken", self._place.path, len(self._peers)
            )
            return _HangUp()
        self._peers.add(peer)
        return peer.connection


class _HangUp(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
