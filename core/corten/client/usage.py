"""What a task uses, out of cgroup metrics of either version: the few figures that people look at."""

from corten.api.cgroups.v1 import metrics_pb2 as v1
from corten.api.cgroups.v2 import metrics_pb2 as v2
from corten.values import dataclass

from .tasks import Metric

NO_LIMIT = 1 << 60
"""Bytes from which on a limit of memory is none: cgroup v1 shows the largest multiple of a page."""


@dataclass(frozen=True, slots=True)
class Usage:
    """`cpu`: nanoseconds since the start; `at`: of the measurement. Bytes; limits are 0 for none."""

    id: str
    at: int
    cpu: int
    memory: int
    memory_limit: int
    processes: int
    processes_limit: int
    read: int
    written: int

    def cpu_share(self, before: "Usage") -> float:
        """Processors used since `before`, in percent of one."""
        passed = self.at - before.at
        return 100.0 * (self.cpu - before.cpu) / passed if passed > 0 else 0.0


def of(metric: Metric) -> Usage | None:
    """None for metrics of another kind: of a virtual machine, say, or none at all."""
    if metric.data.type_url.endswith(v1.Metrics.DESCRIPTOR.full_name):
        return _of_v1(metric, v1.Metrics.FromString(metric.data.value))
    if metric.data.type_url.endswith(v2.Metrics.DESCRIPTOR.full_name):
        return _of_v2(metric, v2.Metrics.FromString(metric.data.value))
    return None


def _of_v1(metric: Metric, found: v1.Metrics) -> Usage:
    """Memory without inactive page cache, as other tools count it."""
    memory = found.memory
    entries = {"read": 0, "write": 0}
    for entry in found.blkio.io_service_bytes_recursive:
        if entry.op.lower() in entries:
            entries[entry.op.lower()] += entry.value
    return Usage(
        id=metric.id,
        at=metric.timestamp,
        cpu=found.cpu.usage.total,
        memory=max(0, memory.usage.usage - memory.total_inactive_file),
        memory_limit=_limit(memory.usage.limit),
        processes=found.pids.current,
        processes_limit=found.pids.limit,
        read=entries["read"],
        written=entries["write"],
    )


def _of_v2(metric: Metric, found: v2.Metrics) -> Usage:
    return Usage(
        id=metric.id,
        at=metric.timestamp,
        cpu=found.cpu.usage_usec * 1000,
        memory=max(0, found.memory.usage - found.memory.inactive_file),
        memory_limit=_limit(found.memory.usage_limit),
        processes=found.pids.current,
        processes_limit=_limit(found.pids.limit),
        read=sum(entry.rbytes for entry in found.io.usage),
        written=sum(entry.wbytes for entry in found.io.usage),
    )


def _limit(value: int) -> int:
    return 0 if value >= NO_LIMIT else value
