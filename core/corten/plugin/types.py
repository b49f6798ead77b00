"""The plugin types of containerd under their URIs, each bound to the contract that its instances fulfil.

A third party may define more: `MINE: PluginType[MyContract] = PluginType("com.example.mine.v1")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from corten.values import dataclass

if TYPE_CHECKING:
    from corten.contracts.content import ContentStore
    from corten.contracts.diff import Differ
    from corten.contracts.events import Exchange
    from corten.contracts.gc import Collector
    from corten.contracts.leases import LeaseStore
    from corten.contracts.metadata import Metadata
    from corten.contracts.mounts import MountHandler, MountManager
    from corten.contracts.nri import Nri
    from corten.contracts.runtime import Runtime, ShimProvider
    from corten.contracts.sandboxes import SandboxController, SandboxStore
    from corten.contracts.snapshots import Snapshotter
    from corten.contracts.streaming import StreamManager
    from corten.contracts.transfer import Transferer
    from corten.contracts.verification import ImageVerifier
    from corten.contracts.warnings import Warnings
    from corten.wire.service import ServiceProvider
    from corten.wire.totals import CallTotals

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class PluginType(Generic[T_co]):
    """The URI of a type; the type parameter is the contract, for the type checker only."""

    uri: str

    def __str__(self) -> str:
        return self.uri


CONTENT: PluginType[ContentStore] = PluginType("io.containerd.content.v1")
SNAPSHOTTER: PluginType[Snapshotter] = PluginType("io.containerd.snapshotter.v1")
DIFFER: PluginType[Differ] = PluginType("io.containerd.differ.v1")
METADATA: PluginType[Metadata] = PluginType("io.containerd.metadata.v1")
GC: PluginType[Collector] = PluginType("io.containerd.gc.v1")
LEASE: PluginType[LeaseStore] = PluginType("io.containerd.lease.v1")
SANDBOX_STORE: PluginType[SandboxStore] = PluginType("io.containerd.sandbox.store.v1")
EVENT: PluginType[Exchange] = PluginType("io.containerd.event.v1")
RUNTIME: PluginType[Runtime] = PluginType("io.containerd.runtime.v2")
SHIM: PluginType[ShimProvider] = PluginType("io.containerd.shim.v1")
GRPC: PluginType[ServiceProvider] = PluginType("io.containerd.grpc.v1")
TTRPC: PluginType[ServiceProvider] = PluginType("io.containerd.ttrpc.v1")
SERVER: PluginType[object] = PluginType("io.containerd.server.v1")
SERVICE: PluginType[object] = PluginType("io.containerd.service.v1")
WARNING: PluginType[Warnings] = PluginType("io.containerd.warning.v1")
INTERNAL: PluginType[object] = PluginType("io.containerd.internal.v1")
TRANSFER: PluginType[Transferer] = PluginType("io.containerd.transfer.v1")
STREAMING: PluginType[StreamManager] = PluginType("io.containerd.streaming.v1")
CRI: PluginType[object] = PluginType("io.containerd.cri.v1")
NRI: PluginType[Nri] = PluginType("io.containerd.nri.v1")
SANDBOX_CONTROLLER: PluginType[SandboxController] = PluginType("io.containerd.sandbox.controller.v1")
POD_SANDBOX_CONTROLLER: PluginType[SandboxController] = PluginType("io.containerd.podsandbox.controller.v1")
IMAGE_VERIFIER: PluginType[ImageVerifier] = PluginType("io.containerd.image-verifier.v1")
MOUNT_MANAGER: PluginType[MountManager] = PluginType("io.containerd.mount-manager.v1")
MOUNT_HANDLER: PluginType[MountHandler] = PluginType("io.containerd.mount-handler.v1")
CONTAINER_MONITOR: PluginType[object] = PluginType("io.containerd.monitor.container.v1")
TASK_MONITOR: PluginType[object] = PluginType("io.containerd.monitor.task.v1")
METRICS: PluginType[CallTotals] = PluginType("io.containerd.metrics.v1")
HOOKS: PluginType[object] = PluginType("io.corten.hooks.v1")
