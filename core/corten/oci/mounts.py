"""Mounts of a container, decided purely: the usual ones made, and those asked for laid over the default ones."""

import posixpath
from collections.abc import Iterable, Sequence
from typing import Any

from corten.errors import InvalidArgument

from . import ids
from .options import SpecMount

PRIVATE, TO_CONTAINER, BOTH_WAYS = "rprivate", "rslave", "rshared"
"""Whether mounts made later below a bind mount are seen on the other side (mount_namespaces(7))."""

CGROUP = "/sys/fs/cgroup"
DEV = "/dev"
SHM = "/dev/shm"
_CGROUP_OPTIONS = ("nosuid", "noexec", "nodev", "relatime")


def bind(
    destination: str,
    source: str,
    *,
    read_only: bool = False,
    recursively: bool = False,
    propagation: str = PRIVATE,
    options: Sequence[str] = (),
) -> SpecMount:
    """A bind mount of what is at `source`, with the mounts below it.

    `recursively` makes those below read-only too, which wants `read_only` and PRIVATE, else InvalidArgument is raised.
    """
    if recursively and not (read_only and propagation == PRIVATE):
        raise InvalidArgument(f"mount at {destination}: only a private read-only mount can be read-only recursively")
    mode = "rro" if recursively else "ro" if read_only else "rw"
    return SpecMount(destination, source, "bind", ("rbind", propagation, mode, *options))


def tmpfs(destination: str, *, size: int | None = None, mode: int = 0o1777, options: Sequence[str] = ()) -> SpecMount:
    """A new file system in memory of at most `size` bytes (half of the memory by default)."""
    limit = () if size is None else (f"size={size}",)
    return SpecMount(destination, "tmpfs", "tmpfs", ("nosuid", "nodev", f"mode={mode:o}", *limit, *options))


def by_depth(mounts: Iterable[SpecMount]) -> tuple[SpecMount, ...]:
    """Shallow ones first, so that none hides another; those of one depth keep their order."""
    return tuple(sorted(mounts, key=lambda mount: posixpath.normpath(mount.destination).count("/")))


def overlaid(
    base: Sequence[dict[str, Any]], extra: Sequence[SpecMount], without: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """`base` but for what `extra` replaces or `without` names, then `extra`. Raises InvalidArgument for a bad mount."""
    added = [document(mount) for mount in extra]
    taken = {mount["destination"] for mount in added} | {posixpath.normpath(path) for path in without}
    dev = any(mount["destination"] == DEV for mount in added)
    return [mount for mount in base if not _hidden(posixpath.normpath(mount["destination"]), taken, dev)] + added


def cgroup(mode: str, super_options: Sequence[str] = ()) -> dict[str, Any]:
    """The container's cgroups, `ro` or `rw`."""
    if mode not in ("ro", "rw"):
        raise InvalidArgument(f"cgroup mount {mode!r}: it is ro or rw")
    options = [*_CGROUP_OPTIONS, mode, *super_options]
    return {"destination": CGROUP, "type": "cgroup", "source": "cgroup", "options": options}


def host_sys() -> dict[str, Any]:
    """The host's /sys: a user namespace without a network namespace of its own may not mount sysfs."""
    options = ["rbind", "rro", "nosuid", "nodev", "noexec"]
    return {"destination": "/sys", "type": "bind", "source": "/sys", "options": options}


def with_shm_size(mounts: Iterable[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """The default /dev/shm of another size in bytes. Raises InvalidArgument for a size that is none."""
    if size <= 0:
        raise InvalidArgument(f"/dev/shm of {size} bytes: give a size above 0")
    return [_sized(mount, size) if _is_shm(mount) else mount for mount in mounts]


def writable(mounts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """sysfs and cgroups read-write, for privileged containers."""
    return [
        {**mount, "options": ["rw" if word == "ro" else word for word in mount.get("options") or ()]}
        if mount.get("type") in ("sysfs", "cgroup")
        else mount
        for mount in mounts
    ]


def propagation(mounts: Iterable[SpecMount]) -> str:
    """What the root file system has to be for mounts that propagate: BOTH_WAYS before TO_CONTAINER before "" ."""
    words = {word for mount in mounts for word in mount.options}
    return next((kind for kind in (BOTH_WAYS, TO_CONTAINER) if kind in words), "")


def document(mount: SpecMount) -> dict[str, Any]:
    """The specification's object. Raises InvalidArgument for a path that is not absolute."""
    if not mount.destination.startswith("/") or "\0" in mount.destination:
        raise InvalidArgument(f"mount at {mount.destination!r}: the destination must be an absolute path")
    if mount.type == "bind" and not mount.source.startswith("/"):
        raise InvalidArgument(f"mount at {mount.destination}: the source {mount.source!r} must be an absolute path")
    made: dict[str, Any] = {
        "destination": posixpath.normpath(mount.destination),
        "type": mount.type,
        "source": mount.source,
        "options": list(mount.options),
    }
    if mount.uid_mappings or mount.gid_mappings:
        made["uidMappings"] = ids.document(mount.uid_mappings)
        made["gidMappings"] = ids.document(mount.gid_mappings)
    return made


def _hidden(place: str, taken: set[str], dev: bool) -> bool:
    return place in taken or (dev and place.startswith(f"{DEV}/"))


def _is_shm(mount: dict[str, Any]) -> bool:
    return bool(mount["destination"] == SHM and mount.get("type") == "tmpfs")


def _sized(mount: dict[str, Any], size: int) -> dict[str, Any]:
    kept = [word for word in mount.get("options") or () if not word.startswith("size=")]
    return {**mount, "options": [*kept, f"size={size}"]}
