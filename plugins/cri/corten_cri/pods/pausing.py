"""The pause process of a pod that needs one: a container of the pod's own id, as containerd has it.

A pod gets it when a container first wants the pod's process namespace, a moment after it is ready, or from the start:
its handler says which. cAdvisor, so the kubelet, has a pod's network statistics from the task of the pod's id alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.mounts import Mount
from corten.contracts.objects import AnyValue
from corten.contracts.objects import Container as StoredContainer
from corten.contracts.runtime import CreateOptions, Status, Stdio, Task
from corten.errors import CortenError, FailedPrecondition, NotFound
from corten.linux import oom
from corten.oci import cgroup_paths, spec
from corten.oci.image_defaults import ImageDefaults, parse
from corten.oci.options import Namespaces, Resources, Security, SpecOptions, User

from ..annotations import of_pod
from ..contracts import NAMESPACE
from ..deleting import delete_ended
from ..parts import SCOPE, Parts
from ..state.pods import Pod, PodState
from ..state.store import kept_labels
from . import wanted
from .namespaces_of import namespaces_of
from .pause_program import NAME, ensure_root

log = logging.getLogger(__name__)

OOM_SCORE = -998
"""As the kubelet wants a pod's own process."""
KILL = 9
ATTEMPTS = 3
"""At deleting the task of one that has ended, within a call."""
LULL = 1.0
"""Seconds after a pod is ready before it gets a process that nothing waits for, so that its containers start first."""
_USER = 65535


