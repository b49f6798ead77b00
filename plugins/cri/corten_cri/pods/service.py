"""The RPCs about pods."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import NotFound
from corten.wire.service import CallContext, cancellable

from ..parts import Parts
from ..state.pods import Pod, PodState
from ..state.shown import Shown
from . import answers, nri_pods
from .pausing import Pausing
from .removing import Removal
from .running import Running
from .shown_spec import shown_spec

PAGE = 1000
"""Items in one answer of a streaming list."""


class PodService:
    """Methods are named by the RPCs."""

    def __init__(self, parts: Parts, running: Running, removal: Removal, pausing: Pausing) -> None:
        self._parts = parts
        self._running = running
        self._removal = removal
        self._pausing = pausing
        self._shown = Shown(parts.pods, answers.item)

    async def run_pod_sandbox(self, request: pb.RunPodSandboxRequest, call: CallContext) -> pb.RunPodSandboxResponse:
        return pb.RunPodSandboxResponse(pod_sandbox_id=await self._running.run(request, call))

    async def stop_pod_sandbox(self, request: pb.StopPodSandboxRequest, call: CallContext) -> pb.StopPodSandboxResponse:
        """A pod that is gone has been stopped: the call may be repeated."""
        try:
            pod = self._parts.pods.get(request.pod_sandbox_id)
        except NotFound:
            return pb.StopPodSandboxResponse()
        await self._removal.stop(pod.id)
        return pb.StopPodSandboxResponse()

    async def remove_pod_sandbox(
        self, request: pb.RemovePodSandboxRequest, call: CallContext
    ) -> pb.RemovePodSandboxResponse:
        """A pod that is gone has been removed: the call may be repeated."""
        try:
            pod = self._parts.pods.get(request.pod_sandbox_id)
        except NotFound:
            return pb.RemovePodSandboxResponse()
        with self._parts.timers.call("sandbox_remove", pod.requested_handler):
            await self._removal.remove(pod.id)
        return pb.RemovePodSandboxResponse()

    @cancellable
    async def pod_sandbox_status(
        self, request: pb.PodSandboxStatusRequest, call: CallContext
    ) -> pb.PodSandboxStatusResponse:
        parts = self._parts
        pod = self.present(parts.pods.get(request.pod_sandbox_id))
        info = {}
        if request.verbose:
            runtime = parts.handlers.runtime_info(pod.handler)
            gone = parts.namespaces.missing(pod.pins)
            told = parts.network.describe_pod(pod.id), shown_spec(parts, pod)
            info["info"] = answers.info(pod, runtime, await self._pausing.pid(pod), gone, *told)
        return pb.PodSandboxStatusResponse(status=answers.status(pod), info=info)

    @cancellable
    async def list_pod_sandbox(self, request: pb.ListPodSandboxRequest, call: CallContext) -> pb.ListPodSandboxResponse:
        with self._parts.timers.call("sandbox_list"):
            return pb.ListPodSandboxResponse(items=self._listed(request.filter))

    async def stream_pod_sandboxes(
        self, request: pb.StreamPodSandboxesRequest, call: CallContext
    ) -> AsyncIterator[pb.StreamPodSandboxesResponse]:
        """The same, in pages."""
        with self._parts.timers.call("stream_sandbox_list"):
            found = self._listed(request.filter)
        for start in range(0, len(found), PAGE):
            yield pb.StreamPodSandboxesResponse(pod_sandboxes=found[start : start + PAGE])

    async def update_pod_sandbox_resources(
        self, request: pb.UpdatePodSandboxResourcesRequest, call: CallContext
    ) -> pb.UpdatePodSandboxResourcesResponse:
        """The kubelet sets the pod's cgroup itself; what it tells is kept, and passed on to NRI plugins."""
        parts = self._parts
        id = parts.pods.get(request.pod_sandbox_id).id
        async with parts.pod_locks.holding(id), parts.holding_nri():
            pod = parts.pods.get(id)
            overhead = request.overhead if request.HasField("overhead") else None
            resources = request.resources if request.HasField("resources") else None
            if parts.nri is not None:
                wanted = nri_pods.document(overhead), nri_pods.document(resources)
                await parts.nri.update_pod_sandbox(nri_pods.pod(parts, pod), *wanted)
            changed = replace(pod, overhead=overhead or pod.overhead, resources=resources or pod.resources)
            await parts.stored(parts.store.save_pod, changed)
            parts.pods.put(changed)
            if parts.nri is not None:
                await parts.nri.post_update_pod_sandbox(nri_pods.pod(parts, changed))
        return pb.UpdatePodSandboxResourcesResponse()

    def present(self, pod: Pod) -> Pod:
        """The pod as it is: one whose namespaces are gone is not ready, whatever was recorded."""
        if pod.state is PodState.READY and self._parts.namespaces.missing(pod.pins):
            self._parts.supervisor.background(f"pod sandbox {pod.id} has lost its namespaces", self._lost(pod.id))
            return replace(pod, state=PodState.NOTREADY)
        return pod

    async def _lost(self, id: str) -> None:
        async with self._parts.pod_locks.holding(id):
            pod = self._parts.pods.find(id)
            if pod is not None and pod.state is PodState.READY:
                await self._removal.not_ready(pod)

    def _listed(self, wanted: pb.PodSandboxFilter) -> list[pb.PodSandbox]:
        found = [self.present(each) for each in self._parts.pods.all()]
        if wanted.ByteSize():
            found = [each for each in found if answers.matches(each, wanted)]
        return self._shown(found)
