"""The mounts of this mount namespace, as /proc/self/mountinfo tells them (proc(5))."""

import os
import re
from collections.abc import Iterator

from corten.values import dataclass

_OCTAL = re.compile(rb"\\([0-7]{3})")
_ESCAPED = re.compile(rb"[ \t\n\\]")


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line: the mount point, the file system type, what was mounted, and the super block's options."""

    id: int
    parent: int
    device: str
    root: str
    target: str
    options: str
    fstype: str
    source: str
    super_options: str
    optional: tuple[str, ...] = ()
    """How mounts propagate: `shared:N`, `master:N`, `unbindable`."""


def mounts(pid: int | str = "self") -> list[Mounted]:
    """All mounts, in the order in which they were made."""
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        return [parse(line) for line in file]


def parse(line: bytes) -> Mounted:
    """One line of mountinfo; the optional fields go up to the lone dash."""
    head, _, tail = line.rstrip(b"\n").partition(b" - ")
    fields = [_unescape(field) for field in head.split(b" ")]
    fstype, source, options = ([_unescape(field) for field in tail.split(b" ")] + ["", "", ""])[:3]
    id, parent, device, root, target, flags, *optional = fields
    return Mounted(int(id), int(parent), device, root, target, flags, fstype, source, options, tuple(optional))


def holding(path: str, found: list[Mounted]) -> Mounted:
    """The mount that the real path `path` is on; of several at one place the last made. Raises LookupError."""
    over = [m for m in found if path == m.target or path.startswith(m.target.rstrip("/") + "/")]
    deepest = max((len(mount.target) for mount in over), default=0)
    return [mount for mount in over if len(mount.target) == deepest][-1]


def below(target: str, found: list[Mounted]) -> Iterator[Mounted]:
    """The mounts at `target` and under it, the last made and so the deepest first."""
    prefix = target.rstrip("/") + "/"
    return (mount for mount in reversed(found) if mount.target == target or mount.target.startswith(prefix))


def mounted_below(target: str) -> list[Mounted]:
    """As `below`, of what is mounted now. Of the lines of a host with many mounts only those in question are parsed."""
    needle = _escape(os.fsencode(target.rstrip("/")))
    with open("/proc/self/mountinfo", "rb") as file:
        found = [parse(line) for line in file if needle in line]
    return list(below(target, found))


def _escape(path: bytes) -> bytes:
    """As the kernel writes it."""
    return _ESCAPED.sub(lambda match: b"\\%03o" % match[0][0], path)


def _unescape(field: bytes) -> str:
    if b"\\" in field:
        field = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), field)
    return os.fsdecode(field)