class Pausing:
    """`watch` is told of a pause process that runs, so that its end is seen."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.watch: Callable[[Pod, Task], None] = _unwatched

    async def ensure(self, pod_id: str) -> int:
        """The pid of the pod's pause process, which is started if there is none yet. Raises FailedPrecondition."""
        parts = self._parts
        async with parts.pod_locks.holding(_lock(pod_id)):
            pod = parts.pods.get(pod_id)
            if not pod.pause:
                pod = await self._begun(pod)
            try:
                return (await parts.task(pod.id)).pid
            except NotFound as error:
                raise FailedPrecondition(f"pod sandbox {pod.id}: its pause process has ended") from error

    async def _begun(self, pod: Pod) -> Pod:
        """A pod that was stopped meanwhile does not keep it."""
        parts = self._parts
        await self.begin(pod)
        now = parts.pods.find(pod.id)
        if now is None or now.state is not PodState.READY:
            await self._end(pod)
            raise FailedPrecondition(f"pod sandbox {pod.id}: it was stopped while its pause process was started")
        now = parts.pods.put(replace(now, pause=pod.id))
        await parts.stored(parts.store.save_pod, now)
        return now

    def soon(self, pod: Pod) -> None:
        """Start it in a moment, if the pod's handler says so, the pod has none and is ready then."""
        parts = self._parts
        if self._comes_soon(pod):
            name = f"cri: the pause process of pod sandbox {pod.id}"
            begin = lambda: parts.supervisor.background(name, self._if_ready(pod.id))  # noqa: E731
            asyncio.get_running_loop().call_later(LULL, begin)

    async def _if_ready(self, pod_id: str) -> None:
        pod = self._parts.pods.find(pod_id)
        if pod is None or pod.state is not PodState.READY:
            return
        try:
            await self.ensure(pod_id)
        except CortenError as error:
            now = self._parts.pods.find(pod_id)
            if now is not None and now.state is PodState.READY:
                log.warning("pod sandbox %s: no pause process, so no network statistics of it: %s", pod_id, error)

    async def pid(self, pod: Pod) -> int:
        """Of the pause process; 0 for none. One that the pod gets in a moment is started now: tools act on this pid."""
        with suppress(CortenError):
            if pod.pause:
                return (await self._parts.task(pod.id)).pid
            if pod.state is PodState.READY and self._comes_soon(pod):
                return await self.ensure(pod.id)
        return 0

    def _comes_soon(self, pod: Pod) -> bool:
        return self._parts.handlers.chosen(pod.handler)[1].pausing == "soon" and not pod.pause

    async def begin(self, pod: Pod) -> Pod:
        """Make and start it; the pod with `pause` set. On failure nothing is left."""
        parts = self._parts
        try:
            stored, rootfs = await self._record(pod)
            task = await parts.runtime.create(NAMESPACE, pod.id, self._options(pod, stored, rootfs))
            await task.start()
        except BaseException:
            with suppress(CortenError):
                await self._end(pod)
            raise
        self.watch(pod, task)
        return replace(pod, pause=pod.id)

    async def discard_task(self, pod: Pod, task: Task) -> None:
        """Take away the task of a pause process that has ended by itself; what holds it goes with the pod."""
        async with self._parts.pod_locks.holding(_lock(pod.id)):
            try:
                await task.delete()
            except NotFound:
                return
            except CortenError as error:
                log.warning("pod sandbox %s: the task of its pause process cannot be deleted yet: %s", pod.id, error)

    async def end(self, pod: Pod) -> None:
        """Kill it and take away its task, record and snapshot; harmless if there is none."""
        async with self._parts.pod_locks.holding(_lock(pod.id)):
            await self._end(pod)

    async def _end(self, pod: Pod) -> None:
        parts = self._parts
        with suppress(NotFound):
            await _ended(await parts.task(pod.id))
        containers = parts.metadata.containers(SCOPE)
        try:
            stored = containers.get(pod.id)
        except NotFound:
            return
        await parts.stored(containers.delete, pod.id)
        if stored.snapshot_key:
            with suppress(NotFound):
                snapshots = parts.metadata.snapshotter(SCOPE, stored.snapshotter)
                await parts.pools.run("snapshots", snapshots.remove, stored.snapshot_key)

    async def _record(self, pod: Pod) -> tuple[StoredContainer, Sequence[Mount]]:
        parts = self._parts
        handler = parts.handlers.chosen(pod.handler)[1]
        root = parts.state / "pause"
        stored = StoredContainer(
            id=pod.id,
            labels=kept_labels(pod.config.labels, "sandbox"),
            runtime=parts.handlers.runtime_info(pod.handler),
            # By name, be it there or not: what shows metrics drops those of containers without an image.
            image=parts.images.config.pinned_images.get("sandbox", ""),
            sandbox=pod.id,
        )
        if handler.pausing != "always" and await parts.run(ensure_root, root):
            document = self._spec(pod, SpecOptions(args=(f"/{NAME}",)), ImageDefaults())
            made = await parts.stored(parts.metadata.containers(SCOPE).create, _with_spec(stored, document))
            # Mounted in the bundle: root of a user namespace may not go through the folders that lead here.
            return made, (Mount("bind", str(root), options=("bind", "ro")),)
        return await self._from_image(pod, stored)

    async def _from_image(self, pod: Pod, stored: StoredContainer) -> tuple[StoredContainer, Sequence[Mount]]:
        parts, images = self._parts, self._parts.images
        reference = images.config.pinned_images.get("sandbox", "")
        try:
            image = await images.images.find(reference)
        except NotFound:
            if parts.handlers.chosen(pod.handler)[1].disable_pause_image_pull:
                raise
            await images.pulls.pull(reference, None, pod.handler)
            image = await images.images.find(reference)
        defaults = parse(image.execution)
        options = SpecOptions(user=User(_USER, _USER, (_USER,)))
        stored = replace(stored, image=image.name, snapshotter=parts.snapshotter(pod.handler), snapshot_key=pod.id)
        stored = _with_spec(stored, self._spec(pod, options, defaults))
        made = await parts.stored(parts.metadata.containers(SCOPE).create, stored)
        labels = wanted.id_labels(pod.namespaces)
        return made, await images.images.prepare(SCOPE, image, pod.id, stored.snapshotter, labels)

    def _spec(self, pod: Pod, options: SpecOptions, image: ImageDefaults) -> spec.Spec:
        parent = pod.config.linux.cgroup_parent
        own_pids = None if pod.namespaces.pid == pb.NODE else ""
        return spec.build(
            NAMESPACE,
            pod.id,
            replace(
                options,
                read_only=True,
                # The first sysfs of a network namespace decides whether any of them can be written to.
                without_mounts=("/run", "/dev/shm", "/dev/mqueue", "/sys"),
                namespaces=namespaces_of(pod, Namespaces(pid=own_pids)),
                cgroups_path=cgroup_paths.below(parent, pod.id) if parent else "",
                resources=Resources(cpu_shares=2),
                oom_score_adj=oom.clamped(OOM_SCORE),
                security=Security(drop=("ALL",), no_new_privileges=True),
                annotations=of_pod(self._parts, pod),
            ),
            image,
        )

    def _options(self, pod: Pod, stored: StoredContainer, rootfs: Sequence[Mount]) -> CreateOptions:
        return CreateOptions(
            spec=stored.spec.value if stored.spec else b"",
            rootfs=rootfs,
            stdio=Stdio(),
            runtime=stored.runtime,
            runtime_path=self._parts.handlers.runtime_path(pod.handler),
            sandbox_id=pod.id,
        )


def _lock(pod_id: str) -> str:
    return f"pause {pod_id}"


def _with_spec(stored: StoredContainer, document: spec.Spec) -> StoredContainer:
    return replace(stored, spec=AnyValue(spec.SPEC_TYPE, json.dumps(document, separators=(",", ":")).encode()))


async def _ended(task: Task) -> None:
    if (await task.state()).status is not Status.STOPPED:
        with suppress(NotFound):
            await task.kill(KILL, all=True)
        await task.wait()

    async def failed(error: CortenError) -> None:
        log.warning("pod sandbox %s: the task of its pause process cannot be deleted: %s", task.id, error)

    await delete_ended(task, ATTEMPTS, failed)


def _unwatched(pod: Pod, task: Task) -> None:
    return
