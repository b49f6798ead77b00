"""What the parts of CRI promise each other; each part is one package below this one.

Everything async runs on the event loop and never blocks it. Errors are those of `corten.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.values import dataclass

from .namespaces.model import Pins, PodNamespaces
from .state.containers import Container

if TYPE_CHECKING:
    from corten.contracts.runtime import Task
    from corten.wire.service import CallContext

NAMESPACE = "k8s.io"
"""Everything of CRI is in this namespace of the stores."""


# ---------------------------------------------------------------- namespaces of pods (corten_cri.namespaces)
class Namespaces(Protocol):
    """Makes the namespaces of pods; `NamespaceMaker` is it."""

    async def make(self, wanted: PodNamespaces) -> None: ...
    async def finish(self, pins: Pins, values: Mapping[str, str]) -> None: ...
    async def remove(self, pins: Pins) -> None: ...
    def missing(self, pins: Pins) -> list[str]: ...


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

    async def start(self) -> None:
        """Once, before the rest: read what an earlier daemon recorded; begin to watch the configuration."""
        ...

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

    async def condition(self) -> NetworkCondition: ...
    def describe(self) -> Mapping[str, Any]:
        """For the verbose status: keys `cniconfig`, `lastCNILoadStatus`, and `lastCNILoadStatus.HANDLER`."""
        ...

    def describe_pod(self, id: str) -> Mapping[str, Any] | None:
        """For the verbose status of a pod: `cniResult`; None for a pod that is not attached."""
        ...

    async def update_pod_cidr(self, cidr: str) -> None:
        """The kubelet tells the pod CIDR: write the configuration from the template, if there is one."""
        ...


# ---------------------------------------------------------------- streaming (corten_cri.streaming)
class Streaming(Protocol):
    """The server of exec, attach and port-forward: hands out URLs, each good for one connection and a short time."""

    async def start(self) -> None:
        """Begin to listen. Raises Unavailable if the address is taken, InvalidArgument for what cannot be used."""
        ...

    async def close(self) -> None:
        """Cut off all clients; what was executed goes on without them."""
        ...

    async def exec(self, request: pb.ExecRequest, call: CallContext) -> pb.ExecResponse: ...
    async def attach(self, request: pb.AttachRequest, call: CallContext) -> pb.AttachResponse: ...
    async def port_forward(self, request: pb.PortForwardRequest, call: CallContext) -> pb.PortForwardResponse: ...


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

    async def begin(self, container: Container, exec_id: str, command: Sequence[str], stdio: ExecStdio) -> Task:
        """Add a process to a running container, not started yet. FailedPrecondition if it does not run.

        Who calls starts and deletes it by the task that is returned.
        """
        ...


@dataclass(frozen=True, slots=True)
class ExecStdio:
    """FIFOs of a further process; empty for none."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    terminal: bool = False
