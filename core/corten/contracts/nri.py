"""Contract of the Node Resource Interface: programs of the node's owner that see pods and containers, and have a say.

Terms. An *NRI plugin* is another process; it is told of each step in the life of pods and containers, may *adjust* a
container that is being created, *update* the resources of others, or *evict* them. Plugins are asked one after the
other in the order of their index; what two of them set differently is an error of the second.

Whoever runs pods (CRI) calls the points below and gives, with `start`, the way back to itself. Each point returns at
once where no plugin is connected. While a pod or container comes or goes between two records, the way back would tell
a plugin that connects just then half of it: such work is done inside `holding`.

    await nri.start(runtime)
    async with nri.holding():
        spec, devices = await nri.create_container(pod, NriContainer(id, pod.id, spec=spec))
        # ... make the container and record it ...
        await nri.post_create_container(pod, container)

Errors. A point raises what the plugin answered, so that the step is refused; a plugin that has gone, or does not
answer within its time, is cut off and does not refuse anything. `stop…` and `remove…` never refuse: they log.
Resources are those of the OCI runtime spec (`linux.resources`) as JSON objects. Everything runs on the event loop.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from typing import Any, Protocol

from corten.values import dataclass

Resources = Mapping[str, Any]
"""`linux.resources` of the OCI runtime spec; beyond it, the text `blockioClass` and `rdtClass` may be there."""


@dataclass(frozen=True, slots=True)
class NriPod:
    """A pod as plugins see it; `namespaces` are those of its own, type (OCI's word) to path; `pid` 0 for none."""

    id: str
    name: str = ""
    uid: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    runtime_handler: str = ""
    pid: int = 0
    ips: Sequence[str] = ()
    cgroup_parent: str = ""
    cgroups_path: str = ""
    namespaces: Mapping[str, str] = field(default_factory=dict)
    overhead: Resources | None = None
    """What the runtime itself needs, as the kubelet says."""
    pod_resources: Resources | None = None
    """The sum of the containers' resources, as the kubelet says."""


@dataclass(frozen=True, slots=True)
class NriImage:
    """Where a container's image came from: normalised name, digest of the manifest or index, digest of the config."""

    name: str = ""
    digest: str = ""
    config_digest: str = ""


@dataclass(frozen=True, slots=True)
class NriContainer:
    """A container; `spec` is its OCI runtime spec (never changed here), `state` one of `created`, `running`,
    `stopped` and empty for unknown; times in ns since the epoch. `labels` and `annotations` beyond those of the spec.

    `seccomp` is the profile that was asked for: `runtime/default`, `unconfined`, `localhost/FILE`, or empty.
    """

    id: str
    pod_id: str
    name: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)
    state: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    pid: int = 0
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    cdi_devices: Sequence[str] = ()
    seccomp: str = ""
    image: NriImage | None = None


@dataclass(frozen=True, slots=True)
class NriAdjusted:
    """The spec as the plugins want it, and the CDI devices that they want injected into it."""

    spec: dict[str, Any]
    cdi_devices: Sequence[str] = ()


class NriRuntime(Protocol):
    """The way back: what plugins may ask of whoever runs the pods. Nothing here calls a point of `Nri`."""

    def pods(self) -> Sequence[NriPod]:
        """All that are ready or not, removed ones excepted."""
        ...

    def containers(self) -> Sequence[NriContainer]:
        """Those that are created or run. Must not block."""
        ...

    async def update(self, container_id: str, resources: Resources) -> None:
        """Change the resources of a container. Harmless if there is none of that id; raises what refuses it."""
        ...

    async def evict(self, container_id: str, reason: str) -> None:
        """Stop a container without grace. Harmless if there is none of that id."""
        ...


class Nri(Protocol):
    """The plugin `io.containerd.nri.v1.nri`."""

    @property
    def enabled(self) -> bool:
        """False if the settings disable it: every point then does nothing."""
        ...

    async def start(self, runtime: NriRuntime) -> None:
        """Once, when the state of an earlier daemon is known again: start the installed plugins, and listen."""
        ...

    def holding(self) -> AbstractAsyncContextManager[None]:
        """Keep plugins that connect from being told the state of things until the block ends; any number at once."""
        ...

    async def run_pod_sandbox(self, pod: NriPod) -> None:
        """Before the pod is announced as running; if it is refused, plugins are told that it stops and goes."""
        ...

    async def update_pod_sandbox(
        self, pod: NriPod, overhead: Resources | None = None, resources: Resources | None = None
    ) -> None: ...
    async def post_update_pod_sandbox(self, pod: NriPod) -> None: ...
    async def stop_pod_sandbox(self, pod: NriPod) -> None:
        """May be called again: plugins are told once."""
        ...

    async def remove_pod_sandbox(self, pod: NriPod) -> None:
        """May be called again: plugins are told once."""
        ...

    async def create_container(self, pod: NriPod, container: NriContainer) -> NriAdjusted:
        """Before the container is made. Raises for a refusal or a conflict; call `undo…` if making it fails."""
        ...

    async def post_create_container(self, pod: NriPod, container: NriContainer) -> None: ...
    async def start_container(self, pod: NriPod, container: NriContainer) -> None: ...
    async def post_start_container(self, pod: NriPod, container: NriContainer) -> None: ...
    async def update_container(self, pod: NriPod, container: NriContainer, resources: Resources) -> Resources:
        """The resources as the plugins want them, before they are set."""
        ...

    async def post_update_container(self, pod: NriPod, container: NriContainer) -> None: ...
    async def stop_container(self, pod: NriPod, container: NriContainer) -> None:
        """When it is stopped, and also when it ended by itself: plugins are told once."""
        ...

    async def remove_container(self, pod: NriPod, container: NriContainer) -> None:
        """Tells of the stop first if it was not told; may be called again."""
        ...

    async def undo_create_container(self, pod: NriPod, container: NriContainer) -> None:
        """The container that was asked about was not made after all."""
        ...
