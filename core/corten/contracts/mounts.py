"""Mounts as data, and the contract of the mount manager, which does those that mount(2) alone cannot do.

Terms. A *handler* knows how to do mounts of one type (`loop`). A *transformer* stands before a type and changes the
mount first: `format/overlay` fills in what earlier mounts of the list gave (`lowerdir={{ mount 0 }}`), `mkdir/…` makes
directories, `mkfs/…` makes a file system in a file. An *activation* is such a list done under a name: its *active*
mounts are made, its *system* mounts are left to whoever asked.

    activation = manager.activate(scope, "web-1", mounts, labels={"containerd.io/gc.bref.container": "web-1"})
    mount_all(activation.system, rootfs)
    ...
    manager.deactivate("default", "web-1")

An activation is kept by its lease (that of the scope) and by what its labels refer back to
(`containerd.io/gc.bref.container|content|image|snapshot.NAME`); without either the collector takes it away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol

from corten.values import dataclass

from .scope import Scope


@dataclass(frozen=True, slots=True)
class Mount:
    """One step of making a file tree visible; a list of them is applied in order at one target.

    `type` is a file system type or `bind`; `options` are fstab-like words (`ro`, `rbind`, `lowerdir=…`);
    `target` is a path inside the mount point and is empty for nearly all.
    """

    type: str
    source: str
    target: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ActiveMount:
    """A mount that was made: where, and when (ns since the epoch). `data` is the handler's."""

    mount: Mount
    mount_point: str
    mounted_at: int
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Activation:
    """A list of mounts of which the first are made."""

    name: str
    active: tuple[ActiveMount, ...] = ()
    system: tuple[Mount, ...] = ()
    """What is still to be done."""
    labels: Mapping[str, str] = field(default_factory=dict)


class MountHandler(Protocol):
    """Does mounts of the type that is its plugin's id. Methods block."""

    def mount(self, mount: Mount, point: str, active: Sequence[ActiveMount]) -> ActiveMount:
        """Do it at `point`, which is not there yet. On failure nothing is left."""
        ...

    def unmount(self, point: str) -> None:
        """Undo what `mount` did, also one of an earlier daemon; what is not mounted is no error."""
        ...


class MountManager(Protocol):
    """All methods but `needed` block."""

    def needed(self, mounts: Sequence[Mount], allowed: Sequence[str] = ()) -> bool:
        """Whether `activate` would do anything; looks at the types alone."""
        ...

    def activate(
        self,
        scope: Scope,
        name: str,
        mounts: Sequence[Mount],
        *,
        labels: Mapping[str, str] | None = None,
        temporary: bool = False,
        allowed: Sequence[str] = (),
    ) -> Activation:
        """Do all up to the last that needs handler or transformer; with `temporary` all, ending with a bind mount.

        `allowed` are types that the caller can do itself (`loop`, `format/*`). On failure nothing is left. While the
        name is being made or undone by another call, this one waits for its end, and then does what it asks.
        Raises Unimplemented when nothing needs doing, AlreadyExists for the name, InvalidArgument for a template or
        option, NotFound and the handlers' own errors.
        """
        ...

    def deactivate(self, namespace: str, name: str) -> None:
        """Undo the active mounts, the last first. Raises NotFound; what cannot be undone stays for another attempt."""
        ...

    def info(self, namespace: str, name: str) -> Activation:
        """Raises NotFound."""
        ...

    def update(self, namespace: str, activation: Activation, fieldpaths: Sequence[str] = ()) -> Activation:
        """Only labels can be updated (`labels`, `labels.KEY`). Raises NotFound, InvalidArgument."""
        ...

    def list(self, namespace: str, filters: Sequence[str] = ()) -> Sequence[Activation]:
        """In the order of names. Filter fields: name, labels."""
        ...
