"""What the parts of CRI promise each other; each part is one package below this one.

Everything async runs on the event loop and never blocks it. Errors are those of `corten.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.mounts import Mount
from corten.oci.image_defaults import ImageDefaults

from .state.containers import Container
from .state.pods import Pins, Pod

if TYPE_CHECKING:
    from corten.wire.service import CallContext

NAMESPACE = "k8s.io"
"""Everything of CRI is in this namespace of the stores."""


# ---------------------------------------------------------------- namespaces of pods (corten_cri.namespaces)
@dataclass(frozen=True, slots=True)
class IdMap:
    """A range of ids: `size` ids from `container` up are those from `host` up."""

    container: int
    host: int
    size: int


@dataclass(frozen=True, slots=True)
class WantedNamespaces:
    """What a pod wants of its own. The paths in `pins` are where to bind them: chosen and recorded before the call."""

    pins: Pins
    hostname: str = ""
    """Set in a uts namespace of its own."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Set inside; each has been checked to belong to a namespace that the pod has."""
    uid_map: tuple[IdMap, ...] = ()
    gid_map: tuple[IdMap, ...] = ()
    """Of the user namespace, which then owns the others."""


class PodNamespaces(Protocol):
    """Makes, pins and drops namespaces in a short-lived process."""

    def pins(self, id: str, *, network: bool, ipc: bool, uts: bool, user: bool) -> Pins:
        """The paths for a pod of that id; nothing is made."""
        ...

    async def make(self, wanted: WantedNamespaces) -> None:
        """All or nothing. What an earlier try left under the same paths is replaced. Raises what the kernel refused."""
        ...

    async def alive(self, pins: Pins) -> bool:
        """Whether all of them are still bound to a namespace."""
        ...

    async def remove(self, pins: Pins) -> None:
        """Unbind and remove the files; may be called again, and for pins that were never made."""
        ...


# ---------------------------------------------------------------- networks of pods (corten_cri.cni)
@dataclass(frozen=True, slots=True)
class PodNetwork:
    """A pod as CNI sees it; `handler` may have a configuration folder of its own."""

    id: str
    netns: str
    handler: str
    config: pb.PodSandboxConfig


@dataclass(frozen=True, slots=True)
class NetworkCondition:
    """Whether pods can get a network now."""

    ready: bool
    reason: str = ""
    message: str = ""


class Network(Protocol):
    """CNI: durable on its own account, so that no address leaks whenever the daemon dies."""

    async def setup(self, pod: PodNetwork) -> tuple[str, ...]:
        """Attach a pod; its addresses, the main one first. On failure nothing is left attached."""
        ...

    async def check(self, pod: PodNetwork) -> None:
        """Raises FailedPrecondition if the attachments are not as they were made."""
        ...

    async def teardown(self, pod: PodNetwork) -> None:
        """Detach; may be called again, for a pod that was never attached, and when `netns` is gone already."""
        ...

    async def collect(self, alive: Sequence[PodNetwork]) -> None:
        """At start: give back what pods hold that are not among these. Failures are logged."""
        ...

    def condition(self) -> NetworkCondition: ...
    def describe(self) -> Mapping[str, Any]:
        """For the verbose status: keys `cniconfig`, `lastCNILoadStatus`, and `lastCNILoadStatus.HANDLER`."""
        ...

    async def update_pod_cidr(self, cidr: str) -> None:
        """The kubelet tells the pod CIDR: write the configuration from the template, if there is one."""
        ...


# ---------------------------------------------------------------- streaming (corten_cri.streaming)
class Streaming(Protocol):
    """The server of exec, attach and port-forward: hands out URLs, each good for one connection and a short time."""

    async def exec(self, request: pb.ExecRequest, call: CallContext) -> pb.ExecResponse: ...
    async def attach(self, request: pb.AttachRequest, call: CallContext) -> pb.AttachResponse: ...
    async def port_forward(self, request: pb.PortForwardRequest, call: CallContext) -> pb.PortForwardResponse: ...


# ---------------------------------------------------------------- images (corten_cri.images)
@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image of the store that is unpacked, or can be at once."""

    id: str
    """Digest of its config."""
    names: tuple[str, ...]
    """Tags and digests of the store that mean it, tags first."""
    digest: str
    """Digest of what the names point to."""
    chain_id: str
    """Name of its top snapshot; empty for an image without layers."""
    defaults: ImageDefaults
    execution: Mapping[str, object]
    """The field `config` of its config as it stands; `Volumes` is there."""
    pinned: bool = False

    @property
    def reference(self) -> str:
        """By digest if a name has one, else the first name."""
        return next((name for name in self.names if "@" in name), self.names[0] if self.names else self.id)


class Images(Protocol):
    """What containers need of the images; pulling, listing and removing is the ImageService of the same part."""

    async def resolve(self, reference: str) -> LocalImage:
        """By name, name with digest, or id. Raises NotFound."""
        ...

    async def ensure(self, reference: str, handler: str) -> LocalImage:
        """Resolve, or pull first; for the images that the node itself needs (pause)."""
        ...

    def snapshotter(self, handler: str) -> str:
        """The snapshotter of a handler's containers."""
        ...

    async def unpack(self, image: LocalImage, snapshotter: str) -> None:
        """See to it that the image's top snapshot is there."""
        ...


# ---------------------------------------------------------------- events and devices (corten_cri.events, .cdi)
class ContainerEvents(Protocol):
    """GetContainerEvents: bounded for each subscriber."""

    def publish(self, kind: int, id: str, pod_id: str) -> None:
        """A container, or the pod itself (`id` is `pod_id`), has changed; the records tell how. Never blocks.

        `kind` is a ContainerEventType.
        """
        ...


class Cdi(Protocol):
    """Devices by the Container Device Interface."""

    async def inject(self, spec: dict[str, Any], devices: Sequence[str], annotations: Mapping[str, str]) -> None:
        """Edit the OCI spec for the devices of the request, and those in annotations `cdi.k8s.io/…`.

        Raises NotFound for a device nobody describes, InvalidArgument for a malformed name.
        """
        ...


# ---------------------------------------------------------------- what pods and containers offer the others
class Execs(Protocol):
    """Processes beside a container's own, for streaming and ExecSync (corten_cri.containers)."""

    async def begin(self, container: Container, exec_id: str, command: Sequence[str], stdio: ExecStdio) -> None:
        """Add a process to a running container, not started yet. FailedPrecondition if it does not run."""
        ...


@dataclass(frozen=True, slots=True)
class ExecStdio:
    """FIFOs of a further process; empty for none."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False


class Volumes(Protocol):
    """Image volumes: an image mounted read-only for containers (corten_cri.containers)."""

    async def mount(self, image: LocalImage, snapshotter: str) -> Sequence[Mount]: ...


__all__ = [
    "NAMESPACE", "Cdi", "Container", "ContainerEvents", "ExecStdio", "Execs", "IdMap", "Images", "LocalImage",
    "Network", "NetworkCondition", "Pins", "Pod", "PodNamespaces", "PodNetwork", "Streaming", "WantedNamespaces",
]  # fmt: skip
