"""Where a container's cgroups are, who is in them, and their statistics in containerd's messages."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from corten.errors import FailedPrecondition
from corten.linux import mountinfo

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import cgroups_v1, cgroups_v2, files

_FOR_PIDS = ("", "pids", "freezer", "devices", "memory", "cpu")


@dataclass(frozen=True, slots=True)
class Cgroups:
    """The directory for each controller (v1), or the one directory under the empty name (v2)."""

    paths: Mapping[str, str]
    own: tuple[str, ...] = ()
    """Every directory that the container has to itself, those of hierarchies without a controller too."""

    @property
    def unified(self) -> str:
        """The directory in cgroup v2; empty in v1."""
        return self.paths.get("", "")

    def pids(self) -> list[int]:
        """All processes in it and below, in ascending order; none if it is gone."""
        directory = next((self.paths[name] for name in _FOR_PIDS if name in self.paths), "")
        return sorted(_pids(directory)) if directory else []

    def metrics(self) -> Any:
        """`io.containerd.cgroups.v1.Metrics` or `…v2.Metrics`. Raises FailedPrecondition if there is no cgroup."""
        if not self.paths or not any(os.path.isdir(path) for path in self.paths.values()):
            raise FailedPrecondition("cgroup metrics: the container has no cgroup (any more)")
        return cgroups_v2.read(self.unified) if self.unified else cgroups_v1.read(self.paths)


def of_process(pid: int) -> Cgroups:
    """The cgroups that a process is in; empty if it has gone."""
    try:
        lines, ours = _lines(pid), _lines("self")
    except OSError:
        return Cgroups({})
    mounts = mounted()
    found, shared = locate(lines, mounts), set(locate(ours, mounts).values())
    own = tuple(dict.fromkeys(path for path in found.values() if path not in shared))
    if len(found) > 1:
        found.pop("", None)  # hybrid mode: the v1 hierarchies have the controllers
    return Cgroups(found, own)


@cache
def mounted() -> list[mountinfo.Mounted]:
    """Where cgroup file systems are mounted; found by the zygote once for all its shims."""
    return [mount for mount in mountinfo.mounts() if mount.fstype in ("cgroup", "cgroup2")]


def _lines(pid: int | str) -> str:
    return os.fsdecode(files.content(f"/proc/{pid}/cgroup"))


def locate(lines: str, mounts: Iterable[mountinfo.Mounted]) -> dict[str, str]:
    """Controller to directory, from /proc/PID/cgroup and the mount table (cgroups(7)); v2 has the empty name."""
    mounts = [mount for mount in mounts if mount.fstype in ("cgroup", "cgroup2")]
    found: dict[str, str] = {}
    for line in lines.splitlines():
        number, names, path = line.split(":", 2)
        for name in names.split(","):
            for mount in mounts:
                if _serves(mount, number, name):
                    found[name] = _below(mount, path)
    return found


def _serves(mount: mountinfo.Mounted, number: str, name: str) -> bool:
    if number == "0":
        return mount.fstype == "cgroup2"
    return mount.fstype == "cgroup" and name in mount.super_options.split(",")


def _below(mount: mountinfo.Mounted, path: str) -> str:
    inside = os.path.relpath(path, mount.root) if mount.root != "/" else path.lstrip("/")
    return os.path.normpath(os.path.join(mount.target, inside))


def _pids(directory: str) -> Iterator[int]:
    try:
        yield from map(int, files.content(f"{directory}/cgroup.procs").split())
        children = [entry.path for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for child in children:
        yield from _pids(child)
