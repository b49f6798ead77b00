"""What one cgroup uses, the same for both versions of cgroups. Pure."""

import time
from collections.abc import Iterator

from corten.api.cgroups.v1 import metrics_pb2 as v1
from corten.api.cgroups.v2 import metrics_pb2 as v2
from corten.contracts.objects import AnyValue
from corten.errors import Unimplemented
from corten.values import dataclass

UNLIMITED = 1 << 62
"""A limit above this is none: kernels write several numbers for it."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bytes and operations of one kind (`read`, `write` …) on one block device."""

    device: str
    major: int
    minor: int
    operation: str
    bytes: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Pressure:
    """Pressure stall information: seconds' averages in percent, `total` in ns."""

    some: tuple[float, float, float, int] | None = None
    full: tuple[float, float, float, int] | None = None


@dataclass(frozen=True, slots=True)
class Cpu:
    """Times in ns."""

    total: int = 0
    user: int = 0
    system: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled: int = 0
    pressure: Pressure | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; a limit of 0 is none."""

    usage: int = 0
    limit: int = 0
    highest: int = 0
    rss: int = 0
    cache: int = 0
    mapped: int = 0
    kernel: int = 0
    active_file: int = 0
    inactive_file: int = 0
    swap: int = 0
    swap_limit: int = 0
    failures: int = 0
    faults: int = 0
    major_faults: int = 0
    pressure: Pressure | None = None

    @property
    def working_set(self) -> int:
        """What cannot be given back at once."""
        return max(0, self.usage - self.inactive_file)

    @property
    def available(self) -> int:
        """How much more may be used; 0 without a limit."""
        return max(0, self.limit - self.working_set) if self.limit else 0


@dataclass(frozen=True, slots=True)
class Figures:
    """`at` is when they were read, in ns since the epoch; a part that the host does not count is None."""

    at: int
    cpu: Cpu | None = None
    memory: Memory | None = None
    tasks: int | None = None
    """Threads, of all processes."""
    tasks_limit: int = 0
    """0 for none."""
    oom_kills: int | None = None
    transfers: tuple[Transfer, ...] = ()
    io_pressure: Pressure | None = None


def of_task(value: AnyValue) -> Figures:
    """What a task's statistics say. Raises Unimplemented for another kind of statistics."""
    name = value.type_url.rpartition("/")[2]
    if name == v1.Metrics.DESCRIPTOR.full_name:
        return of_v1(v1.Metrics.FromString(value.value))
    if name == v2.Metrics.DESCRIPTOR.full_name:
        return of_v2(v2.Metrics.FromString(value.value))
    raise Unimplemented(f"statistics of type {name[:200]!r} are not known")


def of_v1(found: v1.Metrics) -> Figures:
    return Figures(
        at=time.time_ns(),
        cpu=_cpu_v1(found.cpu) if found.cpu.HasField("usage") else None,
        memory=_memory_v1(found.memory) if found.memory.HasField("usage") else None,
        tasks=found.pids.current if found.HasField("pids") else None,
        tasks_limit=_limit(found.pids.limit),
        oom_kills=found.memory_oom_control.oom_kill if found.HasField("memory_oom_control") else None,
        transfers=tuple(_transfers_v1(found.blkio)),
    )


def of_v2(found: v2.Metrics) -> Figures:
    return Figures(
        at=time.time_ns(),
        cpu=_cpu_v2(found.cpu) if found.HasField("cpu") else None,
        memory=_memory_v2(found.memory) if found.HasField("memory") else None,
        tasks=found.pids.current if found.HasField("pids") else None,
        tasks_limit=_limit(found.pids.limit),
        oom_kills=found.memory_events.oom_kill if found.HasField("memory_events") else None,
        transfers=tuple(_transfers_v2(found.io)),
        io_pressure=_pressure(found.io.psi) if found.io.HasField("psi") else None,
    )


def summed(all: list[Figures]) -> Figures:
    """What several use together."""
    cpus = [each.cpu for each in all if each.cpu]
    memories = [each.memory for each in all if each.memory]
    cpu = Cpu(sum(each.total for each in cpus), sum(each.user for each in cpus), sum(each.system for each in cpus))
    memory = Memory(
        usage=sum(each.usage for each in memories),
        rss=sum(each.rss for each in memories),
        inactive_file=sum(each.inactive_file for each in memories),
        faults=sum(each.faults for each in memories),
        major_faults=sum(each.major_faults for each in memories),
    )
    return Figures(time.time_ns(), cpu if cpus else None, memory if memories else None)


def _cpu_v1(found: v1.CPUStat) -> Cpu:
    throttling = found.throttling
    return Cpu(
        found.usage.total, found.usage.user, found.usage.kernel,
        throttling.periods, throttling.throttled_periods, throttling.throttled_time,
    )  # fmt: skip


def _cpu_v2(found: v2.CPUStat) -> Cpu:
    return Cpu(
        found.usage_usec * 1000, found.user_usec * 1000, found.system_usec * 1000,
        found.nr_periods, found.nr_throttled, found.throttled_usec * 1000,
        _pressure(found.psi) if found.HasField("psi") else None,
    )  # fmt: skip


def _memory_v1(found: v1.MemoryStat) -> Memory:
    """`swap` there is memory and swap together."""
    both = found.swap
    return Memory(
        usage=found.usage.usage,
        limit=_limit(found.usage.limit),
        highest=found.usage.max,
        rss=found.total_rss,
        cache=found.total_cache,
        mapped=found.total_mapped_file,
        kernel=found.kernel.usage,
        active_file=found.total_active_file,
        inactive_file=found.total_inactive_file,
        swap=max(0, both.usage - found.usage.usage),
        swap_limit=max(0, _limit(both.limit) - _limit(found.usage.limit)),
        failures=found.usage.failcnt,
        faults=found.total_pg_fault,
        major_faults=found.total_pg_maj_fault,
    )


def _memory_v2(found: v2.MemoryStat) -> Memory:
    return Memory(
        usage=found.usage,
        limit=_limit(found.usage_limit),
        highest=found.max_usage,
        rss=found.anon,
        cache=found.file,
        mapped=found.file_mapped,
        kernel=found.kernel_stack + found.slab + found.sock,
        active_file=found.active_file,
        inactive_file=found.inactive_file,
        swap=found.swap_usage,
        swap_limit=_limit(found.swap_limit),
        faults=found.pgfault,
        major_faults=found.pgmajfault,
        pressure=_pressure(found.psi) if found.HasField("psi") else None,
    )


def _transfers_v1(found: v1.BlkIOStat) -> Iterator[Transfer]:
    counts = {(each.major, each.minor, each.op): each.value for each in found.io_serviced_recursive}
    for each in found.io_service_bytes_recursive:
        count = counts.get((each.major, each.minor, each.op), 0)
        yield Transfer(each.device or f"{each.major}:{each.minor}", each.major, each.minor, each.op, each.value, count)


def _transfers_v2(found: v2.IOStat) -> Iterator[Transfer]:
    for each in found.usage:
        device = f"{each.major}:{each.minor}"
        yield Transfer(device, each.major, each.minor, "Read", each.rbytes, each.rios)
        yield Transfer(device, each.major, each.minor, "Write", each.wbytes, each.wios)


def _pressure(found: v2.PSIStats) -> Pressure:
    return Pressure(
        _line(found.some) if found.HasField("some") else None, _line(found.full) if found.HasField("full") else None
    )


def _line(found: v2.PSIData) -> tuple[float, float, float, int]:
    return found.avg10, found.avg60, found.avg300, found.total * 1000


def _limit(number: int) -> int:
    return 0 if number > UNLIMITED else number
