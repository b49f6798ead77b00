"""Where a container's cgroup is, as the two drivers of runc write it."""

import posixpath
import re

from corten.errors import InvalidArgument

PREFIX = "cri-containerd"
"""Of the scope's name with the systemd driver; the kubelet and cAdvisor look for it."""
_SLICE = re.compile(r"[^/:]+\.slice")


def below(parent: str, id: str, prefix: str = PREFIX) -> str:
    """The path for `id` below `parent`: `/parent/id`, or `x.slice:prefix:id` where the parent is a slice of systemd.

    Raises InvalidArgument for a parent that leads upwards.
    """
    if ".." in parent.split("/"):
        raise InvalidArgument(f"cgroup parent {parent!r}: it leads upwards")
    name = posixpath.basename(posixpath.normpath(parent))
    if name.endswith(".slice"):
        return f"{name}:{prefix}:{id}"
    return posixpath.normpath("/".join(["", *filter(None, parent.split("/")), id]))


def is_systemd(path: str) -> bool:
    """Whether `path` is for the systemd driver, which the runtime has to be told to use."""
    parts = path.split(":")
    return len(parts) == 3 and (not parts[0] or _SLICE.fullmatch(parts[0]) is not None)


def in_hierarchy(path: str) -> str:
    """The directory below each hierarchy's root: `a-b.slice:p:id` means /a.slice/a-b.slice/p-id.scope."""
    if not is_systemd(path):
        return posixpath.normpath(f"/{path.lstrip('/')}")
    parent, prefix, id = path.split(":")
    unit = id if id.endswith(".slice") else f"{prefix}-{id}.scope" if prefix else f"{id}.scope"
    return posixpath.join(expanded(parent or "system.slice"), unit)


def expanded(slice: str) -> str:
    """A slice's directory: systemd nests by the dashes of the name (systemd.slice(5)). Raises InvalidArgument."""
    if slice == "-.slice":
        return "/"
    words = slice.removesuffix(".slice").split("-")
    if not _SLICE.fullmatch(slice) or not all(words):
        raise InvalidArgument(f"slice {slice!r}: it is no name of a slice (e.g. kubepods-burstable.slice)")
    return "/" + "/".join("-".join(words[: depth + 1]) + ".slice" for depth in range(len(words)))
