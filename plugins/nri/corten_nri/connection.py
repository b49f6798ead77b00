"""A plugin's socket: calls to it, and the two calls it may make."""

import asyncio
import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeVar

from corten.api.nri.v1alpha1 import nri_pb2 as pb
from corten.errors import CortenError
from corten.supervisor import Supervisor
from corten.wire.catalogue import Catalogue
from corten.wire.running import Running
from corten.wire.service import Service
from corten.wire.ttrpc.client import TtrpcClient
from corten.wire.ttrpc.peers import Peer
from google.protobuf.message import Message

from .mux import PLUGIN, RUNTIME, Trunk

assert sys.platform != "win32"

M = TypeVar("M", bound=Message)

SERVICE = "nri.pkg.api.v1alpha1.Plugin"
MAX_CALLS = 32
"""Calls of one plugin under way."""
STALL = 30.0
"""Seconds after which a plugin that reads nothing is cut off."""


class Connection:
    """`service` answers the plugin's calls (`register_plugin`, `update_containers`); `lost` is called at the end."""

    def __init__(self, service: object, supervisor: Supervisor, lost: Callable[[CortenError | None], None]) -> None:
        self._lost = lost
        self._ended = False
        self.client = TtrpcClient("NRI plugin", self._gone)
        runtime = Service(pb.DESCRIPTOR.services_by_name["Runtime"], service)
        catalogue = Catalogue({"nri": SimpleNamespace(services=(runtime,))}, {})
        self._peer = Peer(catalogue, Running(supervisor), MAX_CALLS, STALL, lambda _: None)
        self.trunk = Trunk({PLUGIN: self.client.connection, RUNTIME: self._peer.connection})

    async def open(self, sock: socket.socket) -> None:
        """Take over a connected socket."""
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self.trunk, sock=sock)

    @property
    def closed(self) -> bool:
        return self.client.closed

    @property
    def peer(self) -> str:
        """`unix:pid=…,uid=…`."""
        return self._peer.name

    async def call(self, method: str, request: Message, answer: type[M], timeout: float) -> M:
        """Raises what the plugin answers; DeadlineExceeded, Unavailable."""
        return await self.client.call(SERVICE, method, request, answer, timeout=timeout)

    def close(self) -> None:
        """End it; harmless when called again."""
        self.client.connection.close()

    def _gone(self, reason: CortenError | None) -> None:
        if not self._ended:
            self._ended = True
            self._lost(reason)
