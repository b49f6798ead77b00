"""Everything from before the start is known again, and what an earlier daemon left half done is taken away.

Tasks run on while no daemon does; what ended meanwhile is recorded with the exit code that its shim kept.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.objects import Container as StoredContainer
from corten.contracts.runtime import Exit, Status, Task
from corten.contracts.snapshots import SnapshotInfo, Snapshotter
from corten.errors import CortenError, NotFound
from corten.linux.mount import unmount_all

from .contracts import NAMESPACE
from .parts import SCOPE, Parts
from .pods import files
from .pods.pausing import Pausing
from .pods.removing import Removal as PodRemoval
from .pods.running import network_of
from .state.containers import UNKNOWN_EXIT, Container
from .state.pods import Pod, PodState
from .state.store import KIND

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .containers import folders
from .containers.creating import SNAPSHOT_LABEL
from .containers.exits import Exits
from .containers.removing import Removal as ContainerRemoval

log = logging.getLogger(__name__)

ASK_TIMEOUT = 10.0
"""Seconds in which a shim must tell the state of a task; one that does not leaves a container of unknown state."""

LEFTOVERS_TIMEOUT = 2.0
"""Seconds that calls wait for what an earlier daemon left to be taken away; a plugin of CNI that hangs takes longer."""


class Recovery:
    """Run once, before any call is answered."""

    def __init__(
        self, parts: Parts, exits: Exits, pods: PodRemoval, containers: ContainerRemoval, pausing: Pausing
    ) -> None:
        self._parts = parts
        self._exits = exits
        self._pods = pods
        self._containers = containers
        self._pausing = pausing
        self._discarding: list[asyncio.Future[None]] = []

    async def recover(self) -> None:
        """Never raises: what cannot be recovered is logged, and the rest goes on."""
        began = time.monotonic()
        await self._logged("mounts of an earlier daemon", self._unmount())
        tasks = {task.id: task for task in await self._parts.runtime.list(NAMESPACE)}
        unready = await self._recover_pods(tasks)
        await self._recover_containers(tasks)
        await self._discard(unready)
        await self._logged("snapshots without container", self._drop_snapshots())
        await self._logged("folders without record", self._drop_folders())
        for pod in self._parts.pods.all():
            await self._logged(f"pause process of pod sandbox {pod.id}", self._pause(pod))
        known = [network_of(pod) for pod in self._parts.pods.all() if pod.pins.net]
        collecting = asyncio.wait_for(self._parts.network.collect(known), LEFTOVERS_TIMEOUT)
        await self._logged("networks without pod", collecting)
        self._parts.supervisor.background("cri: networks of pods are as they were made", self._check_networks())
        log.info(
            "CRI: %d pod sandboxes and %d containers are known again after %.3f s",
            len(self._parts.pods.all()), len(self._parts.containers.all()), time.monotonic() - began,
        )  # fmt: skip

    async def _pause(self, pod: Pod) -> None:
        """After remnants were taken away: one that is begun and not recorded yet would be taken for such."""
        if pod.state is PodState.READY:
            self._pausing.soon(pod)
            self._parts.images.at_hand.soon()

    async def _check_networks(self) -> None:
        """CHECK, one pod after the other, beside all calls; the verbose status of a pod has the outcome too.

        No warning: widespread plugins complain of what harms nobody (bridge, when its bridge has got another port).
        """
        for pod in self._parts.pods.all():
            try:
                if pod.pins.net and pod.state is PodState.READY:
                    await self._parts.network.check(network_of(pod))
            except CortenError as error:
                now = self._parts.pods.find(pod.id)
                if now is not None and now.state is PodState.READY:
                    log.info("pod sandbox %s: its network is not as it was made: %s", pod.id, error)

    async def _discard(self, pods: list[Pod]) -> None:
        """Side by side; what takes long, because a network plugin hangs, goes on while calls are answered."""
        steps = [self._logged(f"pod sandbox {pod.id}", self._pods.discard(pod)) for pod in pods]
        self._discarding = [asyncio.ensure_future(step) for step in steps]
        if self._discarding:
            await asyncio.wait(self._discarding, timeout=LEFTOVERS_TIMEOUT)

    async def _recover_pods(self, tasks: dict[str, Task]) -> list[Pod]:
        """Those that were never ready are returned, not recovered."""
        parts = self._parts
        unready = []
        for pod in await parts.stored(lambda: list(parts.store.pods())):
            if pod.state is PodState.PREPARING:
                unready.append(pod)
                continue
            parts.pods.put(pod)
            if pod.state is PodState.READY and not self._whole(pod, tasks):
                log.info("pod sandbox %s: its namespaces or its pause process are gone; it is not ready", pod.id)
                await self._logged(f"pod sandbox {pod.id}", self._pods.not_ready(pod))
            elif pod.pause and pod.id in tasks:
                self._pausing.watch(pod, tasks[pod.id])
        return unready

    def _whole(self, pod: Pod, tasks: dict[str, Task]) -> bool:
        return not self._parts.namespaces.missing(pod.pins) and (not pod.pause or pod.id in tasks)

    async def _recover_containers(self, tasks: dict[str, Task]) -> None:
        parts = self._parts
        found = await parts.stored(lambda: list(parts.store.containers()))
        await asyncio.gather(*(self._logged(f"container {c.id}", self._recover(c, s, tasks)) for c, s in found))

    async def _recover(self, container: Container, stored: StoredContainer, tasks: dict[str, Task]) -> None:
        parts = self._parts
        if parts.pods.find(container.pod_id) is None:
            log.info("container %s: its pod sandbox %s is gone; it is removed", container.id, container.pod_id)
            parts.containers.put(container)
            await self._exits_of(container, tasks)
            await self._containers.remove(container.id)
            return
        await parts.run(_folders_again, parts, container.id)
        parts.containers.put(container)
        await self._exits_of(container, tasks)

    async def _exits_of(self, container: Container, tasks: dict[str, Task]) -> None:
        """Bring the record in line with the task: it runs, has ended, or was never started."""
        task = tasks.get(container.id)
        if task is None:
            if container.running or container.unknown:
                await self._exits.record(container.id, Exit(0, UNKNOWN_EXIT, time.time_ns()))
            return None
        try:
            state = await asyncio.wait_for(task.state(), ASK_TIMEOUT)
        except NotFound:
            return await self._exits_of(container, {})
        except (CortenError, TimeoutError) as error:
            log.warning("container %s: its shim does not tell its state: %s", container.id, error)
            self._parts.containers.put(replace(container, unknown=True))
            return None
        if state.status is Status.CREATED or container.finished_at:
            return await self._discard_task(task, container)
        running = replace(container, pid=state.pid, started_at=container.started_at or time.time_ns(), unknown=False)
        self._parts.containers.put(running)
        if container.wire_state == pb.CONTAINER_CREATED:
            await self._parts.run(self._parts.store.save_status, running)
        self._exits.watch(task)
        return None

    async def _discard_task(self, task: Task, container: Container) -> None:
        """One that was created and never started, by a daemon that died in between: it can be started again."""
        with suppress(CortenError):
            with suppress(NotFound):
                await task.kill(9, all=True)
            await asyncio.wait_for(task.wait(), ASK_TIMEOUT)
            await task.delete()
        log.info("container %s: a task that was never started is removed", container.id)

    async def _drop_snapshots(self) -> None:
        """Of containers that were never recorded."""
        parts = self._parts
        for name in parts.metadata.snapshotters():
            snapshots = parts.metadata.snapshotter(SCOPE, name)
            found = await parts.pools.run("snapshots", _with_label, snapshots)
            for each in found:
                if parts.containers.find(each.name) is None:
                    log.info("snapshot %s in %s: its container was never made; it is removed", each.name, name)
                    with suppress(CortenError):
                        await parts.pools.run("snapshots", snapshots.remove, each.name)

    async def _drop_folders(self) -> None:
        """Of pods and containers that are not known, and pause containers without pod."""
        parts = self._parts
        known = {"sandboxes": parts.pods.find, "containers": parts.containers.find}
        for kind, find in known.items():
            for top in (parts.root, parts.state):
                for name in await parts.run(_names, top / kind):
                    if find(name) is None:
                        await parts.run(_remove_folder, top / kind / name)
        stored = await parts.stored(lambda: list(parts.metadata.containers(SCOPE).walk([f'labels."{KIND}"==sandbox'])))
        for each in stored:
            pod = parts.pods.find(each.id)
            if pod is None or not pod.pause:
                await self._pausing.end(pod or Pod(each.id, each.id, pb.PodSandboxConfig(), "runc"))

    async def _unmount(self) -> None:
        await self._parts.run(_remove_folder, self._parts.state / "mounts")
        await self._parts.run((self._parts.state / "mounts").mkdir, 0o700, True)

    async def _logged(self, what: str, step: Awaitable[object]) -> None:
        try:
            await step
        except Exception:
            log.exception("recovery of %s failed", what)


def _folders_again(parts: Parts, id: str) -> None:
    """The volatile one is gone after a reboot; FIFOs in it were for execs of an earlier daemon."""
    folder = folders.volatile(parts, id)
    folder.mkdir(0o700, parents=True, exist_ok=True)
    for left in folder.iterdir():
        left.unlink(missing_ok=True)


def _with_label(snapshots: Snapshotter) -> list[SnapshotInfo]:
    return list(snapshots.walk([f'labels."{SNAPSHOT_LABEL}"']))


def _names(folder: Path) -> list[str]:
    try:
        return [each.name for each in folder.iterdir()]
    except FileNotFoundError:
        return []


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        unmount_all(folder)
        files.remove(folder)
