"""Statistics of cgroup v1 (kernel: Documentation/admin-guide/cgroup-v1) as `io.containerd.cgroups.v1.Metrics`."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from corten.api.cgroups.v1.metrics_pb2 import Metrics

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import cgroups_files as files

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_MEMORY_WORDS = {
    "cache": "cache", "rss": "rss", "rss_huge": "rss_huge", "mapped_file": "mapped_file", "dirty": "dirty",
    "writeback": "writeback", "pgpgin": "pg_pg_in", "pgpgout": "pg_pg_out", "pgfault": "pg_fault",
    "pgmajfault": "pg_maj_fault", "inactive_anon": "inactive_anon", "active_anon": "active_anon",
    "inactive_file": "inactive_file", "active_file": "active_file", "unevictable": "unevictable",
}  # fmt: skip
_MEMORY_FIELDS = {
    **_MEMORY_WORDS,
    **{f"total_{word}": f"total_{field}" for word, field in _MEMORY_WORDS.items()},
    "hierarchical_memory_limit": "hierarchical_memory_limit",
    "hierarchical_memsw_limit": "hierarchical_swap_limit",
}
_ENTRIES = {"usage": "memory", "swap": "memory.memsw", "kernel": "memory.kmem", "kernel_tcp": "memory.kmem.tcp"}
_BLKIO = {
    "io_service_bytes_recursive": "blkio.io_service_bytes_recursive",
    "io_serviced_recursive": "blkio.io_serviced_recursive",
    "io_queued_recursive": "blkio.io_queued_recursive",
    "io_service_time_recursive": "blkio.io_service_time_recursive",
    "io_wait_time_recursive": "blkio.io_wait_time_recursive",
    "io_merged_recursive": "blkio.io_merged_recursive",
    "io_time_recursive": "blkio.time_recursive",
    "sectors_recursive": "blkio.sectors_recursive",
}
_THROTTLE = {
    "io_service_bytes_recursive": "blkio.throttle.io_service_bytes",
    "io_serviced_recursive": "blkio.throttle.io_serviced",
}


def read(paths: Mapping[str, str]) -> Metrics:
    """Statistics from the directory of each controller; those that are missing are left out."""
    metrics = Metrics()
    for name, fill in (
        ("pids", _pids), ("cpuacct", _usage), ("cpu", _throttling), ("memory", _memory), ("blkio", _blkio),
        ("hugetlb", _hugetlb), ("rdma", _rdma),
    ):  # fmt: skip
        if name in paths and os.path.isdir(paths[name]):
            fill(metrics, paths[name])
    return metrics


def _pids(metrics: Metrics, path: str) -> None:
    metrics.pids.current = files.number(path, "pids.current")
    limit = files.number(path, "pids.max")
    metrics.pids.limit = 0 if limit == files.UNLIMITED else limit


def _usage(metrics: Metrics, path: str) -> None:
    usage = metrics.cpu.usage
    usage.total = files.number(path, "cpuacct.usage")
    ticks = files.table(path, "cpuacct.stat")
    usage.user, usage.kernel = ticks.get("user", 0) * _TICK_NS, ticks.get("system", 0) * _TICK_NS
    usage.per_cpu.extend(map(int, files.text(path, "cpuacct.usage_percpu").split()))


def _throttling(metrics: Metrics, path: str) -> None:
    stat = files.table(path, "cpu.stat")
    throttling = metrics.cpu.throttling
    throttling.periods = stat.get("nr_periods", 0)
    throttling.throttled_periods = stat.get("nr_throttled", 0)
    throttling.throttled_time = stat.get("throttled_time", 0)


def _memory(metrics: Metrics, path: str) -> None:
    memory: Any = metrics.memory
    for word, value in files.table(path, "memory.stat").items():
        if word in _MEMORY_FIELDS:
            setattr(memory, _MEMORY_FIELDS[word], value)
    for field, prefix in _ENTRIES.items():
        if os.path.exists(f"{path}/{prefix}.usage_in_bytes"):
            entry = getattr(memory, field)
            entry.usage = files.number(path, f"{prefix}.usage_in_bytes")
            entry.max = files.number(path, f"{prefix}.max_usage_in_bytes")
            entry.failcnt = files.number(path, f"{prefix}.failcnt")
            entry.limit = files.number(path, f"{prefix}.limit_in_bytes")
    control = files.table(path, "memory.oom_control")
    metrics.memory_oom_control.oom_kill_disable = control.get("oom_kill_disable", 0)
    metrics.memory_oom_control.under_oom = control.get("under_oom", 0)
    metrics.memory_oom_control.oom_kill = control.get("oom_kill", 0)


def _blkio(metrics: Metrics, path: str) -> None:
    """The proportional policy's files where the scheduler has them, else those of the throttling policy."""
    metrics.blkio.SetInParent()  # there even with nothing to count, as clients expect it
    proportional = files.text(path, "blkio.io_serviced_recursive").strip() not in ("", "Total 0")
    for field, name in (_BLKIO if proportional else _THROTTLE).items():
        entries: Any = getattr(metrics.blkio, field)
        for line in files.text(path, name).splitlines():
            device, _, rest = line.partition(" ")
            major, found, minor = device.partition(":")
            if found:
                *op, amount = rest.split()
                entries.add(
                    op=op[0] if op else "",
                    device=files.device_name(int(major), int(minor)),
                    major=int(major),
                    minor=int(minor),
                    value=int(amount),
                )


def _hugetlb(metrics: Metrics, path: str) -> None:
    for name in sorted(os.listdir(path)):
        if name.endswith(".usage_in_bytes") and ".rsvd." not in name:
            size = name.split(".")[1]
            metrics.hugetlb.add(
                pagesize=size,
                usage=files.number(path, name),
                max=files.number(path, f"hugetlb.{size}.max_usage_in_bytes"),
                failcnt=files.number(path, f"hugetlb.{size}.failcnt"),
            )


def _rdma(metrics: Metrics, path: str) -> None:
    for field in ("current", "max"):
        entries: Any = metrics.rdma.current if field == "current" else metrics.rdma.limit
        add_rdma(entries, files.text(path, f"rdma.{field}"))


def add_rdma(entries: Any, lines: str) -> None:
    """Add `DEVICE hca_handle=N hca_object=N` lines; `max` is the largest that fits."""
    for line in lines.splitlines():
        device, *words = line.split()
        values = dict(word.partition("=")[::2] for word in words)
        limit = (1 << 32) - 1
        entries.add(
            device=device,
            hca_handles=min(limit, files.value(values.get("hca_handle", ""))),
            hca_objects=min(limit, files.value(values.get("hca_object", ""))),
        )
