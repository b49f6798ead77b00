"""RunPodSandbox: a pod is recorded, its files, namespaces and network are made, and then it is ready.

The order is that of what a crash leaves: the record, with the paths of all pins, is durable before anything it names is
made. What fails is taken back; what cannot be taken back stays as a pod that is not ready, for the kubelet to remove.
"""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import replace

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import AlreadyExists, CortenError, FailedPrecondition
from corten.wire.service import CallContext

from ..contracts import PodNetwork
from ..namespaces.model import NETNS_FOLDER, Pins, PodNamespaces, pins_for
from ..parts import Parts
from ..state.pods import Pod, PodState, name_of
from . import files, nri_pods, wanted
from .pausing import Pausing
from .removing import Removal

log = logging.getLogger(__name__)


class Running:
    """Makes pods."""

    def __init__(self, parts: Parts, removal: Removal, pausing: Pausing) -> None:
        self._parts = parts
        self._removal = removal
        self._pausing = pausing

    async def run(self, request: pb.RunPodSandboxRequest, call: CallContext) -> str:
        """The id of the pod. Raises InvalidArgument, AlreadyExists, and what making the parts of it raises."""
        parts, config = self._parts, request.config
        wanted.check(config)
        handler, _ = parts.handlers.chosen(request.runtime_handler)
        await self._check_user_namespace(config, handler)
        name, asked = name_of(config.metadata), request.SerializeToString(deterministic=True)
        return await parts.arrivals.make(
            f"pod {name}",
            asked,
            call,
            lambda: self._make(request, handler, name),
            lambda earlier: self._settle(request, handler, name, earlier),
        )

    async def _settle(
        self, request: pb.RunPodSandboxRequest, handler: str, name: str, earlier: bytes | None
    ) -> str | None:
        """What nobody was told of is given if it is the same and unused, else removed; what is known has its name."""
        holder = self._parts.pods.holder(name)
        pod = self._parts.pods.find(holder) if holder else None
        if pod is None:
            return None
        if earlier is None:
            raise AlreadyExists(f'pod sandbox name "{name}": it is taken by {pod.id} (remove that first)')
        unused = pod.state is PodState.READY and not self._parts.containers_of(pod.id)
        if unused and pod.handler == handler and pod.config == request.config:
            return pod.id
        await self._removal.remove(pod.id)
        return None

    async def _make(self, request: pb.RunPodSandboxRequest, handler: str, name: str) -> str:
        parts, id = self._parts, secrets.token_hex(32)
        parts.pods.reserve(name, id)
        pod = Pod(
            id=id,
            name=name,
            config=request.config,
            handler=handler,
            requested_handler=request.runtime_handler,
            created_at=time.time_ns(),
            pins=self._pins(id, request.config),
        )
        try:
            await parts.stored(parts.store.create_pod, pod, parts.handlers.runtime_info(handler))
        except BaseException:
            parts.pods.release(name, id)
            raise
        try:
            with parts.timers.call("sandbox_runtime_create", parts.runtime_of_handler(handler)):
                pod = await self._bring_up(pod)
        except BaseException as error:
            log.info("pod sandbox %s (%s): it could not be made: %s", id, name, error)
            await self._take_back(pod)
            raise
        log.info("pod sandbox %s (%s) is ready", id, name)
        return id

    async def _bring_up(self, pod: Pod) -> Pod:
        parts = self._parts
        sysctls = wanted.sysctls(pod.config, parts.config)
        uids, gids = wanted.id_maps(pod.namespaces)
        await parts.run(files.write, files.folder(parts.root, pod.id), pod.config)
        if pod.pins != Pins():
            await parts.namespaces.make(PodNamespaces(pod.pins, pod.config.hostname, sysctls, uids, gids))
        handler = parts.handlers.chosen(pod.handler)[1]
        shim = parts.runtime.prepare(handler.runtime_path or handler.runtime_type)
        parts.supervisor.background("cri: a shim for the pod's first container", shim)
        if pod.pins.net:
            pod = replace(pod, addresses=await parts.network.setup(network_of(pod)))
            await parts.namespaces.finish(pod.pins, sysctls)
        if handler.pausing == "always":
            pod = await self._pausing.begin(pod)
        async with parts.holding_nri():
            if parts.nri is not None:
                await parts.nri.run_pod_sandbox(nri_pods.pod(parts, pod))
            pod = replace(pod, state=PodState.READY)
            await parts.stored(parts.store.save_pod, pod)
            parts.pods.put(pod)
        for kind in (pb.CONTAINER_CREATED_EVENT, pb.CONTAINER_STARTED_EVENT):
            parts.events.publish(kind, pod.id, pod.id)
        self._pausing.soon(pod)
        parts.images.at_hand.soon()
        return pod

    async def _take_back(self, pod: Pod) -> None:
        """What is left by a failure of this is a pod that is not ready, so that it can be removed later."""
        parts = self._parts
        if parts.pods.find(pod.id) is not None:
            pod = parts.pods.get(pod.id)
        try:
            await self._removal.discard(pod)
        except CortenError as error:
            log.warning("pod sandbox %s: what was made of it cannot be taken back yet: %s", pod.id, error)
            parts.pods.put(replace(pod, state=PodState.NOTREADY))
            parts.arrivals.abandon(f"pod {pod.name}")

    def _pins(self, id: str, config: pb.PodSandboxConfig) -> Pins:
        namespaces = config.linux.security_context.namespace_options
        own_network = namespaces.network != pb.NODE
        under_state = self._parts.config.netns_mounts_under_state_dir
        return pins_for(
            files.folder(self._parts.state, id),
            net=own_network,
            ipc=namespaces.ipc != pb.NODE,
            uts=own_network,
            user=wanted.wants_user_namespace(namespaces),
            privileged=config.linux.security_context.privileged,
            netns_folder=self._parts.state / "netns" if under_state else NETNS_FOLDER,
        )

    async def _check_user_namespace(self, config: pb.PodSandboxConfig, handler: str) -> None:
        namespaces = config.linux.security_context.namespace_options
        wanted.id_maps(namespaces)
        if wanted.wants_user_namespace(namespaces):
            why = (await self._parts.handlers.features(handler)).why_no_user_namespaces
            if why:
                raise FailedPrecondition(
                    f'pod sandbox "{config.metadata.name}": handler {handler} cannot give it a user namespace: {why}'
                )


def network_of(pod: Pod) -> PodNetwork:
    """The pod as CNI sees it."""
    return PodNetwork(pod.id, pod.pins.net, pod.handler, pod.config)
