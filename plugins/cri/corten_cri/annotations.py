"""Annotations of OCI specs: those by which runtimes know pods and containers, and those that a handler lets through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from corten.api.cri.v1 import runtime_pb2 as pb

from .parts import Parts
from .state.pods import Pod

_PREFIX = "io.kubernetes.cri."
SANDBOX_ID = f"{_PREFIX}sandbox-id"


def of_pod(parts: Parts, pod: Pod) -> dict[str, str]:
    """For the pause container."""
    _, handler = parts.handlers.chosen(pod.handler)
    return {
        **passed(pod.config.annotations, handler.pod_annotations),
        **_common(pod),
        f"{_PREFIX}container-type": "sandbox",
        f"{_PREFIX}sandbox-log-directory": pod.config.log_directory,
        **_resources(pod.config.linux),
    }


def of_container(parts: Parts, pod: Pod, config: pb.ContainerConfig, image_name: str) -> dict[str, str]:
    """For a container of a pod."""
    _, handler = parts.handlers.chosen(pod.handler)
    return {
        **passed(pod.config.annotations, handler.pod_annotations),
        **passed(config.annotations, handler.container_annotations),
        **_common(pod),
        f"{_PREFIX}container-type": "container",
        f"{_PREFIX}container-name": config.metadata.name,
        f"{_PREFIX}image-name": image_name,
    }


def passed(annotations: Mapping[str, str], patterns: Iterable[str]) -> dict[str, str]:
    """Those with a key that matches a pattern; `*` does not cross a slash, as in containerd."""
    allowed = [pattern.split("/") for pattern in patterns]
    return {key: value for key, value in annotations.items() if any(_matches(key.split("/"), p) for p in allowed)}


def _matches(key: list[str], pattern: list[str]) -> bool:
    return len(key) == len(pattern) and all(map(fnmatchcase, key, pattern))


def _common(pod: Pod) -> dict[str, str]:
    metadata = pod.config.metadata
    return {
        SANDBOX_ID: pod.id,
        f"{_PREFIX}sandbox-namespace": metadata.namespace,
        f"{_PREFIX}sandbox-uid": metadata.uid,
        f"{_PREFIX}sandbox-name": metadata.name,
    }


def _resources(linux: pb.LinuxPodSandboxConfig) -> dict[str, str]:
    if not linux.HasField("resources"):
        return {}
    found = linux.resources
    return {
        f"{_PREFIX}sandbox-cpu-period": str(found.cpu_period),
        f"{_PREFIX}sandbox-cpu-quota": str(found.cpu_quota),
        f"{_PREFIX}sandbox-cpu-shares": str(found.cpu_shares),
        f"{_PREFIX}sandbox-memory": str(found.memory_limit_in_bytes),
    }
