"""StartContainer: the task is made and started; what fails leaves a container that has ended, with the reason."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.objects import Container as StoredContainer
from corten.contracts.objects import RuntimeInfo
from corten.contracts.runtime import CRI_LOG, CRI_STDIN, CreateOptions, Stdio, Task
from corten.errors import CortenError, FailedPrecondition, NotFound

from ..contracts import NAMESPACE
from ..handlers import owned
from ..parts import SCOPE, Parts
from ..pods import nri_pods, wanted
from ..state.containers import START_EXIT, Container
from ..state.pods import Pod, PodState
from . import nri_containers

log = logging.getLogger(__name__)

START_ERROR = "StartError"
KILL = 9


class Start:
    """`watch` is told of each task that runs."""

    def __init__(self, parts: Parts, watch: Callable[[Task], None]) -> None:
        self._parts = parts
        self._watch = watch

    async def start(self, id: str) -> None:
        """Raises NotFound, FailedPrecondition for a container that was started before, and what the runtime raises."""
        container = self._claimed(id)
        try:
            pod = self._ready(container)
            await self._run(pod, container)
        except BaseException as error:
            await self._failed(container.id, error)
            raise

    def _claimed(self, id: str) -> Container:
        container = self._parts.containers.get(id)
        if container.wire_state != pb.CONTAINER_CREATED:
            state = pb.ContainerState.Name(container.wire_state).removeprefix("CONTAINER_").lower()
            raise FailedPrecondition(f"container {container.id}: cannot start: it is {state}")
        if container.removing or container.starting:
            raise FailedPrecondition(f"container {container.id}: cannot start: it is being started or removed")
        return self._parts.containers.put(replace(container, starting=True))

    def _ready(self, container: Container) -> Pod:
        pod = self._parts.pods.get(container.pod_id)
        if pod.state is not PodState.READY:
            raise FailedPrecondition(f"container {container.id}: cannot start: pod sandbox {pod.id} is not ready")
        return pod

    async def _run(self, pod: Pod, container: Container) -> None:
        parts = self._parts
        stored = parts.metadata.containers(SCOPE).get(container.id)
        spec = await self._spec(stored)
        snapshots = parts.metadata.snapshotter(SCOPE, stored.snapshotter)
        rootfs, _ = await asyncio.gather(
            parts.pools.run("snapshots", snapshots.mounts, stored.snapshot_key), self._log_folder(container)
        )
        async with parts.holding_nri():
            if parts.nri is not None:
                told = nri_containers.container(container, json.loads(spec))
                await parts.nri.start_container(nri_pods.pod(parts, pod), told)
            options = CreateOptions(
                spec=spec,
                rootfs=rootfs,
                stdio=stdio_of(parts, container),
                runtime=_owned(pod, stored.runtime),
                runtime_path=parts.handlers.runtime_path(pod.handler),
                sandbox_id=pod.id,
                streaming=parts.handlers.chosen(pod.handler)[1].io_type == "streaming",
            )
            task = await parts.runtime.create(NAMESPACE, container.id, options)
            await self._started(task, container)
            if parts.nri is not None:
                told = nri_containers.container(parts.containers.get(container.id), json.loads(spec))
                with suppress(CortenError):
                    await parts.nri.post_start_container(nri_pods.pod(parts, pod), told)

    async def _log_folder(self, container: Container) -> None:
        if container.log_path:
            await self._parts.run(os.makedirs, os.path.dirname(container.log_path), 0o755, True)

    async def _started(self, task: Task, container: Container) -> None:
        """From here on the container is one that was started, however short its life."""
        parts, now = self._parts, time.time_ns()  # before it is let go: it may have ended when this is known
        try:
            await task.start()
        except BaseException:
            await _gone(task)
            raise
        found = parts.containers.get(container.id)
        running = replace(found, starting=False, started_at=now, pid=task.pid)
        parts.containers.put(running)
        self._watch(task)
        await parts.run(parts.store.save_status, running)
        parts.events.publish(pb.CONTAINER_STARTED_EVENT, container.id, container.pod_id)

    async def _spec(self, stored: StoredContainer) -> bytes:
        """As hooks leave it."""
        text = stored.spec.value if stored.spec else b""
        if not self._parts.hooks.has("oci_spec"):
            return text
        edited: dict[str, Any] = await self._parts.hooks.oci_spec(NAMESPACE, stored, json.loads(text))
        return json.dumps(edited, separators=(",", ":")).encode()

    async def _failed(self, id: str, error: BaseException) -> None:
        parts = self._parts
        if (found := parts.containers.find(id)) is None or found.started_at:
            return
        now = time.time_ns()
        failed = replace(
            found,
            starting=False,
            started_at=now,
            finished_at=now,
            exit_code=START_EXIT,
            reason=START_ERROR,
            message=str(error),
        )
        parts.containers.put(failed)
        with suppress(CortenError):
            await parts.run(parts.store.save_status, failed)
        parts.events.publish(pb.CONTAINER_STOPPED_EVENT, id, failed.pod_id)


def stdio_of(parts: Parts, container: Container) -> Stdio:
    """The log and the held input of a container, as the runtime knows them."""
    config = container.config
    where = f"{CRI_LOG}:"
    if container.log_path:
        where = f"{CRI_LOG}://{quote(container.log_path)}?max_line={max(parts.config.max_container_log_line_size, 0)}"
    stdin = (f"{CRI_STDIN}?once" if config.stdin_once else CRI_STDIN) if config.stdin else ""
    return Stdio(stdin, where, "" if config.tty else where, config.tty)


def _owned(pod: Pod, runtime: RuntimeInfo) -> RuntimeInfo:
    """Root of a pod with a user namespace owns the pipes of its processes, so that it can open /dev/stdout anew."""
    uids, gids = wanted.id_maps(pod.namespaces)
    if not uids:
        return runtime
    return owned(runtime, *(next((each.host for each in maps if each.container == 0), 0) for maps in (uids, gids)))


async def _gone(task: Task) -> None:
    """A task that could not be started leaves nothing."""
    with suppress(CortenError):
        with suppress(NotFound):
            await task.kill(KILL, all=True)
        await task.delete()
