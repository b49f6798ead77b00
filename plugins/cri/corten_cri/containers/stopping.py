"""StopContainer: the container's own signal, then, when its time is up, KILL."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.runtime import Exit
from corten.errors import DeadlineExceeded, InvalidArgument, NotFound
from corten.wire.service import CallContext

from ..parts import Parts
from ..state.containers import UNKNOWN_EXIT, Container
from . import signals
from .exits import Exits

log = logging.getLogger(__name__)

KILL = 9
KILL_TIMEOUT = 120.0
"""Seconds in which a killed container must be gone; one that hangs in the kernel is not."""


class Stop:
    """Used on the event loop; any number of stops of one container may run side by side."""

    def __init__(self, parts: Parts, exits: Exits) -> None:
        self._parts = parts
        self._exits = exits
        self._signalled: set[str] = set()

    async def stop(self, id: str, timeout: float, call: CallContext | None = None) -> None:
        """Returns when the container has ended; harmless for one that has, or is gone. Raises DeadlineExceeded.

        A client that gave up while the container had its time has not asked for KILL: Cancelled, and it runs on.
        """
        container = self._parts.containers.find(id)
        if container is None or container.wire_state not in (pb.CONTAINER_RUNNING, pb.CONTAINER_UNKNOWN):
            return
        if timeout > 0:
            await self._signal(container)
            if await self._gone_in(id, timeout):
                return
            if call is not None:
                call.checkpoint()
        await self._kill(id)
        if not await self._gone_in(id, KILL_TIMEOUT):
            raise DeadlineExceeded(f"container {id}: it was killed, but has not ended after {KILL_TIMEOUT:.0f} s")

    async def _signal(self, container: Container) -> None:
        """Send its signal, once."""
        if container.id in self._signalled:
            return
        try:
            number = signals.number(container.stop_signal or "SIGTERM")
        except InvalidArgument as error:
            log.warning("container %s: %s; SIGTERM is sent", container.id, error)
            number = signals.number("SIGTERM")
        self._signalled.add(container.id)
        try:
            await (await self._parts.task(container.id)).kill(number)
        except NotFound:
            await self._lost(container.id)

    async def _kill(self, id: str) -> None:
        try:
            task = await self._parts.task(id)
            with suppress(NotFound):  # it has ended, and its end is about to be recorded
                await task.kill(KILL)
        except NotFound:
            await self._lost(id)

    async def _lost(self, id: str) -> None:
        """There is no task: its end is being recorded, or nobody will ever tell of it."""
        await self._exits.ended(id)
        found = self._parts.containers.find(id)
        if found is not None and not found.finished_at:
            await self._exits.record(id, Exit(0, UNKNOWN_EXIT, 0))

    async def _gone_in(self, id: str, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._exits.ended(id), seconds)
        except TimeoutError:
            return False
        self._signalled.discard(id)
        found = self._parts.containers.find(id)
        return found is None or bool(found.finished_at)
