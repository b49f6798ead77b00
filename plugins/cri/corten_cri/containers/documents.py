"""The OCI spec of a container, from what the request, its pod, its image and its handler say."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from typing import Any

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import FailedPrecondition, InvalidArgument
from corten.linux import cgroups, mountinfo, oom
from corten.oci import cgroup_paths, devices, spec
from corten.oci.image_defaults import ImageDefaults
from corten.oci.options import Device, Namespaces, SpecMount, SpecOptions, User
from corten.values import dataclass

from ..annotations import of_container
from ..config.runtime import Handler
from ..contracts import NAMESPACE
from ..parts import Parts
from ..pods.namespaces_of import namespaces_of
from ..state.pods import Pod
from . import confinement
from .resources import limits_of

_DESCRIPTORS = re.compile(r"/(proc/[^/]+/(task/[^/]+/)?(fd|cwd|root|exe|map_files)|dev/fd)(/|$)")
_SUPER = ("nsdelegate", "memory_recursiveprot")
_CLASSES = {"blockio": "blockio.resources.beta.kubernetes.io", "rdt": "rdt.resources.beta.kubernetes.io"}


@dataclass(frozen=True, slots=True)
class Ingredients:
    """`pid_namespace` is that of another process: its path, or None for the host's; empty for a new one."""

    config: pb.ContainerConfig
    pod_config: pb.PodSandboxConfig
    image: ImageDefaults
    image_name: str
    user: User
    mounts: tuple[SpecMount, ...]
    pid_namespace: str | None


def build(parts: Parts, pod: Pod, id: str, host: confinement.Host, given: Ingredients) -> spec.Spec:
    """A new document. Blocks on files of the host. Raises InvalidArgument, FailedPrecondition, NotFound."""
    _, handler = parts.handlers.chosen(pod.handler)
    context = given.config.linux.security_context
    privileged = context.privileged
    if privileged and not given.pod_config.linux.security_context.privileged:
        raise InvalidArgument(
            f"failed to generate spec opts: no privileged container allowed in sandbox {pod.id}: it is not privileged "
            "(make its pod privileged too)"
        )
    _refuse_classes(parts, given)
    check_directory(given.config.working_dir or given.image.working_dir)
    base = parts.settings.base_specs.get(handler.base_runtime_spec) if handler.base_runtime_spec else None
    parent = given.pod_config.linux.cgroup_parent or pod.config.linux.cgroup_parent
    unified = cgroups.mode() is cgroups.Mode.UNIFIED
    own_cgroups = "" if unified and not privileged else None
    options = SpecOptions(
        base=base,
        args=tuple(given.config.args),
        entrypoint=tuple(given.config.command) or None,
        default_env=(f"HOSTNAME={given.pod_config.hostname or socket.gethostname()}",),
        env=environment(given.config),
        cwd=given.config.working_dir,
        user=given.user,
        terminal=given.config.tty,
        # Without a base spec there are none of its own: it inherits those of the daemon's service, as with containerd.
        rlimits=() if base is None else None,
        oom_score_adj=_oom_score(parts, given.config),
        read_only=context.readonly_rootfs,
        mounts=given.mounts,
        without_mounts=("/run",),
        cgroup_mount="rw" if handler.cgroup_writable or privileged else "ro",
        cgroup_mount_options=_super_options() if unified and own_cgroups is None else (),
        devices=tuple(_devices(parts, given.config, handler)),
        default_devices=not (privileged and _all_devices(handler)),
        all_devices=privileged and _all_devices(handler),
        namespaces=namespaces_of(
            pod, Namespaces(pid=given.pid_namespace, mount="", cgroup=own_cgroups, network=None, ipc=None, uts=None)
        ),
        cgroups_path=cgroup_paths.below(parent, id) if parent else "",
        resources=limits_of(
            given.config.linux.resources, swap=cgroups.has_swap(), hugepages=hugepages(parts, given.config.linux)
        ),
        security=confinement.of_container(context, parts.config, host, base is not None),
        annotations=of_container(parts, pod, given.config, given.image_name),
    )
    return spec.build(NAMESPACE, id, options, given.image)


