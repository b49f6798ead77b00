"""The pod sandbox controller over a CRI service that is a double: what it asks, and how it shows the answers."""

import asyncio
import json
from typing import Any

import pytest
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.objects import Sandbox
from corten.contracts.sandboxes import NOT_READY, READY, SandboxOptions
from corten.errors import NotFound, Unimplemented
from corten.wire.service import CallContext, Service
from corten_cri.pods.controller import PodSandboxes

NS = "k8s.io"


class Cri:
    """Pods by id, with whether they are ready."""

    def __init__(self) -> None:
        self.pods = {"p": True}

    async def pod_sandbox_status(
        self, request: pb.PodSandboxStatusRequest, call: CallContext
    ) -> pb.PodSandboxStatusResponse:
        if request.pod_sandbox_id not in self.pods:
            raise NotFound("pod: not there")
        state: Any = pb.SANDBOX_READY if self.pods[request.pod_sandbox_id] else pb.SANDBOX_NOTREADY
        status = pb.PodSandboxStatus(id=request.pod_sandbox_id, state=state, created_at=5)
        return pb.PodSandboxStatusResponse(status=status, info={"info": json.dumps({"pid": 42})})

    async def stop_pod_sandbox(self, request: pb.StopPodSandboxRequest, call: CallContext) -> pb.StopPodSandboxResponse:
        self.pods[request.pod_sandbox_id] = False
        return pb.StopPodSandboxResponse()

    async def remove_pod_sandbox(
        self, request: pb.RemovePodSandboxRequest, call: CallContext
    ) -> pb.RemovePodSandboxResponse:
        del self.pods[request.pod_sandbox_id]
        return pb.RemovePodSandboxResponse()

    @property
    def services(self) -> tuple[Service, ...]:
        return (Service(pb.DESCRIPTOR.services_by_name["RuntimeService"], self),)


async def test_a_pod_is_shown_stopped_and_removed() -> None:
    cri = Cri()
    pods = PodSandboxes(cri)
    found = await pods.status(NS, "p", verbose=True)
    assert (found.state, found.pid, found.created_at, "info" in found.info) == (READY, 42, 5, True)
    waiting = asyncio.create_task(pods.wait(NS, "p"))
    await asyncio.sleep(0)
    await pods.stop(NS, "p")
    assert (await waiting).exited_at > 0
    assert (await pods.status(NS, "p")).state == NOT_READY
    await pods.shutdown(NS, "p")
    assert cri.pods == {}
    await pods.stop(NS, "p")
    with pytest.raises(NotFound):
        await pods.shutdown(NS, "p")


async def test_pods_are_made_by_cri_and_live_in_its_namespace() -> None:
    pods = PodSandboxes(Cri())
    for step in (pods.create(NS, Sandbox("x"), SandboxOptions()), pods.start(NS, "x"), pods.metrics(NS, "p")):
        with pytest.raises(Unimplemented, match="crictl"):
            await step
    assert (await pods.status("default", "p")).state == NOT_READY
    await pods.stop("default", "p")
    with pytest.raises(NotFound, match=NS):
        await pods.wait("default", "p")
