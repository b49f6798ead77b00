"""The plugin itself: the points of the contract, each asked of all connected plugins in their order."""

import asyncio
import logging
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TypeVar

from corten.api.nri.v1alpha1 import nri_pb2 as pb
from corten.contracts.metrics import Metric
from corten.contracts.nri import NriAdjusted, NriContainer, NriPod, NriRuntime, Resources
from corten.contracts.warnings import Warnings
from corten.errors import CortenError, FailedPrecondition, PermissionDenied
from corten.pools import Pools
from corten.supervisor import Supervisor
from google.protobuf.message import Message

from . import claims, launching, merging, resources, validation
from .apply import adjusted
from .claims import Owners
from .config import NriConfig
from .figures import Figures
from .messages import container_message, pod_message
from .turns import Holding

# ruff: noqa: E402  (what is imported below exists on Unix only)
assert sys.platform != "win32"

from .launching import Installed
from .listening import Listener
from .plugin import Plugin

M = TypeVar("M", bound=Message)

log = logging.getLogger(__name__)

POOL = "nri"
OLD_PLUGIN = (
    "io.containerd.deprecation/nri-plugin-interface",
    "An NRI plugin has one call for all events: build it with NRI v0.12 or newer.",
)
"""Id and text of the warning."""


class Adaptation:
    """Fulfils `Nri` and `TellsMetrics`."""

    def __init__(
        self, config: NriConfig, pools: Pools, supervisor: Supervisor, warnings: Warnings | None = None
    ) -> None:
        self._config = config
        self._pools = pools
        self._supervisor = supervisor
        self._warnings = warnings
        self._runtime: NriRuntime | None = None
        self._listener: Listener | None = None
        self._plugins: list[Plugin] = []
        self._processes: dict[Plugin, int] = {}
        self._turn = asyncio.Lock()
        self._holding = Holding()
        self._states: dict[str, str] = {}
        self._figures = Figures()

    def __repr__(self) -> str:
        return f"Adaptation({', '.join(plugin.name for plugin in self._plugins) or 'no plugins'})"

    @property
    def enabled(self) -> bool:
        return not self._config.disable

    async def start(self, runtime: NriRuntime) -> None:
        if not self.enabled:
            return
        self._runtime = runtime
        for container in runtime.containers():
            self._states[container.id] = container.state
        for pod in runtime.pods():
            self._states[pod.id] = "running"
        found = await self._pools.run(
            POOL, launching.installed, self._config.plugin_path, self._config.plugin_config_path
        )
        await asyncio.gather(*map(self._start_installed, found))
        if not self._config.disable_connections:
            await self._listen()

    async def tell_metrics(self) -> Sequence[Metric]:
        """As `TellsMetrics` says."""
        return self._figures.metrics(len(self._connected()))

    async def close(self) -> None:
        """Take no more plugins, and end those that the daemon started."""
        if self._listener is not None:
            await self._listener.close()
        for plugin in self._plugins:
            plugin.close()
        while self._processes:
            _, pid = self._processes.popitem()
            await self._pools.run(POOL, launching.end, pid)

    def holding(self) -> AbstractAsyncContextManager[None]:
        return self._holding.shared() if self.enabled else nullcontext()

    async def run_pod_sandbox(self, pod: NriPod) -> None:
        if not self.enabled:
            return
        self._states[pod.id] = "running"
        try:
            await self._tell(
                pb.RUN_POD_SANDBOX, pb.RunPodSandboxRequest(pod=pod_message(pod)), pb.RunPodSandboxResponse
            )
        except CortenError:
            await self.stop_pod_sandbox(pod)
            await self.remove_pod_sandbox(pod)
            raise

    async def update_pod_sandbox(
        self, pod: NriPod, overhead: Resources | None = None, resources: Resources | None = None
    ) -> None:
        if not self._connected():
            return
        request = pb.UpdatePodSandboxRequest(
            pod=pod_message(pod),
            overhead_linux_resources=_resources(overhead),
            linux_resources=_resources(resources),
        )
        async with self._turn:
            for plugin in self._connected():
                await plugin.ask(pb.UPDATE_POD_SANDBOX, request, pb.UpdatePodSandboxResponse)

    async def post_update_pod_sandbox(self, pod: NriPod) -> None:
        request = pb.PostUpdatePodSandboxRequest(pod=pod_message(pod))
        await self._tell(pb.POST_UPDATE_POD_SANDBOX, request, pb.PostUpdatePodSandboxResponse)

    async def stop_pod_sandbox(self, pod: NriPod) -> None:
        if self._states.get(pod.id) == "running":
            self._states[pod.id] = "stopped"
            request = pb.StopPodSandboxRequest(pod=pod_message(pod))
            await self._tell_anyway(pb.STOP_POD_SANDBOX, request, pb.StopPodSandboxResponse)

    async def remove_pod_sandbox(self, pod: NriPod) -> None:
        if self._states.pop(pod.id, None):
            request = pb.RemovePodSandboxRequest(pod=pod_message(pod))
            await self._tell_anyway(pb.REMOVE_POD_SANDBOX, request, pb.RemovePodSandboxResponse)

    async def create_container(self, pod: NriPod, container: NriContainer) -> NriAdjusted:
        spec = dict(container.spec)
        if not self.enabled:
            return NriAdjusted(spec)
        self._states[container.id] = "created"
        if not self._connected() and not self._config.default_validator.enable:
            return NriAdjusted(spec)
        async with self._turn:
            whole, owners, wanted = pb.ContainerAdjustment(), Owners(), merging.Updates(Owners(), container.id)
            asked = []
            for plugin in self._connected():
                asked.append(plugin)
                request = pb.CreateContainerRequest(pod=pod_message(pod), container=container_message(container, spec))
                answer = await plugin.ask(pb.CREATE_CONTAINER, request, pb.CreateContainerResponse)
                if answer is None:
                    continue
                for claim in claims.of_adjustment(answer.adjust):
                    owners.take(container.id, claim, plugin.name)
                spec = await self._pools.run(POOL, adjusted, spec, answer.adjust)
                merging.merge(whole, answer.adjust)
                wanted.add(answer.update, plugin.name)
                await self._evict(answer.evict)
            await self._validate(pod, container, whole, owners, wanted, asked)
            await self._update(wanted.all())
        return NriAdjusted(spec, [device.name for device in whole.CDI_devices])

    async def post_create_container(self, pod: NriPod, container: NriContainer) -> None:
        await self._tell_of(pb.POST_CREATE_CONTAINER, pb.PostCreateContainerRequest, pod, container)

    async def start_container(self, pod: NriPod, container: NriContainer) -> None:
        if self.enabled:
            self._states[container.id] = "running"
        await self._tell_of(pb.START_CONTAINER, pb.StartContainerRequest, pod, container)

    async def post_start_container(self, pod: NriPod, container: NriContainer) -> None:
        await self._tell_of(pb.POST_START_CONTAINER, pb.PostStartContainerRequest, pod, container)

    async def update_container(self, pod: NriPod, container: NriContainer, wanted: Resources) -> Resources:
        if not self.enabled or not self._connected():
            return wanted
        async with self._turn:
            asked, updates = resources.message(wanted), merging.Updates(Owners())
            for plugin in self._connected():
                request = pb.UpdateContainerRequest(
                    pod=pod_message(pod), container=container_message(container), linux_resources=asked
                )
                answer = await plugin.ask(pb.UPDATE_CONTAINER, request, pb.UpdateContainerResponse)
                if answer is None:
                    continue
                updates.add(answer.update, plugin.name)
                if (own := updates.take(container.id)) is not None:
                    asked = resources.overlaid(asked, own)
                await self._evict(answer.evict)
            await self._update(updates.all())
        return resources.kept(wanted, resources.document(asked))

    async def post_update_container(self, pod: NriPod, container: NriContainer) -> None:
        await self._tell_of(pb.POST_UPDATE_CONTAINER, pb.PostUpdateContainerRequest, pod, container)

    async def stop_container(self, pod: NriPod, container: NriContainer) -> None:
        if self._states.get(container.id) not in ("created", "running"):
            return
        self._states[container.id] = "stopped"
        if not self._connected():
            return
        request = pb.StopContainerRequest(pod=pod_message(pod), container=container_message(container))
        async with self._turn:
            updates = merging.Updates(Owners())
            for plugin in self._connected():
                try:
                    answer = await plugin.ask(pb.STOP_CONTAINER, request, pb.StopContainerResponse)
                    if answer is not None:
                        updates.add(answer.update, plugin.name)
                except CortenError as error:
                    log.warning("%s (the container is stopped all the same)", error)
            await self._update(updates.all())

    async def remove_container(self, pod: NriPod, container: NriContainer) -> None:
        if container.id not in self._states:
            return
        await self.stop_container(pod, container)
        self._states.pop(container.id, None)
        if not self._connected():
            return
        request = pb.RemoveContainerRequest(pod=pod_message(pod), container=container_message(container))
        await self._tell_anyway(pb.REMOVE_CONTAINER, request, pb.RemoveContainerResponse)

    async def undo_create_container(self, pod: NriPod, container: NriContainer) -> None:
        await self.remove_container(pod, container)

    # ---------------------------------------------------------------- asking
    def _connected(self) -> list[Plugin]:
        self._plugins = [plugin for plugin in self._plugins if not plugin.closed]
        return self._plugins

    async def _tell(self, event: int, request: Message, answer: type[Message]) -> None:
        if not self._connected():
            return
        async with self._turn:
            for plugin in self._connected():
                if await plugin.tell(event, request, answer) and self._warnings is not None:
                    self._warnings.emit(*OLD_PLUGIN)

    async def _tell_of(self, event: int, kind: type[Message], pod: NriPod, container: NriContainer) -> None:
        if not self._connected():
            return
        answer = getattr(pb, kind.__name__.replace("Request", "Response"))
        request = kind(pod=pod_message(pod), container=container_message(container))
        await self._tell(event, request, answer)

    async def _tell_anyway(self, event: int, request: Message, answer: type[Message]) -> None:
        try:
            await self._tell(event, request, answer)
        except CortenError as error:
            log.warning("%s (it is done all the same)", error)

    async def _validate(
        self,
        pod: NriPod,
        container: NriContainer,
        whole: pb.ContainerAdjustment,
        owners: Owners,
        wanted: merging.Updates,
        asked: Iterable[Plugin],
    ) -> None:
        """The built-in validator, and the plugins that subscribed to it."""
        pod_told, told = pod_message(pod), container_message(container)
        if self._config.default_validator.enable:
            names = [plugin.name for plugin in asked]
            validation.validate(self._config.default_validator, pod_told, told, owners, names)
        event = pb.VALIDATE_CONTAINER_ADJUSTMENT
        validators = [plugin for plugin in self._connected() if plugin.wants(event)]
        if not validators:
            return
        request = pb.ValidateContainerAdjustmentRequest(
            pod=pod_told, container=told, adjust=whole, update=wanted.all(), owners=owners.message(),
            plugins=[pb.PluginInstance(name=plugin.base, index=plugin.index) for plugin in asked],
        )  # fmt: skip
        await asyncio.gather(*(_validated(plugin, request) for plugin in validators))

    # ---------------------------------------------------------------- the way back
    async def _update(self, updates: Iterable[pb.ContainerUpdate]) -> list[pb.ContainerUpdate]:
        """Carry out; returns those that failed and may not."""
        failed = []
        for update in updates:
            try:
                assert self._runtime is not None
                await self._runtime.update(update.container_id, resources.document(update.linux.resources))
            except CortenError as error:
                log.warning("NRI: update of container %s: %s", update.container_id, error)
                if not update.ignore_failure:
                    failed.append(update)
        return failed

    async def _evict(self, evictions: Iterable[pb.ContainerEviction]) -> None:
        for eviction in evictions:
            log.info("NRI: container %s is evicted: %s", eviction.container_id, eviction.reason)
            assert self._runtime is not None
            work = self._runtime.evict(eviction.container_id, eviction.reason)
            self._supervisor.background(f"NRI: evict {eviction.container_id}", _logged(work, eviction.container_id))

    async def _unsolicited(self, plugin: str, request: pb.UpdateContainersRequest) -> pb.UpdateContainersResponse:
        async with self._turn:
            log.debug("NRI plugin %s: wants %d containers updated", plugin, len(request.update))
            self._figures.wanted(plugin, "UpdateContainers", len(request.update), len(request.evict))
            failed = await self._update(request.update)
            await self._evict(request.evict)
            return pb.UpdateContainersResponse(failed=failed)

    # ---------------------------------------------------------------- plugins that come
    async def _listen(self) -> None:
        listener = Listener(self._config.socket_path, self._connect)
        try:
            await listener.start()
        except CortenError as error:
            log.warning("NRI: plugins cannot connect: %s", error)
            return
        self._listener = listener
        log.info("NRI plugins are taken on %s", self._config.socket_path)

    async def _connect(self, sock: socket.socket) -> None:
        """A plugin that connected by itself, until it goes."""
        plugin = Plugin(self._config, self._supervisor, self._unsolicited, self._figures)
        await plugin.begin(sock)
        async with self._holding.alone():
            await self._join(plugin)
        await plugin.ended.wait()

    async def _start_installed(self, program: Installed) -> None:
        plugin = Plugin(self._config, self._supervisor, self._unsolicited, self._figures, program.index, program.base)
        try:
            launched = await self._pools.run(POOL, launching.launch, program)
        except CortenError as error:
            log.error("%s", error)
            return
        self._processes[plugin] = launched.pid
        self._supervisor.background(f"NRI plugin {plugin.name}", self._reap(plugin, launched.pid))
        try:
            await plugin.begin(launched.sock, program.settings)
            await self._join(plugin)
        except CortenError as error:
            log.error("%s", error)

    async def _reap(self, plugin: Plugin, pid: int) -> None:
        """Its process goes with its connection."""
        await plugin.ended.wait()
        if self._processes.pop(plugin, None):
            await self._pools.run(POOL, launching.end, pid)

    async def _join(self, plugin: Plugin) -> None:
        """Tell it everything there is, do what it wants, and ask it from now on."""
        async with self._turn:
            assert self._runtime is not None
            pods = [pod_message(pod) for pod in self._runtime.pods()]
            containers = [container_message(container) for container in self._runtime.containers()]
            updates = await plugin.synchronize(pods, containers)
            self._plugins = sorted([*self._connected(), plugin], key=lambda each: each.index)
            log.info("NRI plugin %s: connected and synchronized", plugin.name)
            await self._update(updates)


async def _validated(plugin: Plugin, request: pb.ValidateContainerAdjustmentRequest) -> None:
    event = pb.VALIDATE_CONTAINER_ADJUSTMENT
    answer = await plugin.ask(event, request, pb.ValidateContainerAdjustmentResponse)
    if answer is None:
        raise FailedPrecondition(f"NRI plugin {plugin.name}: it is a validator and was cut off before it answered")
    if answer.reject:
        raise PermissionDenied(
            f"NRI plugin {plugin.name}: it refuses the container: {answer.reason or 'no reason given'}"
        )


async def _logged(work: object, container: str) -> None:
    try:
        await work  # type: ignore[misc]
    except CortenError as error:
        log.warning("NRI: eviction of container %s: %s", container, error)


def _resources(found: Mapping[str, object] | None) -> pb.LinuxResources | None:
    return None if found is None else resources.message(found)
