"""Putting the shim's own processes into a cgroup (`shim_cgroup` of runc's options)."""

import os
import sys
from collections.abc import Iterable

from corten.errors import InvalidArgument

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import cgroups, files


def join(group: str, pids: Iterable[int]) -> None:
    """Move processes to the cgroup of that path in every hierarchy that has it; all of cgroup v2's, or of v1's.

    Raises InvalidArgument if there is no such cgroup: as in containerd it is not made.
    """
    found = [path for path in directories(group) if os.path.isdir(path)]
    if not found:
        raise InvalidArgument(f"shim_cgroup {group!r}: there is no such cgroup (make it first)")
    for path in found:
        for pid in pids:
            files.write(f"{path}/cgroup.procs", b"%d" % pid)


def directories(group: str) -> list[str]:
    """Where the cgroup would be, in every mounted hierarchy."""
    return [os.path.normpath(f"{mount.target}/{group.lstrip('/')}") for mount in cgroups.mounted()]
