"""Pods as NRI plugins see them. Pure."""

from __future__ import annotations

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.contracts.nri import NriPod, Resources
from corten.oci import cgroup_paths
from corten.oci import resources as limits

from ..containers.resources import limits_of
from ..parts import Parts
from ..state.pods import Pod


def pod(parts: Parts, found: Pod) -> NriPod:
    """`pid` is 0: a pod is its namespaces, not a process."""
    metadata, linux = found.config.metadata, found.config.linux
    words = {"net": "network"}
    return NriPod(
        id=found.id,
        name=metadata.name,
        uid=metadata.uid,
        namespace=metadata.namespace,
        labels=dict(found.config.labels),
        annotations=dict(found.config.annotations),
        runtime_handler=found.requested_handler,
        ips=found.addresses,
        cgroup_parent=linux.cgroup_parent,
        cgroups_path=cgroup_paths.below(linux.cgroup_parent, found.id) if linux.cgroup_parent else "",
        namespaces={words.get(kind, kind): path for kind, path in found.pins.namespaces().items()},
        overhead=document(found.overhead or (linux.overhead if linux.HasField("overhead") else None)),
        pod_resources=document(found.resources or (linux.resources if linux.HasField("resources") else None)),
    )


def document(found: pb.LinuxContainerResources | None) -> Resources | None:
    """Resources of CRI as those of the OCI spec."""
    return None if found is None else limits.document(limits_of(found))
