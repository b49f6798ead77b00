"""Contract of a snapshotter: file trees in layers, described as mounts.

Terms. A *key* names a snapshot that is being worked on (active or view), a *name* one that is committed; both share
one space. A *parent* is the name of a committed snapshot. *Active* is writable, *view* is read-only and cannot be
committed, *committed* is immutable and can be a parent.

Life cycle: `prepare(key, parent)` → mount what it returns, write → `commit(name, key)` → `prepare` or `view` on top.
A snapshot with children cannot be removed. The usage of a snapshot leaves out its parents.

    mounts = snapshotter.prepare("extract-1", "")
    # … mount them, unpack a layer …
    snapshotter.commit("sha256:layer1", "extract-1")
    rootfs = snapshotter.prepare("container-1", "sha256:layer1")

All methods block; the kernel calls them in the pool `snapshots`. `corten.testing.snapshots` is the conformance suite.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from corten.values import dataclass

from .mounts import Mount


class Kind(StrEnum):
    """The words are those of the filter field `kind`."""

    VIEW = "view"
    ACTIVE = "active"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot; `name` is its key while it is active or a view. Times are nanoseconds since the epoch."""

    name: str
    kind: Kind = Kind.ACTIVE
    parent: str = ""
    created_at: int = 0
    updated_at: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Disk use: `size` in bytes, and the number of inodes."""

    size: int = 0
    inodes: int = 0


class Snapshotter(Protocol):
    """Every method raises NotFound for a key or name that does not exist."""

    def stat(self, key: str) -> SnapshotInfo: ...
    def update(self, info: SnapshotInfo, fieldpaths: Sequence[str] = ()) -> SnapshotInfo:
        """Replace labels: all with no fieldpaths or `labels`, one with `labels.KEY`; InvalidArgument for others."""
        ...

    def usage(self, key: str) -> Usage:
        """Of the snapshot itself; measured now for an active one, as committed for a committed one."""
        ...

    def mounts(self, key: str) -> list[Mount]:
        """The mounts of an active snapshot or a view, as `prepare` returned them. FailedPrecondition if committed."""
        ...

    def prepare(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        """Make an active snapshot. Raises AlreadyExists, and InvalidArgument if the parent is not committed."""
        ...

    def view(self, key: str, parent: str = "", labels: Mapping[str, str] | None = None) -> list[Mount]:
        """Make a read-only snapshot; errors as `prepare`."""
        ...

    def commit(self, name: str, key: str, labels: Mapping[str, str] | None = None, parent: str = "") -> None:
        """Turn the active snapshot `key` into the committed `name`; `key` is gone then.

        The tree is on disk when this returns. A snapshotter with the capability `rebase` takes a `parent` for a key
        that was prepared without one; others raise Unimplemented for it.
        Raises AlreadyExists for the name, FailedPrecondition for a view or a committed key, InvalidArgument for a
        parent that is not the one of the key.
        """
        ...

    def remove(self, key: str) -> None:
        """Raises FailedPrecondition while it has children."""
        ...

    def walk(self, filters: Sequence[str] = ()) -> Iterator[SnapshotInfo]:
        """Matching snapshots by ascending name. Filter fields: name, parent, kind, labels."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Cleaner(Protocol):
    """What a snapshotter has in addition if it removes file trees later than `remove`."""

    def cleanup(self) -> None:
        """Delete what removed snapshots left on disk; safe at any time, and after a crash."""
        ...


@runtime_checkable
class Repairer(Protocol):
    """What a snapshotter has in addition if it finds damaged trees: `stat` and `prepare` raise DataLoss for these."""

    def replace(self, name: str, key: str) -> None:
        """Put the tree of the active `key` in the place of the damaged committed `name`'s; `key` is gone then.

        What was built on `name` stays. Raises NotFound, FailedPrecondition if `name` is not damaged, or if `key` is
        not active on the same parent.
        """
        ...


@runtime_checkable
class Syncer(Protocol):
    """What a snapshotter has in addition if it can write many trees to disk at once."""

    def sync(self, keys: Sequence[str]) -> None:
        """Write the trees of these active snapshots to disk, so that their commits need not do it one by one.

        Nothing may be written to them any more. Raises NotFound, ResourceExhausted, Unknown for write errors.
        """
        ...