def check_directory(path: str) -> None:
    """Raises InvalidArgument for one that descriptors which a runtime has open could lead to (CVE-2024-21626)."""
    # Not normalised: what `..` means behind such a link is not in the text.
    words = "/".join(word for word in path.split("/") if word not in ("", "."))
    if _DESCRIPTORS.search(f"/{words}"):
        raise InvalidArgument(f"working directory {path!r}: it is among a process's open files")


def environment(config: pb.ContainerConfig) -> tuple[str, ...]:
    """`KEY=value` each. Raises InvalidArgument for what cannot be passed to a program."""
    made = []
    for each in config.envs:
        value = each.value.decode(errors="replace")  # as in containerd: a spec is JSON
        if not each.key or "=" in each.key or "\0" in each.key or "\0" in value:
            raise InvalidArgument(f"environment variable {each.key!r}: it has no name, or a NUL or = in it")
        made.append(f"{each.key}={value}")
    return tuple(made)


def hugepages(parts: Parts, linux: pb.LinuxContainerConfig) -> bool:
    """Whether limits of huge pages are set. Raises FailedPrecondition where they must not be left out."""
    if parts.config.disable_hugetlb_controller or not linux.resources.hugepage_limits:
        return False
    if cgroups.has_hugepages():
        return True
    if parts.config.tolerate_missing_hugetlb_controller:
        return False
    raise FailedPrecondition(
        "huge page limits: this host has no cgroup controller for them (tolerate_missing_hugetlb_controller leaves "
        "them out)"
    )


def _oom_score(parts: Parts, config: pb.ContainerConfig) -> int | None:
    if not config.linux.HasField("resources"):
        return None
    wanted = int(config.linux.resources.oom_score_adj)
    if parts.config.restrict_oom_score_adj:
        with open("/proc/self/oom_score_adj") as file:
            wanted = max(wanted, int(file.read()))
    return oom.clamped(wanted)


def _devices(parts: Parts, config: pb.ContainerConfig, handler: Handler) -> list[Device]:
    context = config.linux.security_context
    found: list[Device] = []
    if context.privileged and not handler.privileged_without_host_devices:
        found += devices.of_host()
    for each in config.devices:
        nodes = devices.nodes(os.path.realpath(each.host_path), each.container_path, each.permissions or "rwm")
        found += _owned(nodes, context) if parts.config.device_ownership_from_security_context else nodes
    return found


def _owned(nodes: list[Device], context: pb.LinuxContainerSecurityContext) -> list[Device]:
    return devices.owned(nodes, max(context.run_as_user.value, 0), max(context.run_as_group.value, 0))


def _all_devices(handler: Handler) -> bool:
    return not handler.privileged_without_host_devices or handler.privileged_without_host_devices_all_devices_allowed


def _super_options() -> tuple[str, ...]:
    """Of the host's cgroups of version 2. It reads all mounts, which take a millisecond for forty."""
    try:
        found = mountinfo.holding("/sys/fs/cgroup", mountinfo.mounts()).super_options.split(",")
    except LookupError:
        return ()
    return tuple(word for word in _SUPER if word in found)


def _refuse_classes(parts: Parts, given: Ingredients) -> None:
    """blockio and RDT classes are named by annotations; none is configured here."""
    ignored = {
        "blockio": parts.config.containerd.ignore_blockio_not_enabled_errors,
        "rdt": parts.config.containerd.ignore_rdt_not_enabled_errors,
    }
    for kind, prefix in _CLASSES.items():
        wanted = _class(prefix, given.config, given.pod_config.annotations)
        if wanted and not ignored[kind]:
            raise FailedPrecondition(f"{kind} class {wanted!r}: {kind} classes are not enabled on this node")


def _class(prefix: str, config: pb.ContainerConfig, pod: Mapping[str, str]) -> str:
    own: Any = pod.get(f"{prefix}/container.{config.metadata.name}") or pod.get(f"{prefix}/pod")
    return str(own or config.annotations.get(f"{prefix}/container.{config.metadata.name}") or "")
