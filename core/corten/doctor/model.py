"""The facts and the findings of the doctor, as frozen values."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from corten.linux.processes import Process
from corten.values import dataclass

Key = tuple[str, str]
"""Namespace and id."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the daemon has. Empty folders are those it does not tell."""

    address: str
    state: str = ""
    """The runtime plugin's folder, with the bundles."""
    content: str = ""
    namespaces: frozenset[str] = frozenset()
    tasks: frozenset[Key] = frozenset()
    pids: frozenset[int] = frozenset()
    """Of the tasks' first processes."""
    containers: frozenset[Key] = frozenset()
    sandboxes: frozenset[Key] = frozenset()
    digests: frozenset[str] = frozenset()
    ingests: bool = False
    """Whether something is being written: then blobs may be there just before their records."""
    snapshots: Mapping[str, int] = field(default_factory=dict)
    """How many each snapshotter has in all namespaces."""
    snapshot_roots: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bundle:
    """`shim` is the pid that its record names, 0 for none."""

    key: Key
    path: str
    shim: int = 0


@dataclass(frozen=True, slots=True)
class Host:
    """What is on the host that may belong to the daemon."""

    bundles: tuple[Bundle, ...] = ()
    shims: tuple[Process, ...] = ()
    """Of this daemon: by its address, or by where they run."""
    children: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """By the pid of a shim: containers are the children of theirs."""
    runc: tuple[tuple[Key, str], ...] = ()
    """Containers that runc knows below the daemon's state: key and runc's root."""
    mounts: tuple[str, ...] = ()
    """Mount points below the state folder, the deepest first."""
    temporary: tuple[str, ...] = ()
    """Folders of temporary mounts whose maker is gone."""
    cgroups: tuple[tuple[Key, str], ...] = ()
    """Cgroups without processes that bear the name of a namespace and an id."""
    blobs: Mapping[str, int] = field(default_factory=dict)
    """Digest to size of every file in the content store."""
    snapshot_folders: Mapping[str, int] = field(default_factory=dict)


class Action(StrEnum):
    """What a repair does to its object."""

    KILL = "kill the process"
    DELETE_CONTAINER = "delete the container with runc"
    UNMOUNT = "unmount"
    REMOVE_FOLDER = "unmount and remove the folder"
    REMOVE_CGROUP = "remove the cgroup"
    COLLECT = "collect garbage"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that belongs to nobody. `target` is what `action` is done to."""

    kind: str
    what: str
    why: str
    action: Action
    target: str
    process: Process | None = None

    @property
    def remedy(self) -> str:
        return f"{self.action}: {self.target}" if self.target else str(self.action)
