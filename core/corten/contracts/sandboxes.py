"""Contracts of sandboxes (pods): the store of their records, and the controllers that run them.

Terms. A *sandbox* is what containers of a pod share: namespaces, cgroups, or a virtual machine. Its *record* is in the
store; what runs is with a *controller*, named by the record's `sandboxer` (a plugin id of type `sandbox.controller.v1`,
or `podsandbox.controller.v1`). The *shim* controller leaves it to a shim that speaks the sandbox API.

Life cycle: created → started (state `SANDBOX_READY`) → stopped (`SANDBOX_NOTREADY`) → shut down, after which the
controller knows nothing of it. Whoever asks for a sandbox makes and deletes the record.

    pod = Sandbox("pod-1", RuntimeInfo("io.containerd.kata.v2"), sandboxer="shim")
    await controller.create("default", pod, SandboxOptions())
    instance = await controller.start("default", "pod-1")
    await controller.stop("default", "pod-1", timeout=10)
    await controller.shutdown("default", "pod-1")

Events: the service publishes `/sandboxes/create` and `/sandboxes/start`; a controller publishes `/sandboxes/exit`, once
for each sandbox that it started or found running when it started itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol

from corten.platforms import Platform
from corten.values import dataclass

from .mounts import Mount
from .objects import AnyValue, Sandbox

READY = "SANDBOX_READY"
NOT_READY = "SANDBOX_NOTREADY"


class SandboxStore(Protocol):
    """Methods block."""

    def create(self, namespace: str, sandbox: Sandbox) -> Sandbox:
        """Raises AlreadyExists, InvalidArgument."""
        ...

    def get(self, namespace: str, id: str) -> Sandbox:
        """Raises NotFound."""
        ...

    def update(self, namespace: str, sandbox: Sandbox, fieldpaths: Sequence[str] = ()) -> Sandbox:
        """Fields: labels, extensions, spec, runtime (with sub-paths `labels.K`, `extensions.K`). Raises NotFound."""
        ...

    def delete(self, namespace: str, id: str) -> None:
        """Raises NotFound."""
        ...

    def list(self, namespace: str, filters: Sequence[str] = ()) -> Sequence[Sandbox]: ...


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """What a sandbox is made of beside its record."""

    rootfs: Sequence[Mount] = ()
    options: AnyValue | None = None
    """For the controller, e.g. the CRI's `PodSandboxConfig`."""
    netns: str = ""
    """Path of the network namespace it is to use; empty if it makes one or uses the host's."""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SandboxInstance:
    """A sandbox that was started. `address` and `version` tell where tasks in it go: a shim's socket and its API."""

    id: str
    pid: int = 0
    created_at: int = 0
    """ns since the epoch."""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""
    version: int = 0
    spec: AnyValue | None = None


@dataclass(frozen=True, slots=True)
class SandboxExit:
    """How it ended; `exited_at` in ns since the epoch."""

    status: int
    exited_at: int


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """A sandbox now; times in ns since the epoch, 0 for not yet."""

    id: str
    pid: int = 0
    state: str = NOT_READY
    info: Mapping[str, str] = field(default_factory=dict)
    """Only when asked for verbosely."""
    created_at: int = 0
    exited_at: int = 0
    extra: AnyValue | None = None
    address: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class SandboxMetrics:
    """Figures of a sandbox as a whole; `data` e.g. cgroup metrics, `at` in ns since the epoch."""

    id: str
    at: int = 0
    data: AnyValue | None = None


class SandboxController(Protocol):
    """Runs sandboxes. On the event loop; mutating calls run to their end once begun.

    A method that needs the sandbox raises NotFound when the controller has none of that id.
    """

    async def create(self, namespace: str, sandbox: Sandbox, options: SandboxOptions) -> None:
        """Make it ready to start. On failure nothing is left. Raises AlreadyExists, InvalidArgument."""
        ...

    async def start(self, namespace: str, id: str) -> SandboxInstance:
        """Start what was created; when that fails, nothing of it is left."""
        ...

    async def platform(self, namespace: str, id: str) -> Platform:
        """What containers in it may be made for."""
        ...

    async def stop(self, namespace: str, id: str, timeout: float = 0.0) -> None:
        """End it with all in it, by force after `timeout` seconds (0: the controller decides).

        Of one that has ended or is not there, nothing is done.
        """
        ...

    async def wait(self, namespace: str, id: str) -> SandboxExit:
        """Until it has ended; may be cancelled."""
        ...

    async def status(self, namespace: str, id: str, *, verbose: bool = False) -> SandboxStatus:
        """Of one that is not there: NOT_READY, ended now."""
        ...

    async def shutdown(self, namespace: str, id: str) -> None:
        """Take away what is left of it, and forget it."""
        ...

    async def metrics(self, namespace: str, id: str) -> SandboxMetrics: ...
    async def update(self, namespace: str, id: str, sandbox: Sandbox, fieldpaths: Sequence[str] = ()) -> None:
        """The record was changed, or is about to be: take over what can be taken over while it runs."""
        ...
