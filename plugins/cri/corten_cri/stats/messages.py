"""Figures as the messages of CRI. Pure."""

from collections.abc import Sequence

from corten.api.cri.v1 import runtime_pb2 as pb

from ..images.usage import Measured
from ..state.containers import Container
from ..state.pods import Pod
from .figures import Figures, Pressure
from .interfaces import Interface
from .samples import Sample

DEFAULT_INTERFACE = "eth0"


def container_stats(
    container: Container, sample: Sample | None, layer: Measured | None, root: str
) -> pb.ContainerStats:
    """`sample` is None for a container that does not run; `root` is where its snapshotter keeps its trees."""
    config = container.config
    stats = pb.ContainerStats(
        attributes=pb.ContainerAttributes(
            id=container.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
        )
    )
    _layer(stats.writable_layer, layer, root)
    if sample is not None:
        fill(stats, sample)
    return stats


def fill(stats: pb.ContainerStats | pb.LinuxPodSandboxStats, sample: Sample) -> None:
    """Processor, memory, swap (of containers only) and I/O."""
    figures = sample.figures
    if figures.cpu is not None:
        stats.cpu.timestamp = figures.at
        stats.cpu.usage_core_nano_seconds.value = figures.cpu.total
        if sample.nano_cores is not None:
            stats.cpu.usage_nano_cores.value = sample.nano_cores
        _pressure(stats.cpu, figures.cpu.pressure)
    _memory(stats, figures)
    if figures.io_pressure is not None:
        stats.io.timestamp = figures.at
        _pressure(stats.io, figures.io_pressure)


def network_usage(interfaces: Sequence[Interface], at: int) -> pb.NetworkUsage:
    """The default interface is eth0, or else the first."""
    usage = pb.NetworkUsage(timestamp=at)
    made = [_interface(each) for each in interfaces]
    usage.interfaces.extend(made)
    default = next((each for each in made if each.name == DEFAULT_INTERFACE), made[0] if made else None)
    if default is not None:
        usage.default_interface.CopyFrom(default)
    return usage


def pod_attributes(pod: Pod) -> pb.PodSandboxAttributes:
    config = pod.config
    return pb.PodSandboxAttributes(
        id=pod.id, metadata=config.metadata, labels=config.labels, annotations=config.annotations
    )


def _layer(usage: pb.FilesystemUsage, layer: Measured | None, root: str) -> None:
    usage.timestamp = layer.at if layer else 0
    usage.fs_id.mountpoint = root
    usage.used_bytes.value = layer.usage.size if layer else 0
    usage.inodes_used.value = layer.usage.inodes if layer else 0


def _memory(stats: pb.ContainerStats | pb.LinuxPodSandboxStats, figures: Figures) -> None:
    found = figures.memory
    if found is None:
        return
    memory = stats.memory
    memory.timestamp = figures.at
    memory.working_set_bytes.value = found.working_set
    memory.available_bytes.value = found.available
    memory.usage_bytes.value = found.usage
    memory.rss_bytes.value = found.rss
    memory.page_faults.value = found.faults
    memory.major_page_faults.value = found.major_faults
    _pressure(memory, found.pressure)
    if isinstance(stats, pb.ContainerStats):
        stats.swap.timestamp = figures.at
        stats.swap.swap_usage_bytes.value = found.swap
        stats.swap.swap_available_bytes.value = max(0, found.swap_limit - found.swap)


def _pressure(usage: pb.CpuUsage | pb.MemoryUsage | pb.IoUsage, found: Pressure | None) -> None:
    if found is None:
        return
    for line, made in ((found.some, usage.psi.Some), (found.full, usage.psi.Full)):
        if line is not None:
            made.Avg10, made.Avg60, made.Avg300, made.Total = line


def _interface(found: Interface) -> pb.NetworkInterfaceUsage:
    made = pb.NetworkInterfaceUsage(name=found.name)
    made.rx_bytes.value, made.rx_errors.value = found.rx[0], found.rx[2]
    made.tx_bytes.value, made.tx_errors.value = found.tx[0], found.tx[2]
    return made
