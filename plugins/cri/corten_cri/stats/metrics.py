"""Figures as metrics. Pure, but for `Processes.of`, which reads /proc."""

import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.values import dataclass

from ..images.usage import Measured
from ..state.containers import Container
from ..state.pods import Pod
from .figures import Cpu, Figures, Memory
from .interfaces import Interface

assert sys.platform != "win32"

COUNTER, GAUGE = pb.COUNTER, pb.GAUGE
_SECOND = 1_000_000_000
_LIMITS = {
    name: getattr(resource, name)
    for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CORE", "RLIMIT_MEMLOCK", "RLIMIT_STACK")
}
_UNLIMITED = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class FileSystem:
    """Of the writable layers: size in bytes, and free inodes."""

    size: int
    inodes_free: int

    @classmethod
    def at(cls, root: str) -> "FileSystem":
        """Raises OSError. Blocks briefly."""
        found = os.statvfs(root)
        return cls(found.f_blocks * found.f_frsize, found.f_ffree)


@dataclass(frozen=True, slots=True)
class Processes:
    """What the processes of a container have open, and the soft limits of the first."""

    count: int
    descriptors: int
    sockets: int
    limits: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(cls, first: int, pids: Sequence[int]) -> "Processes":
        """Those that end meanwhile are left out. Blocks briefly."""
        descriptors = sockets = 0
        for pid in pids:
            with suppress(OSError):
                names = os.listdir(f"/proc/{pid}/fd")
                descriptors += len(names)
                sockets += sum(_is_socket(f"/proc/{pid}/fd/{name}") for name in names)
        limits: list[tuple[str, int]] = []
        with suppress(OSError):
            limits = [(name, _soft(first, number)) for name, number in _LIMITS.items()]
        return cls(len(pids), descriptors, sockets, tuple(limits))


@dataclass(frozen=True, slots=True)
class Labels:
    """The values of the labels that all metrics have."""

    base: tuple[str, ...]
    at: int

    def metric(self, name: str, kind: int, value: int, *further: str) -> pb.Metric:
        return pb.Metric(
            name=name, timestamp=self.at, metric_type=pb.MetricType.Name(kind), label_values=(*self.base, *further),
            value=pb.UInt64Value(value=value),
        )  # fmt: skip


def of_pod(pod: Pod, interfaces: Sequence[Interface]) -> list[pb.Metric]:
    """Those of its network."""
    metadata = pod.config.metadata
    labels = Labels((metadata.name, metadata.namespace, "", pod.id, ""), time.time_ns())
    return [metric for each in interfaces for metric in _network(labels, each)]


