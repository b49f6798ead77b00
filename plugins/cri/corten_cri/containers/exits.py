"""Watches tasks: a container whose process has ended is recorded so, and its task goes, at once and without polling."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.runtime import Exit, Task
from corten.errors import CortenError, NotFound

from ..deleting import delete_ended
from ..parts import Parts
from ..pods import nri_pods
from ..state.containers import UNKNOWN_EXIT, Container
from . import nri_containers

log = logging.getLogger(__name__)

ATTEMPTS = 30
"""At deleting an ended task."""


class Exits:
    """Used on the event loop."""

    def __init__(self, parts: Parts, spec_of: Callable[[str], dict[str, object]]) -> None:
        self._parts = parts
        self._spec_of = spec_of
        self._watched: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"Exits(watching {len(self._watched)})"

    def watch(self, task: Task) -> None:
        """Record the end of a container's task when it comes."""
        self._keep(task.id, self._until_end(task))

    def watch_other(self, id: str, work: Awaitable[None]) -> None:
        """Something else that waits for a process: a pod's pause process."""
        self._keep(id, work)

    async def ended(self, id: str) -> None:
        """Until the end of a container has been recorded; at once if nothing is watched."""
        if watched := self._watched.get(id):
            await asyncio.wait([watched])

    async def close(self) -> None:
        """Watch no more; containers run on."""
        watched = list(self._watched.values())
        for each in watched:
            each.cancel()
        await asyncio.gather(*watched, return_exceptions=True)

    async def record(self, id: str, exit: Exit) -> None:
        """A container has ended; known already if its record says so."""
        parts = self._parts
        found = parts.containers.find(id)
        if found is None or found.finished_at:
            return
        ended = replace(
            found,
            finished_at=exit.exited_at or time.time_ns(),
            exit_code=exit.status,
            pid=0,
            starting=False,
            unknown=False,
        )
        parts.containers.put(ended)
        await self._save(ended)
        parts.events.publish(pb.CONTAINER_STOPPED_EVENT, id, ended.pod_id)
        await self._tell_nri(ended)
        log.info("container %s has ended with %d", id, exit.status)

    async def oom(self, id: str) -> None:
        """The kernel killed something in a container for its memory limit."""
        found = self._parts.containers.find(id)
        if found is not None and not found.reason:
            killed = self._parts.containers.put(replace(found, reason="OOMKilled"))
            await self._save(killed)

    def _keep(self, id: str, work: Awaitable[None]) -> None:
        made = asyncio.ensure_future(work)
        self._watched[id] = made
        made.add_done_callback(lambda done: self._forget(id, done))

    def _forget(self, id: str, done: asyncio.Future[None]) -> None:
        if self._watched.get(id) is done:
            del self._watched[id]
        if not done.cancelled() and (error := done.exception()):
            log.error("container %s: its end could not be recorded", id, exc_info=error)

    async def _until_end(self, task: Task) -> None:
        """The task is deleted first, which waits for the last of its output; one that does not go holds up nothing."""
        try:
            exit = await task.wait()
        except NotFound:
            exit = Exit(0, UNKNOWN_EXIT, time.time_ns())

        async def failed(error: CortenError) -> None:
            log.warning("container %s: its task cannot be deleted: %s", task.id, error)
            await self.record(task.id, exit)

        with suppress(CortenError):
            await delete_ended(task, ATTEMPTS, failed)
        await self.record(task.id, exit)

    async def _save(self, container: Container) -> None:
        try:
            await self._parts.run(self._parts.store.save_status, container)
        except CortenError as error:
            log.warning("container %s: its status cannot be saved: %s", container.id, error)

    async def _tell_nri(self, container: Container) -> None:
        parts = self._parts
        if parts.nri is None or (pod := parts.pods.find(container.pod_id)) is None:
            return
        with suppress(CortenError):
            spec = self._spec_of(container.id)
            await parts.nri.stop_container(nri_pods.pod(parts, pod), nri_containers.container(container, spec))
