"""What streams are connected to: the containers and pods of CRI."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from corten.errors import FailedPrecondition

from ..contracts import Execs
from ..parts import Parts
from ..state.containers import Container
from .model import CommandStreams, Duplex

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .processes import ContainerProcesses
from .sockets import PodSockets


class CriTarget:
    """Fulfils `Target`."""

    def __init__(self, parts: Parts, execs: Execs) -> None:
        self._parts = parts
        self._processes = ContainerProcesses(execs, parts.state / "streams")
        self._sockets = PodSockets(parts.workers, parts.pools)

    def __repr__(self) -> str:
        return f"CriTarget({self._processes})"

    async def exec(self, container: str, command: Sequence[str], streams: CommandStreams) -> int:
        return await self._processes.exec(running(self._parts, container), command, streams)

    async def attach(self, container: str, streams: CommandStreams) -> None:
        found = running(self._parts, container)
        await self._processes.attach(await self._parts.task(found.id), found, streams)

    async def forward(self, pod: str, port: int, stream: Duplex) -> None:
        found = self._parts.pods.get(pod)
        if self._parts.namespaces.missing(found.pins):
            raise FailedPrecondition(f"pod {found.id}: its network namespace is gone")
        await self._sockets.forward(found.id, found.pins.net, port, stream)

    async def close(self) -> None:
        await self._processes.close()


def running(parts: Parts, id: str) -> Container:
    """The container, which must run. Raises NotFound, FailedPrecondition."""
    container = parts.containers.get(id)
    if not container.running:
        raise FailedPrecondition(f"container {container.id}: it does not run")
    return container
