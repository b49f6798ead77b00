"""The record of a pod: frozen, replaced as a whole when it changes; the table has the present one."""

from dataclasses import field
from enum import StrEnum

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.values import dataclass

from ..namespaces.model import Pins


class PodState(StrEnum):
    """`PREPARING` is a pod whose RunPodSandbox has not been answered: it is in no list."""

    PREPARING = "preparing"
    READY = "ready"
    NOTREADY = "notready"


@dataclass(frozen=True, slots=True)
class Pod:
    """Times are ns since the epoch. Messages in it are never changed: copy one before you edit it."""

    id: str
    name: str
    """Under which it was reserved: name, namespace, uid and attempt."""
    config: pb.PodSandboxConfig
    handler: str
    """Name of the runtime handler, never empty."""
    state: PodState = PodState.PREPARING
    created_at: int = 0
    pins: Pins = field(default_factory=Pins)
    addresses: tuple[str, ...] = ()
    """The main one first; empty for a pod on the host's network."""
    pause: str = ""
    """Id of its pause container, empty for none: it is that of the pod."""
    resources: pb.LinuxContainerResources | None = None
    overhead: pb.LinuxContainerResources | None = None
    requested_handler: str = ""
    """As the request named it: empty for the default."""

    @property
    def security(self) -> pb.LinuxSandboxSecurityContext:
        return self.config.linux.security_context

    @property
    def namespaces(self) -> pb.NamespaceOption:
        return self.config.linux.security_context.namespace_options

    @property
    def on_host_network(self) -> bool:
        return self.namespaces.network == pb.NODE

    @property
    def wire_state(self) -> int:
        return pb.SANDBOX_READY if self.state is PodState.READY else pb.SANDBOX_NOTREADY


def name_of(metadata: pb.PodSandboxMetadata) -> str:
    """What makes a pod's name unique on the node."""
    return "_".join((metadata.name, metadata.namespace, metadata.uid, str(metadata.attempt)))
