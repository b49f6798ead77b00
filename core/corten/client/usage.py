"""What a task uses, out of cgroup metrics of either version: the few figures that people look at."""

from collections.abc import Collection

from corten.api.cgroups.v1 import metrics_pb2 as v1
from corten.api.cgroups.v2 import metrics_pb2 as v2
from corten.errors import CortenError
from corten.values import dataclass

from .client import Client
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
    oom_kills: int = 0
    """Processes that the kernel has killed for want of memory since the task was created."""

    def cpu_share(self, before: "Usage") -> float:
        """Processors used since `before`, in percent of one."""
        passed = self.at - before.at
        return 100.0 * (self.cpu - before.cpu) / passed if passed > 0 else 0.0


async def out_of_memory(client: Client, ids: Collection[str]) -> dict[str, Usage]:
    """Those of the tasks, running or ended, in which the kernel has killed for want of memory.

    Their cgroups tell, which stay until a task is deleted, over restarts of the daemon too. One that gives no metrics
    is not among them.
    """
    if not ids:
        return {}
    try:
        metrics = await client.tasks.metrics([f'id=="{id}"' for id in ids])
    except CortenError:
        return {}
    return {metric.id: used for metric in metrics if (used := of(metric)) is not None and used.oom_kills}


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
        oom_kills=found.memory_oom_control.oom_kill,
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
        oom_kills=found.memory_events.oom_kill,
    )


def _limit(value: int) -> int:
    return 0 if value >= NO_LIMIT else value
