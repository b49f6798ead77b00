"""StopPodSandbox and RemovePodSandbox, and taking back a pod that could not be made: every step may be done again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.runtime import Task
from corten.errors import NotFound

from ..contracts import PodNetwork
from ..namespaces.model import Pins
from ..parts import Parts
from ..state.pods import Pod, PodState
from . import files, nri_pods
from .pausing import Pausing

log = logging.getLogger(__name__)

OnContainer = Callable[[str], Awaitable[None]]


class Removal:
    """`stop_container` and `remove_container` are those of the containers, without grace; harmless for one gone."""

    def __init__(self, parts: Parts, pausing: Pausing) -> None:
        self._parts = parts
        self._pausing = pausing
        self.stop_container: OnContainer = _nothing
        self.remove_container: OnContainer = _nothing
        self.release_volumes: Callable[[Pod], Awaitable[None]] = _nothing_of_pod

    async def stop(self, id: str) -> None:
        """End all of its containers, detach its network and drop its namespaces. Raises what a step raises."""
        parts = self._parts
        async with parts.pod_locks.holding(id):
            pod = parts.pods.find(id)
            if pod is not None:
                await self._stop(pod)

    async def remove(self, id: str) -> None:
        """Stop it if need be, then remove its containers and whatever there is of it."""
        parts = self._parts
        async with parts.pod_locks.holding(id):
            pod = parts.pods.find(id)
            if pod is None:
                return
            await self._stop(pod)
            await _all(self.remove_container(each.id) for each in parts.containers_of(id))
            pod = parts.pods.find(id) or pod
            if parts.nri is not None:
                # its namespaces are gone by now, its addresses are still told (as by containerd)
                await parts.nri.remove_pod_sandbox(nri_pods.pod(parts, replace(pod, pins=Pins())))
            await self.discard(pod)
            parts.events.publish(pb.CONTAINER_DELETED_EVENT, id, id)
            log.info("pod sandbox %s (%s) is removed", id, pod.name)

    async def discard(self, pod: Pod) -> None:
        """Take away what there is of a pod without containers, its record last, so that it can be tried again."""
        parts = self._parts
        await self._release(pod)
        await parts.run(files.remove, files.folder(parts.root, pod.id), files.folder(parts.state, pod.id))
        try:
            await parts.stored(parts.store.delete_pod, pod.id)
        except NotFound:
            log.debug("pod sandbox %s: its record was gone", pod.id)
        parts.pods.drop(pod.id)
        parts.pods.release(pod.name, pod.id)
        parts.arrivals.forget(f"pod {pod.name}")

    async def _stop(self, pod: Pod) -> None:
        parts = self._parts
        with parts.timers.call("sandbox_runtime_stop", pod.requested_handler):
            async with parts.holding_nri():
                await _all(self.stop_container(each.id) for each in parts.containers_of(pod.id))
                if parts.nri is not None:
                    await parts.nri.stop_pod_sandbox(nri_pods.pod(parts, pod))
        if pod.state is not PodState.NOTREADY:
            pod = await self.not_ready(pod)
        await self._release(pod)

    async def not_ready(self, pod: Pod) -> Pod:
        """Record that it is not ready any more."""
        parts = self._parts
        pod = parts.pods.put(replace(pod, state=PodState.NOTREADY))
        await parts.stored(parts.store.save_pod, pod)
        parts.events.publish(pb.CONTAINER_STOPPED_EVENT, pod.id, pod.id)
        return pod

    async def pause_ended(self, id: str, task: Task) -> None:
        """Wait for the pod's pause process; a pod whose process ends by itself is not ready any more."""
        with suppress(NotFound):
            await task.wait()
        pod = self._parts.pods.find(id)
        if pod is not None and pod.state is PodState.READY and pod.pause:
            log.warning("pod sandbox %s: its pause process has ended", id)
            await self.not_ready(pod)
            await self._pausing.discard_task(pod, task)

    async def _release(self, pod: Pod) -> None:
        """Pause process, network and namespaces, in this order."""
        parts = self._parts
        await self._pausing.end(pod)
        await self.release_volumes(pod)
        if pod.pins.net:
            gone = pod.pins.net in parts.namespaces.missing(pod.pins)
            await parts.network.teardown(PodNetwork(pod.id, "" if gone else pod.pins.net, pod.handler, pod.config))
        if pod.pins != Pins():
            await parts.namespaces.remove(pod.pins)


async def _nothing(id: str) -> None:
    return


async def _nothing_of_pod(pod: Pod) -> None:
    return


async def _all(steps: Iterable[Awaitable[None]]) -> None:
    """All of them are tried; then the first failure is raised."""
    failures = [each for each in await asyncio.gather(*steps, return_exceptions=True) if each is not None]
    if failures:
        raise failures[0]
