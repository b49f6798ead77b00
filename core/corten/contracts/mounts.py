"""A mount as containerd's APIs carry it: what to pass to mount(2), as data."""

from dataclasses import dataclass


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
