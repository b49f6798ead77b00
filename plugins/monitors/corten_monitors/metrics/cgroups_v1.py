"""The figures of cgroup v1; containerd's names are those of the message's fields, with few exceptions."""

from corten.api.cgroups.v1 import metrics_pb2 as pb

from .figures import Figure

_SPELLING = {
    "pg_pg_in": "pgpgin",
    "pg_pg_out": "pgpgout",
    "pg_fault": "pgfault",
    "pg_maj_fault": "pgmajfault",
    "hierarchical_swap_limit": "hierarchical_memsw_limit",
    "kernel_tcp": "kerneltcp",
}
"""Fields that containerd's metrics spell otherwise, also after `total_`."""
_DEVICE = ("op", "device", "major", "minor")
_UNITS = {"io_service_bytes_recursive": "bytes"}


def _spelled(field: str) -> str:
    bare = field.removeprefix("total_")
    return field[: len(field) - len(bare)] + _SPELLING.get(bare, bare)


def _memory() -> list[Figure]:
    found = []
    for field in pb.MemoryStat.DESCRIPTOR.fields:
        name = f"memory_{_spelled(field.name)}"
        if field.message_type is None:
            found.append(Figure(f"{name}_bytes", f"{field.name} of memory.stat", ("memory", field.name)))
            continue
        for part in field.message_type.fields:
            unit = "total" if part.name == "failcnt" else "bytes"
            text = f"{part.name} of the memory controller's {field.name}"
            found.append(Figure(f"{name}_{part.name}_{unit}", text, ("memory", field.name, part.name)))
    return found


def _blkio() -> list[Figure]:
    fields = [field.name for field in pb.BlkIOStat.DESCRIPTOR.fields if field.name != "io_wait_time_recursive"]
    return [
        Figure(
            f"blkio_{name}_{_UNITS.get(name, 'total')}",
            f"{name} of the blkio controller",
            ("blkio", name),
            _DEVICE,
            "value",
        )
        for name in fields
    ]


def _hugetlb() -> list[Figure]:
    units = {"usage": "bytes", "failcnt": "total", "max": "bytes"}
    return [
        Figure(f"hugetlb_{name}_{unit}", f"{name} of huge pages", ("hugetlb",), ("page",), name, ("pagesize",))
        for name, unit in units.items()
    ]


FIGURES = (
    Figure("pids_limit", "The limit to the number of pids allowed", ("pids", "limit")),
    Figure("pids_current", "The current number of pids", ("pids", "current")),
    Figure("cpu_total_nanoseconds", "CPU time in all", ("cpu", "usage", "total")),
    Figure("cpu_kernel_nanoseconds", "CPU time in the kernel", ("cpu", "usage", "kernel")),
    Figure("cpu_user_nanoseconds", "CPU time in user space", ("cpu", "usage", "user")),
    Figure("per_cpu_nanoseconds", "CPU time by CPU", ("cpu", "usage", "per_cpu"), ("cpu",)),
    Figure("cpu_throttle_periods_total", "Periods of the CPU quota", ("cpu", "throttling", "periods")),
    Figure("cpu_throttled_periods_total", "Periods that were throttled", ("cpu", "throttling", "throttled_periods")),
    Figure("cpu_throttled_time_nanoseconds", "Time spent throttled", ("cpu", "throttling", "throttled_time")),
    Figure("memory_oom_total", "Processes killed for want of memory", ("memory_oom_control", "oom_kill")),
    *_memory(),
    *_hugetlb(),
    *_blkio(),
)
