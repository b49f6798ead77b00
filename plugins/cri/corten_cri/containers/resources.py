"""Limits of CRI as those of the OCI runtime spec, decided purely."""

from __future__ import annotations

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


def merged(old: pb.ContainerResources | None, new: pb.LinuxContainerResources) -> pb.ContainerResources:
    """What a status tells after an update: what the update set, and the rest as it was."""
    made = pb.ContainerResources()
    if old is not None:
        made.CopyFrom(old)
    for field, value in new.ListFields():
        if field.is_repeated:
            made.linux.ClearField(field.name)
            made.linux.MergeFrom(pb.LinuxContainerResources(**{field.name: value}))
        else:
            setattr(made.linux, field.name, value)
    return made
