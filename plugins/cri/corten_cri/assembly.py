"""Puts CRI together: makes `Parts`, sets each part in it, and says which part serves which RPC."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from corten import CONTAINERD_VERSION
from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.metrics import Metric
from corten.errors import FailedPrecondition
from corten.plugin.model import PluginContext
from corten.plugin.types import CRI, EVENT, LEASE, METADATA, NRI, RUNTIME, SANDBOX_STORE, SNAPSHOTTER
from corten.wire.service import Service

from .config.server import ServerConfig
from .events.stream import EventStream
from .handlers import Handlers
from .images.starting import ImageParts
from .parts import CriSettings, Parts
from .pods.pausing import Pausing
from .pods.removing import Removal as PodRemoval
from .pods.running import Running
from .pods.service import PodService
from .service import service
from .state.store import CriStore
from .status.node import NodeStatus
from .versions import Versions

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .cdi.devices import CdiDevices
from .checkpointing import Checkpoints
from .cni.network import CniNetwork
from .cni.settings import of_config
from .containers.creating import Creation
from .containers.execs import ContainerExecs
from .containers.exits import Exits
from .containers.image_volumes import ImageVolumes
from .containers.memory import watch_memory
from .containers.removing import Removal as ContainerRemoval
from .containers.service import ContainerService
from .containers.specs import spec_of
from .containers.starting import Start
from .containers.stopping import Stop
from .containers.updating import Update
from .namespaces.pod_namespaces import NamespaceMaker
from .recovery import Recovery
from .stats.service import Stats
from .streaming.service import CriStreaming
from .timers import Timers
from .way_back import WayBack

T = TypeVar("T")


class CriServices:
    """The plugin's instance: a provider of services that begins with finding everything from before the start."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._recovers = parts, False
        pausing = Pausing(parts)
        pod_removal = PodRemoval(parts, pausing)
        image_volumes = ImageVolumes(parts)
        self.exits = Exits(parts, partial(spec_of, parts))
        stop = Stop(parts, self.exits)
        removal = ContainerRemoval(parts, stop, self.exits)
        creation = Creation(parts, removal, pausing, image_volumes)
        execs = ContainerExecs(parts)
        self._way_back = WayBack(parts, Update(parts).set, lambda id: stop.stop(id, 0))
        parts.streaming = CriStreaming(parts, execs)
        pod_removal.stop_container = lambda id: stop.stop(id, 0)
        pod_removal.remove_container = removal.remove
        pod_removal.release_volumes = image_volumes.release
        pausing.watch = lambda pod, task: self.exits.watch_other(pod.id, pod_removal.pause_ended(pod.id, task))
        self._recovery = Recovery(parts, self.exits, pod_removal, removal, pausing)
        self._runtime_side: list[object] = [
            Versions(CONTAINERD_VERSION.removeprefix("v")),
            NodeStatus(parts),
            PodService(parts, Running(parts, pod_removal, pausing), pod_removal, pausing),
            ContainerService(parts, creation, Start(parts, self.exits.watch), stop, removal, execs),
            parts.streaming,
            parts.events,
            Stats(parts),
            Checkpoints(parts),
        ]
        self._image_side: list[object] = [parts.images.service]

    @property
    def services(self) -> Sequence[Service]:
        file, ready = pb.DESCRIPTOR, self._parts.ready
        return (
            service(file.services_by_name["RuntimeService"], self._runtime_side, ready),
            service(file.services_by_name["ImageService"], self._image_side, ready),
        )

    async def start(self) -> None:
        """Begins the recovery; calls wait for it."""
        await self._parts.network.start()
        await self._parts.streaming.start()
        self._parts.supervisor.job("cri: containers killed for memory", partial(watch_memory, self._parts, self.exits))
        self._parts.supervisor.background("cri: recovery", self._recover())
        self._recovers = True

    async def tell_metrics(self) -> Sequence[Metric]:
        """As `TellsMetrics` says."""
        return self._parts.timers.metrics()

    async def close(self) -> None:
        """Pods and containers run on. A recovery under way ends first, while the stores are there."""
        if self._recovers:
            await self._parts.ready.wait()
        await self._parts.streaming.close()
        await self.exits.close()

    async def _recover(self) -> None:
        try:
            await self._recovery.recover()
            if self._parts.nri is not None:
                await self._parts.nri.start(self._way_back)
        finally:
            self._parts.ready.set()


def assemble(context: PluginContext) -> CriServices:
    """Raises FailedPrecondition, with the reason, if one of the other two plugins is not up."""
    settings, images = _of(context, "runtime", CriSettings), _of(context, "images", ImageParts)
    for folder in (context.root, context.state):
        folder.chmod(0o700)  # also one that was there: CVE-2024-25621
    timers = Timers()
    parts = Parts(
        settings=settings,
        images=images,
        server_config=context.config_as(ServerConfig),
        root=context.root,
        state=context.state,
        metadata=context.one(METADATA),
        sandboxes=context.one(SANDBOX_STORE),
        leases=context.one(LEASE),
        runtime=context.one(RUNTIME),
        exchange=context.one(EVENT),
        pools=context.pools,
        supervisor=context.supervisor,
        workers=context.workers,
        hooks=context.hooks,
        plugins=context.plugins,
        handlers=Handlers(settings.config, context.one(RUNTIME), partial(_can_map_ids, context, images)),
        store=CriStore(context.one(METADATA), context.one(SANDBOX_STORE), context.root),
        namespaces=NamespaceMaker(context.workers, context.pools),
        timers=timers,
        network=CniNetwork(
            context.pools, context.supervisor, context.root / "cni", of_config(settings.config), timers=timers
        ),
        endpoint=context.grpc_address,
        nri=next(iter(context.each(NRI).values()), None),
    )
    parts.events = EventStream(parts)
    parts.cdi = CdiDevices(settings.config.cdi_spec_dirs, context.pools)
    for name, handler in settings.config.handlers.items():
        images.images.use(name, handler.snapshotter)
        images.usage.include(handler.snapshotter)
    return CriServices(parts)


def _can_map_ids(context: PluginContext, images: ImageParts, handler: str, snapshotter: str) -> str:
    """Why a handler's snapshotter cannot give a root file system for a user namespace; empty if it can."""
    name = snapshotter or images.images.snapshotter(handler)
    view = context.plugins.get(f"{SNAPSHOTTER}.{name}")
    if view is not None and "remap-ids" in view.capabilities:
        return ""
    return f"snapshotter {name} cannot map ids (capability remap-ids)"


def _of(context: PluginContext, id: str, kind: type[T]) -> T:
    instance = context.each(CRI).get(id)
    if isinstance(instance, kind):
        return instance
    reason = context.failures(CRI).get(id, "it is not there")
    raise FailedPrecondition(f"CRI: plugin {CRI}.{id} is needed: {reason}")
