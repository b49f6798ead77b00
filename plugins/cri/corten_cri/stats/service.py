"""The calls of CRI about statistics and metrics."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from functools import partial

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import CortenError, DeadlineExceeded, Unavailable
from corten.wire.service import CallContext, cancellable

from ..paging import pages
from ..parts import Parts
from ..state.containers import Container
from ..state.pods import Pod, PodState
from . import descriptors, figures, messages, pod_cgroups
from .figures import Figures
from .interfaces import Interface
from .samples import Sample, Samples

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import metrics, network

POOL = "cri-stats"
"""Threads that read /proc and cgroups: apart from those that clients' changes wait for."""


SHIM_TIMEOUT = 10.0
"""Seconds in which a shim must tell; a container whose shim hangs is told without figures."""


class Stats:
    """Everything is read when it is asked for, many containers side by side; nothing waits on the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._samples = Samples(parts.config.stats_collect_period)
        parts.containers.watch(self._seen)
        parts.pods.watch(self._seen)

    @cancellable
    async def container_stats(self, request: pb.ContainerStatsRequest, call: CallContext) -> pb.ContainerStatsResponse:
        container = self._parts.containers.get(request.container_id)
        return pb.ContainerStatsResponse(stats=await self._of_container(container))

    @cancellable
    async def list_container_stats(
        self, request: pb.ListContainerStatsRequest, call: CallContext
    ) -> pb.ListContainerStatsResponse:
        return pb.ListContainerStatsResponse(stats=await self._containers(request.filter))

    async def stream_container_stats(
        self, request: pb.StreamContainerStatsRequest, call: CallContext
    ) -> AsyncIterator[pb.StreamContainerStatsResponse]:
        for page in pages(await self._containers(request.filter)):
            yield pb.StreamContainerStatsResponse(container_stats=page)

    @cancellable
    async def pod_sandbox_stats(
        self, request: pb.PodSandboxStatsRequest, call: CallContext
    ) -> pb.PodSandboxStatsResponse:
        pod = self._parts.pods.get(request.pod_sandbox_id)
        if pod.state is not PodState.READY:
            raise Unavailable(f"pod sandbox {pod.id}: it has no statistics, as it is not ready")
        return pb.PodSandboxStatsResponse(stats=(await self._pods([pod]))[0])

    @cancellable
    async def list_pod_sandbox_stats(
        self, request: pb.ListPodSandboxStatsRequest, call: CallContext
    ) -> pb.ListPodSandboxStatsResponse:
        return pb.ListPodSandboxStatsResponse(stats=await self._pods(self._filtered(request.filter)))

    async def stream_pod_sandbox_stats(
        self, request: pb.StreamPodSandboxStatsRequest, call: CallContext
    ) -> AsyncIterator[pb.StreamPodSandboxStatsResponse]:
        for page in pages(await self._pods(self._filtered(request.filter))):
            yield pb.StreamPodSandboxStatsResponse(pod_sandbox_stats=page)

    @cancellable
    async def list_metric_descriptors(
        self, request: pb.ListMetricDescriptorsRequest, call: CallContext
    ) -> pb.ListMetricDescriptorsResponse:
        return pb.ListMetricDescriptorsResponse(descriptors=descriptors.descriptors())

    @cancellable
    async def list_pod_sandbox_metrics(
        self, request: pb.ListPodSandboxMetricsRequest, call: CallContext
    ) -> pb.ListPodSandboxMetricsResponse:
        return pb.ListPodSandboxMetricsResponse(pod_metrics=await self._metrics())

    async def stream_pod_sandbox_metrics(
        self, request: pb.StreamPodSandboxMetricsRequest, call: CallContext
    ) -> AsyncIterator[pb.StreamPodSandboxMetricsResponse]:
        for page in pages(await self._metrics()):
            yield pb.StreamPodSandboxMetricsResponse(pod_sandbox_metrics=page)

    # ---------------------------------------------------------------- containers
    async def _containers(self, wanted: pb.ContainerStatsFilter) -> list[pb.ContainerStats]:
        chosen = [each for each in self._parts.containers.all() if _matches(each, wanted)]
        return await asyncio.gather(*map(self._of_container, chosen))

    async def _of_container(self, container: Container) -> pb.ContainerStats:
        return await self._told(container, await self._sample(container))

    async def _told(self, container: Container, sample: Sample | None) -> pb.ContainerStats:
        usage = self._parts.images.usage
        layer = await usage.of(container.snapshotter, container.id)
        return messages.container_stats(container, sample, layer, usage.root(container.snapshotter))

    async def _sample(self, container: Container) -> Sample | None:
        """None for one that does not run, or has ended meanwhile."""
        if not container.running:
            return None
        try:
            return await self._samples.take(container.id, partial(self._read, container.id), container.started_at)
        except CortenError:
            return None

    async def _read(self, id: str) -> Figures:
        try:
            async with asyncio.timeout(SHIM_TIMEOUT):
                return figures.of_task(await (await self._parts.task(id)).stats())
        except TimeoutError:
            raise DeadlineExceeded(f"container {id}: its shim does not tell its statistics") from None

    # ---------------------------------------------------------------- pods
    def _filtered(self, wanted: pb.PodSandboxStatsFilter) -> list[Pod]:
        return [
            pod
            for pod in self._parts.pods.all()
            if pod.state is PodState.READY
            and pod.id.startswith(wanted.id)
            and all(pod.config.labels.get(key) == value for key, value in wanted.label_selector.items())
        ]

    async def _pods(self, pods: list[Pod]) -> list[pb.PodSandboxStats]:
        inside, networks = self._inside(), await self._networks(pods)
        return await asyncio.gather(*(self._of_pod(pod, inside.get(pod.id, []), networks) for pod in pods))

    def _inside(self) -> Mapping[str, list[Container]]:
        """The containers of each pod: one walk for all of them."""
        found: dict[str, list[Container]] = {}
        for container in self._parts.containers.all():
            found.setdefault(container.pod_id, []).append(container)
        return found

    async def _of_pod(
        self, pod: Pod, containers: list[Container], networks: Mapping[str, list[Interface]]
    ) -> pb.PodSandboxStats:
        found = await asyncio.gather(*map(self._sample, containers))
        inside = await asyncio.gather(*map(self._told, containers, found))
        samples = [sample for sample in found if sample is not None]
        sample = await self._samples.take(pod.id, partial(self._read_pod, pod, samples), pod.created_at)
        linux = pb.LinuxPodSandboxStats(containers=inside)
        messages.fill(linux, sample)
        if pod.id in networks:
            linux.network.CopyFrom(messages.network_usage(networks[pod.id], sample.figures.at))
        linux.process.timestamp = sample.figures.at
        linux.process.process_count.value = sum(each.figures.tasks or 0 for each in samples)
        return pb.PodSandboxStats(attributes=messages.pod_attributes(pod), linux=linux)

    async def _read_pod(self, pod: Pod, samples: list[Sample]) -> Figures:
        """Of the pod's own cgroup, or else the sum of its containers."""
        parent = pod.config.linux.cgroup_parent
        found = await self._parts.pools.run(POOL, pod_cgroups.read, parent) if parent else None
        return found or figures.summed([sample.figures for sample in samples])

    async def _networks(self, pods: Iterable[Pod]) -> dict[str, list[Interface]]:
        """By pod; those on the host's network have none of their own."""
        pids = {each.pod_id: each.pid for each in self._parts.containers.all() if each.running and each.pid}
        own = {pod.id: pod.pins.net for pod in pods if pod.pins.net}
        return await self._parts.pools.run(POOL, self._look, own, pids)

    def _look(self, own: Mapping[str, str], pids: Mapping[str, int]) -> dict[str, list[Interface]]:
        found: dict[str, list[Interface]] = {}
        for id in own:
            try:
                found[id] = network.of_process(pids[id])
            except (KeyError, OSError, ValueError):
                continue
        rest = {path: id for id, path in own.items() if id not in found}
        tables = network.of_pins(self._parts.workers, list(rest)) if rest else {}
        return found | {rest[path]: table for path, table in tables.items()}

    # ---------------------------------------------------------------- metrics
    async def _metrics(self) -> list[pb.PodSandboxMetrics]:
        pods = [pod for pod in self._parts.pods.all() if pod.state is PodState.READY]
        inside, networks = self._inside(), await self._networks(pods)
        file_systems = await self._file_systems(each for all in inside.values() for each in all)
        return await asyncio.gather(
            *(self._metrics_of_pod(pod, inside.get(pod.id, []), networks.get(pod.id, []), file_systems) for pod in pods)
        )

    async def _metrics_of_pod(
        self,
        pod: Pod,
        containers: list[Container],
        interfaces: list[Interface],
        file_systems: Mapping[str, metrics.FileSystem],
    ) -> pb.PodSandboxMetrics:
        made = pb.PodSandboxMetrics(pod_sandbox_id=pod.id, metrics=metrics.of_pod(pod, interfaces))
        work = (self._metrics_of_container(pod, each, file_systems.get(each.snapshotter)) for each in containers)
        made.container_metrics.extend(found for found in await asyncio.gather(*work) if found is not None)
        return made

    async def _metrics_of_container(
        self, pod: Pod, container: Container, file_system: metrics.FileSystem | None
    ) -> pb.ContainerMetrics | None:
        sample = await self._sample(container)
        if sample is None:
            return None
        try:
            async with asyncio.timeout(SHIM_TIMEOUT):
                pids = [pid for pid, _ in await (await self._parts.task(container.id)).pids()]
        except (CortenError, TimeoutError):
            return None
        processes = await self._parts.pools.run(POOL, metrics.Processes.of, container.pid, pids)
        layer = await self._parts.images.usage.of(container.snapshotter, container.id)
        found = metrics.of_container(pod, container, sample.figures, processes, layer, file_system)
        return pb.ContainerMetrics(container_id=container.id, metrics=found)

    async def _file_systems(self, containers: Iterable[Container]) -> dict[str, metrics.FileSystem]:
        usage = self._parts.images.usage
        found = {}
        for name in {each.snapshotter for each in containers}:
            try:
                found[name] = await self._parts.pools.run(POOL, metrics.FileSystem.at, usage.root(name))
            except OSError:
                continue
        return found

    def _seen(self, id: str, record: object) -> None:
        if record is None:
            self._samples.forget(id)


def _matches(container: Container, wanted: pb.ContainerStatsFilter) -> bool:
    return (
        container.id.startswith(wanted.id)
        and container.pod_id.startswith(wanted.pod_sandbox_id)
        and all(container.config.labels.get(key) == value for key, value in wanted.label_selector.items())
    )
