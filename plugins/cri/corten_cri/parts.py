"""`Parts`: everything that the parts of CRI work with, put together once when the plugin starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from corten.contracts.scope import Scope
from corten.values import dataclass

from . import absent
from .config.runtime import RuntimeConfig
from .config.server import ServerConfig
from .contracts import (
    NAMESPACE,
    Cdi,
    ContainerEvents,
    Namespaces,
    Network,
    Streaming,
)
from .handlers import Handlers
from .state.arrivals import Arrivals
from .state.containers import Container
from .state.locks import Locks
from .state.pods import Pod
from .state.store import CriStore
from .state.table import Table
from .timers import Timers

if TYPE_CHECKING:
    from corten.contracts.events import Exchange
    from corten.contracts.leases import LeaseStore
    from corten.contracts.metadata import Metadata
    from corten.contracts.nri import Nri
    from corten.contracts.runtime import Runtime, Task
    from corten.contracts.sandboxes import SandboxStore
    from corten.contracts.workers import Workers
    from corten.plugin.hooks import HookRelay
    from corten.plugin.model import PluginView
    from corten.pools import Pools
    from corten.supervisor import Supervisor

    from .images.starting import ImageParts

P = ParamSpec("P")
T = TypeVar("T")

SCOPE = Scope(NAMESPACE)


@dataclass(frozen=True, slots=True)
class CriSettings:
    """What the plugin `io.containerd.cri.v1.runtime` is: its settings, and the base specs read from their files."""

    config: RuntimeConfig
    base_specs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By file name; not to be changed."""


@dataclass
class Parts:
    """The parts below `ready` are set by `assembly`; each stands for "not there" until then."""

    settings: CriSettings
    images: ImageParts
    """The instance of `io.containerd.cri.v1.images`."""
    server_config: ServerConfig
    root: Path
    """`<root>/io.containerd.grpc.v1.cri`: what is kept of containers."""
    state: Path
    """`<state>/io.containerd.grpc.v1.cri`: volatile, of pods and containers."""
    metadata: Metadata
    sandboxes: SandboxStore
    leases: LeaseStore
    runtime: Runtime
    exchange: Exchange
    pools: Pools
    supervisor: Supervisor
    workers: Workers
    hooks: HookRelay
    plugins: Mapping[str, PluginView]
    namespaces: Namespaces
    handlers: Handlers
    store: CriStore
    endpoint: str = ""
    """The socket on which clients reach the daemon."""
    nri: Nri | None = None
    """None where the plugin is not there."""
    arrivals: Arrivals = field(default_factory=Arrivals)
    timers: Timers = field(default_factory=Timers)
    pod_locks: Locks = field(default_factory=Locks)
    pods: Table[Pod] = field(default_factory=lambda: Table("pod sandbox"))
    containers: Table[Container] = field(default_factory=lambda: Table("container"))
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when everything from before the start is known again."""
    network: Network = field(default_factory=absent.NoNetwork)
    streaming: Streaming = field(default_factory=absent.NoStreaming)
    events: ContainerEvents = field(default_factory=absent.NoEvents)
    cdi: Cdi = field(default_factory=absent.NoCdi)

    @property
    def config(self) -> RuntimeConfig:
        return self.settings.config

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Something that blocks on files of CRI's own."""
        return await self.pools.run("cri", call, *args, **kwargs)

    async def stored(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Something of the metadata store that blocks."""
        return await self.pools.run("metadata", call, *args, **kwargs)

    async def task(self, id: str) -> Task:
        """The task of a container, or of a pod's pause container. Raises NotFound."""
        return await self.runtime.get(NAMESPACE, id)

    def snapshotter(self, handler: str) -> str:
        """Id of the snapshotter of a handler's containers."""
        return self.handlers.chosen(handler)[1].snapshotter or self.images.images.snapshotter(handler)

    def runtime_of(self, pod_id: str) -> str:
        """Name of the runtime of a pod's containers; empty for a pod that is gone."""
        pod = self.pods.find(pod_id)
        return self.runtime_of_handler(pod.handler) if pod else ""

    def runtime_of_handler(self, handler: str) -> str:
        """Name of a handler's runtime; empty for one that is not configured any more."""
        found = self.config.handlers.get(handler)
        return found.runtime_type if found else ""

    def holding_nri(self) -> AbstractAsyncContextManager[None]:
        """`Nri.holding`, or nothing where NRI is not there."""
        return nullcontext() if self.nri is None else self.nri.holding()

    def containers_of(self, pod_id: str) -> list[Container]:
        """The containers of a pod, oldest first."""
        return [each for each in self.containers.all() if each.pod_id == pod_id]
