"""The mounts of a container: those of the request, the pod's files, and the volumes that its image names."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from corten.api.cri.v1 import runtime_pb2 as pb
from corten.errors import InvalidArgument, Unimplemented, mapped
from corten.linux import mountinfo, propagation
from corten.oci import mounts as kinds
from corten.oci.options import IdMapping, SpecMount
from corten.values import dataclass

from ..handlers import Features
from ..parts import Parts
from ..pods import files
from ..state.pods import Pod

_PROPAGATION = {
    pb.PROPAGATION_PRIVATE: kinds.PRIVATE,
    pb.PROPAGATION_HOST_TO_CONTAINER: kinds.TO_CONTAINER,
    pb.PROPAGATION_BIDIRECTIONAL: kinds.BOTH_WAYS,
}
_HOST_SHM = "/dev/shm"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`sources` of image volumes are the mounted images, by the path in the container."""

    config: pb.ContainerConfig
    features: Features
    sources: dict[str, str]
    volumes: Sequence[SpecMount] = ()


def all_mounts(parts: Parts, pod: Pod, wanted: Wanted) -> tuple[SpecMount, ...]:
    """Shallow ones first. Blocks: sources that do not exist are made, links are followed.

    Raises InvalidArgument for what contradicts itself, FailedPrecondition for a source that does not propagate.
    """
    requested = [_requested(mount, wanted) for mount in wanted.config.mounts]
    taken = {posixpath.normpath(mount.destination) for mount in requested}
    extra = [*_pod_files(parts, pod, wanted.config), *wanted.volumes]
    return kinds.by_depth([*requested, *(each for each in extra if posixpath.normpath(each.destination) not in taken)])


def places(mounts: Iterable[pb.Mount]) -> set[str]:
    """Where the request mounts something."""
    return {posixpath.normpath(mount.container_path) for mount in mounts}


def _requested(mount: pb.Mount, wanted: Wanted) -> SpecMount:
    if not mount.container_path.startswith("/"):
        raise InvalidArgument(f"mount at {mount.container_path!r}: the path in the container must be absolute")
    _check(mount, wanted.features)
    source = wanted.sources.get(mount.container_path) or _source(mount)
    how = _PROPAGATION.get(mount.propagation, kinds.PRIVATE)
    propagation.check(source, how, mountinfo.mounts() if how != kinds.PRIVATE else ())
    made = kinds.bind(
        mount.container_path,
        source,
        read_only=mount.readonly,
        recursively=mount.recursive_read_only,
        propagation=how,
    )
    if mount.HasField("image"):
        return made
    return replace(made, uid_mappings=_ids(mount.uidMappings), gid_mappings=_ids(mount.gidMappings))


def _check(mount: pb.Mount, features: Features) -> None:
    what = f"mount of {mount.host_path or mount.image.image!r} at {mount.container_path}"
    if mount.recursive_read_only:
        if not mount.readonly:
            raise InvalidArgument(f"{what}: it cannot be writable and read-only recursively")
        if mount.propagation != pb.PROPAGATION_PRIVATE:
            raise InvalidArgument(f"{what}: what is read-only recursively needs private propagation")
        if not features.recursive_read_only:
            raise Unimplemented(f"{what}: the runtime handler has no recursive read-only mounts")
    if mount.uidMappings and features.why_no_user_namespaces:
        raise Unimplemented(f"{what}: it cannot be id-mapped: {features.why_no_user_namespaces}")


def _source(mount: pb.Mount) -> str:
    """The host's path with links followed; a folder is made where there is nothing, as the kubelet expects."""
    if not mount.host_path.startswith("/"):
        raise InvalidArgument(f"mount at {mount.container_path}: the host path {mount.host_path!r} must be absolute")
    with mapped(f"mount of {mount.host_path} at {mount.container_path}"):
        if not os.path.exists(mount.host_path):
            os.makedirs(mount.host_path, 0o755, exist_ok=True)
        return os.path.realpath(mount.host_path, strict=True)


def _pod_files(parts: Parts, pod: Pod, config: pb.ContainerConfig) -> Iterable[SpecMount]:
    read_only = config.linux.security_context.readonly_rootfs
    folder = files.folder(parts.root, pod.id)
    uids = _ids(pod.namespaces.userns_options.uids)
    gids = _ids(pod.namespaces.userns_options.gids)
    for place, name in (
        ("/etc/hostname", files.HOSTNAME),
        ("/etc/hosts", files.HOSTS),
        ("/etc/resolv.conf", files.RESOLV_CONF),
    ):
        if (folder / name).exists():
            made = kinds.bind(place, str(folder / name), read_only=read_only)
            yield replace(made, uid_mappings=uids, gid_mappings=gids)
    shm = _HOST_SHM if config.linux.security_context.namespace_options.ipc == pb.NODE else pod.pins.shm
    if shm and Path(shm).is_dir():
        yield kinds.bind(_HOST_SHM, shm)


def _ids(mappings: Iterable[pb.IDMapping]) -> tuple[IdMapping, ...]:
    return tuple(IdMapping(each.container_id, each.host_id, each.length) for each in mappings)
