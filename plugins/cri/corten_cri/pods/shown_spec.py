"""What of an OCI spec holds for a pod itself, as its verbose status shows it: tools look there for its cgroup."""

from __future__ import annotations

from typing import Any

from corten.oci import cgroup_paths

from ..annotations import of_pod
from ..parts import Parts
from ..state.pods import Pod
from . import wanted


def shown_spec(parts: Parts, pod: Pod) -> dict[str, Any]:
    """The part that a pause process has in containerd and that a pod has here without one too."""
    parent = pod.config.linux.cgroup_parent
    words = {"net": "network"}
    return {
        "hostname": pod.config.hostname,
        "annotations": of_pod(parts, pod),
        "linux": {
            "cgroupsPath": cgroup_paths.below(parent, pod.id) if parent else "",
            "namespaces": [
                {"type": words.get(kind, kind), "path": path} for kind, path in pod.pins.namespaces().items()
            ],
            "sysctl": wanted.sysctls(pod.config, parts.config),
        },
    }
