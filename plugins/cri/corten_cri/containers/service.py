"""The RPCs about containers."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import InvalidArgument, NotFound
from corten.wire.service import CallContext, cancellable

from ..images.image import CriImage
from ..parts import SCOPE, Parts
from ..state.containers import Container
from ..state.shown import Shown

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import answers
from .creating import Creation
from .exec_sync import ExecSync
from .execs import ContainerExecs
from .removing import Removal
from .starting import Start
from .stopping import Stop
from .updating import Update

PAGE = 1000
"""Items in one answer of a streaming list."""


class ContainerService:
    """Methods are named by the RPCs."""

    def __init__(
        self, parts: Parts, creation: Creation, start: Start, stop: Stop, removal: Removal, execs: ContainerExecs
    ) -> None:
        self._parts = parts
        self._creation = creation
        self._start = start
        self._stop = stop
        self._removal = removal
        self._execs = execs
        self._exec_sync = ExecSync(parts, execs)
        self.update = Update(parts)
        self._shown = Shown(parts.containers, answers.item)

    async def create_container(
        self, request: pb.CreateContainerRequest, call: CallContext
    ) -> pb.CreateContainerResponse:
        with self._timed("container_create", request.pod_sandbox_id):
            return pb.CreateContainerResponse(container_id=await self._creation.create(request, call))

    async def start_container(self, request: pb.StartContainerRequest, call: CallContext) -> pb.StartContainerResponse:
        container = self._parts.containers.get(request.container_id)
        with self._timed("container_start", container.pod_id):
            await self._start.start(container.id)
        return pb.StartContainerResponse()

    async def stop_container(self, request: pb.StopContainerRequest, call: CallContext) -> pb.StopContainerResponse:
        """A container that is gone has been stopped: the call may be repeated."""
        try:
            container = self._parts.containers.get(request.container_id)
        except NotFound:
            return pb.StopContainerResponse()
        with self._timed("container_stop", container.pod_id):
            await self._stop.stop(container.id, request.timeout, call)
        return pb.StopContainerResponse()

    async def remove_container(
        self, request: pb.RemoveContainerRequest, call: CallContext
    ) -> pb.RemoveContainerResponse:
        """A container that is gone has been removed: the call may be repeated."""
        try:
            container = self._parts.containers.get(request.container_id)
        except NotFound:
            return pb.RemoveContainerResponse()
        with self._timed("container_remove", container.pod_id):
            await self._removal.remove(container.id)
        return pb.RemoveContainerResponse()

    @cancellable
    async def list_containers(self, request: pb.ListContainersRequest, call: CallContext) -> pb.ListContainersResponse:
        with self._parts.timers.call("container_list"):
            return pb.ListContainersResponse(containers=self._listed(request.filter))

    async def stream_containers(
        self, request: pb.StreamContainersRequest, call: CallContext
    ) -> AsyncIterator[pb.StreamContainersResponse]:
        """The same, in pages."""
        with self._parts.timers.call("stream_container_list"):
            found = self._listed(request.filter)
        for start in range(0, len(found), PAGE):
            yield pb.StreamContainersResponse(containers=found[start : start + PAGE])

    @cancellable
    async def container_status(
        self, request: pb.ContainerStatusRequest, call: CallContext
    ) -> pb.ContainerStatusResponse:
        container = self._parts.containers.get(request.container_id)
        status = answers.status(container, await self.image_of(container))
        info = {}
        if request.verbose:
            info["info"] = answers.info(container, self._parts.metadata.containers(SCOPE).get(container.id))
        return pb.ContainerStatusResponse(status=status, info=info)

    async def update_container_resources(
        self, request: pb.UpdateContainerResourcesRequest, call: CallContext
    ) -> pb.UpdateContainerResourcesResponse:
        if not request.HasField("linux"):
            raise InvalidArgument(f"container {request.container_id}: the request has no resources for Linux")
        await self.update.update(request.container_id, request.linux)
        return pb.UpdateContainerResourcesResponse()

    async def reopen_container_log(
        self, request: pb.ReopenContainerLogRequest, call: CallContext
    ) -> pb.ReopenContainerLogResponse:
        container = self._parts.containers.get(request.container_id)
        task = await self._execs.task(container)
        if container.log_path:
            await task.reopen_log()
        return pb.ReopenContainerLogResponse()

    async def exec_sync(self, request: pb.ExecSyncRequest, call: CallContext) -> pb.ExecSyncResponse:
        return await self._exec_sync.run(request)

    async def image_of(self, container: Container) -> CriImage | None:
        """The container's image, if it is still there."""
        try:
            return await self._parts.images.images.find(container.image_id)
        except NotFound:
            return None

    def _timed(self, name: str, pod_id: str) -> AbstractContextManager[None]:
        return self._parts.timers.call(name, self._parts.runtime_of(pod_id))

    def _listed(self, wanted: pb.ContainerFilter) -> list[pb.Container]:
        found = self._parts.containers.all()
        if wanted.ByteSize():
            found = [each for each in found if answers.matches(each, wanted, wanted.pod_sandbox_id)]
        return self._shown(found)
