"""Limits of CRI as those of the OCI runtime spec, decided purely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.oci.options import Resources

RESOURCES_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"


def limits_of(found: pb.LinuxContainerResources, *, swap: bool = True, hugepages: bool = False) -> Resources:
    """0 and empty mean "not limited". Without a limit of its own, swap is as good as forbidden.

    `swap` and `hugepages`: whether the host can limit them.
    """
    memory = found.memory_limit_in_bytes or None
    both = (found.memory_swap_limit_in_bytes or memory) if swap else None
    return Resources(
        cpu_period=found.cpu_period or None,
        cpu_quota=found.cpu_quota or None,
        cpu_shares=found.cpu_shares or None,
        cpuset_cpus=found.cpuset_cpus,
        cpuset_mems=found.cpuset_mems,
        memory=memory,
        memory_swap=both,
        hugepages=tuple((each.page_size, each.limit) for each in found.hugepage_limits) if hugepages else (),
        unified=dict(found.unified),
    )


def told(document: Mapping[str, Any]) -> pb.ContainerResources:
    """What a status tells: the limits that a spec has, all that are unset left out."""
    found = (document.get("linux") or {}).get("resources") or {}
    cpu, memory = found.get("cpu") or {}, found.get("memory") or {}
    hugepages = [
        pb.HugepageLimit(page_size=each["pageSize"], limit=each["limit"]) for each in found.get("hugepageLimits") or ()
    ]
    linux = pb.LinuxContainerResources(
        cpu_period=cpu.get("period") or 0,
        cpu_quota=cpu.get("quota") or 0,
        cpu_shares=cpu.get("shares") or 0,
        cpuset_cpus=cpu.get("cpus") or "",
        cpuset_mems=cpu.get("mems") or "",
        memory_limit_in_bytes=memory.get("limit") or 0,
        memory_swap_limit_in_bytes=memory.get("swap") or 0,
        oom_score_adj=(document.get("process") or {}).get("oomScoreAdj") or 0,
        hugepage_limits=hugepages,
        unified=found.get("unified") or {},
    )
    return pb.ContainerResources(linux=linux)
