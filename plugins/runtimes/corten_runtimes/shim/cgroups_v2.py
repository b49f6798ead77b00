"""Statistics of cgroup v2 (kernel: Documentation/admin-guide/cgroup-v2.rst) as `io.containerd.cgroups.v2.Metrics`."""

import os
import sys
from typing import Any

from corten.api.cgroups.v2.metrics_pb2 import Metrics

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import cgroups_files as files
from .cgroups_v1 import add_rdma

_MEMORY_WORDS = {"workingset_refault_file": "workingset_refault", "workingset_activate_file": "workingset_activate"}
_IO = {"rbytes": "rbytes", "wbytes": "wbytes", "rios": "rios", "wios": "wios"}


def read(path: str) -> Metrics:
    """Statistics from the container's directory; files that are missing are left out."""
    metrics = Metrics()
    _pids(metrics, path)
    _cpu(metrics, path)
    _memory(metrics, path)
    _io(metrics, path)
    _hugetlb(metrics, path)
    add_rdma(metrics.rdma.current, files.text(path, "rdma.current"))
    add_rdma(metrics.rdma.limit, files.text(path, "rdma.max"))
    return metrics


def _pids(metrics: Metrics, path: str) -> None:
    metrics.pids.current = files.number(path, "pids.current")
    limit = files.number(path, "pids.max")
    metrics.pids.limit = 0 if limit == files.UNLIMITED else limit


def _cpu(metrics: Metrics, path: str) -> None:
    _fill(metrics.cpu, files.table(path, "cpu.stat"))
    _pressure(metrics.cpu, path, "cpu.pressure")


def _memory(metrics: Metrics, path: str) -> None:
    words = files.table(path, "memory.stat")
    _fill(metrics.memory, {_MEMORY_WORDS.get(word, word): value for word, value in words.items()})
    for field, name in (
        ("usage", "memory.current"), ("usage_limit", "memory.max"), ("max_usage", "memory.peak"),
        ("swap_usage", "memory.swap.current"), ("swap_limit", "memory.swap.max"),
        ("swap_max_usage", "memory.swap.peak"),
    ):  # fmt: skip
        setattr(metrics.memory, field, files.number(path, name))
    _pressure(metrics.memory, path, "memory.pressure")
    _fill(metrics.memory_events, files.table(path, "memory.events"))


def _io(metrics: Metrics, path: str) -> None:
    for line in files.text(path, "io.stat").splitlines():
        device, *words = line.split()
        major, found, minor = device.partition(":")
        if found:
            entry = metrics.io.usage.add(major=int(major), minor=int(minor))
            _fill(entry, {key: files.value(value) for key, _, value in (word.partition("=") for word in words)})
    _pressure(metrics.io, path, "io.pressure")


def _hugetlb(metrics: Metrics, path: str) -> None:
    for name in sorted(os.listdir(path)):
        if name.startswith("hugetlb.") and name.endswith(".current") and ".rsvd." not in name:
            size = name.split(".")[1]
            metrics.hugetlb.add(
                pagesize=size,
                current=files.number(path, name),
                max=files.number(path, f"hugetlb.{size}.max"),
                failcnt=files.table(path, f"hugetlb.{size}.events").get("max", 0),
            )


def _pressure(message: Any, path: str, name: str) -> None:
    """`some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and `full …` (Documentation/accounting/psi.rst)."""
    for line in files.text(path, name).splitlines():
        kind, *words = line.split()
        data = getattr(message.psi, kind, None)
        if data is not None:
            for word in words:
                key, _, value = word.partition("=")
                setattr(data, key, int(value) if key == "total" else float(value))


def _fill(message: Any, words: dict[str, int]) -> None:
    known = message.DESCRIPTOR.fields_by_name
    for word, value in words.items():
        if word in known:
            setattr(message, word, value)