def of_container(
    pod: Pod,
    container: Container,
    figures: Figures,
    processes: Processes,
    layer: Measured | None,
    file_system: FileSystem | None,
) -> list[pb.Metric]:
    """All but those of the network."""
    metadata, config = pod.config.metadata, container.config
    image = config.image.user_specified_image or config.image.image
    base = (metadata.name, metadata.namespace, config.metadata.name, container.id, image)
    labels = Labels(base, figures.at)
    return [
        labels.metric("container_last_seen", GAUGE, figures.at // _SECOND),
        labels.metric("container_start_time_seconds", GAUGE, container.started_at // _SECOND),
        *(_cpu(labels, figures.cpu) if figures.cpu else ()),
        *(_memory(labels, figures.memory) if figures.memory else ()),
        *(
            [labels.metric("container_oom_events_total", COUNTER, figures.oom_kills)]
            if figures.oom_kills is not None
            else ()
        ),
        *_transfers(labels, figures),
        *_layer(labels, layer, file_system),
        *_processes(labels, figures, processes),
        *_spec(labels, container),
    ]


def _network(labels: Labels, found: Interface) -> Iterator[pb.Metric]:
    for way, counts in (("receive", found.rx), ("transmit", found.tx)):
        for what, value in zip(("bytes", "packets", "errors", "packets_dropped"), counts, strict=True):
            yield labels.metric(f"container_network_{way}_{what}_total", COUNTER, value, found.name)


def _cpu(labels: Labels, found: Cpu) -> Iterator[pb.Metric]:
    for name, value in (
        ("usage_seconds_total", found.total // _SECOND),
        ("user_seconds_total", found.user // _SECOND),
        ("system_seconds_total", found.system // _SECOND),
        ("cfs_periods_total", found.periods),
        ("cfs_throttled_periods_total", found.throttled_periods),
        ("cfs_throttled_seconds_total", found.throttled // _SECOND),
    ):
        yield labels.metric(f"container_cpu_{name}", COUNTER, value)


def _memory(labels: Labels, found: Memory) -> Iterator[pb.Metric]:
    for name, value in (
        ("usage_bytes", found.usage),
        ("max_usage_bytes", found.highest),
        ("working_set_bytes", found.working_set),
        ("rss", found.rss),
        ("cache", found.cache),
        ("kernel_usage", found.kernel),
        ("mapped_file", found.mapped),
        ("swap", found.swap),
        ("total_active_file_bytes", found.active_file),
        ("total_inactive_file_bytes", found.inactive_file),
    ):
        yield labels.metric(f"container_memory_{name}", GAUGE, value)
    yield labels.metric("container_memory_failcnt", COUNTER, found.failures)
    for kind, value in (("pgfault", found.faults), ("pgmajfault", found.major_faults)):
        yield labels.metric("container_memory_failures_total", COUNTER, value, kind, "container")


def _kills(labels: Labels, kills: int | None) -> Iterator[pb.Metric]:
    if kills is not None:
        yield labels.metric("container_oom_events_total", COUNTER, kills)


def _transfers(labels: Labels, figures: Figures) -> Iterator[pb.Metric]:
    for each in figures.transfers:
        place = (each.device, str(each.major), str(each.minor), each.operation)
        yield labels.metric("container_blkio_device_usage_total", COUNTER, each.bytes, *place)
        way = {"read": "reads", "write": "writes"}.get(each.operation.lower())
        if way:
            yield labels.metric(f"container_fs_{way}_bytes_total", COUNTER, each.bytes, each.device)
            yield labels.metric(f"container_fs_{way}_total", COUNTER, each.count, each.device)


def _layer(labels: Labels, layer: Measured | None, file_system: FileSystem | None) -> Iterator[pb.Metric]:
    if layer is not None:
        yield labels.metric("container_fs_usage_bytes", GAUGE, layer.usage.size, "/")
        yield labels.metric("container_fs_inodes_total", GAUGE, layer.usage.inodes, "/")
    if file_system is not None:
        yield labels.metric("container_fs_limit_bytes", GAUGE, file_system.size, "/")
        yield labels.metric("container_fs_inodes_free", GAUGE, file_system.inodes_free, "/")


def _processes(labels: Labels, figures: Figures, found: Processes) -> Iterator[pb.Metric]:
    if figures.tasks is not None:
        yield labels.metric("container_threads", GAUGE, figures.tasks)
        yield labels.metric("container_threads_max", GAUGE, figures.tasks_limit)
    yield labels.metric("container_processes", GAUGE, found.count)
    yield labels.metric("container_file_descriptors", GAUGE, found.descriptors)
    yield labels.metric("container_sockets", GAUGE, found.sockets)
    for name, value in found.limits:
        yield labels.metric("container_ulimits_soft", GAUGE, value, name)


def _spec(labels: Labels, container: Container) -> Iterator[pb.Metric]:
    """What was asked for and is in force; limits that are not set have no metric."""
    found = container.resources.linux if container.resources else container.config.linux.resources
    for name, value in (
        ("cpu_period", found.cpu_period),
        ("cpu_shares", found.cpu_shares),
        ("memory_limit_bytes", found.memory_limit_in_bytes),
        ("memory_reservation_limit_bytes", int(found.unified.get("memory.low") or 0)),
        ("memory_swap_limit_bytes", found.memory_swap_limit_in_bytes),
    ):
        if value > 0:
            yield labels.metric(f"container_spec_{name}", GAUGE, value)


def _is_socket(path: str) -> bool:
    try:
        return os.readlink(path).startswith("socket:")
    except OSError:
        return False


def _soft(pid: int, number: int) -> int:
    soft = resource.prlimit(pid, number)[0]
    return _UNLIMITED if soft == resource.RLIM_INFINITY else soft
