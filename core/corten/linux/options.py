"""Mount options, decided purely: words as in fstab become kernel flags, propagation and file system data.

Sources: mount(2), mount_namespaces(7), and the words that containerd's clients send.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from corten.contracts.mounts import Mount
from corten.values import dataclass

from . import syscalls as kernel

_FLAGS: dict[str, tuple[int, int]] = {
    # word: (bits set, bits cleared)
    "async": (0, kernel.MS_SYNCHRONOUS),
    "atime": (0, kernel.MS_NOATIME),
    "bind": (kernel.MS_BIND, 0),
    "defaults": (0, 0),
    "dev": (0, kernel.MS_NODEV),
    "diratime": (0, kernel.MS_NODIRATIME),
    "dirsync": (kernel.MS_DIRSYNC, 0),
    "exec": (0, kernel.MS_NOEXEC),
    "mand": (kernel.MS_MANDLOCK, 0),
    "noatime": (kernel.MS_NOATIME, 0),
    "nodev": (kernel.MS_NODEV, 0),
    "nodiratime": (kernel.MS_NODIRATIME, 0),
    "noexec": (kernel.MS_NOEXEC, 0),
    "nomand": (0, kernel.MS_MANDLOCK),
    "norelatime": (0, kernel.MS_RELATIME),
    "nostrictatime": (0, kernel.MS_STRICTATIME),
    "nosuid": (kernel.MS_NOSUID, 0),
    "rbind": (kernel.MS_BIND | kernel.MS_REC, 0),
    "relatime": (kernel.MS_RELATIME, 0),
    "remount": (kernel.MS_REMOUNT, 0),
    "ro": (kernel.MS_RDONLY, 0),
    "rw": (0, kernel.MS_RDONLY),
    "strictatime": (kernel.MS_STRICTATIME, 0),
    "suid": (0, kernel.MS_NOSUID),
    "sync": (kernel.MS_SYNCHRONOUS, 0),
}

_PROPAGATION: dict[str, int] = {
    "private": kernel.MS_PRIVATE,
    "rprivate": kernel.MS_PRIVATE | kernel.MS_REC,
    "rshared": kernel.MS_SHARED | kernel.MS_REC,
    "rslave": kernel.MS_SLAVE | kernel.MS_REC,
    "runbindable": kernel.MS_UNBINDABLE | kernel.MS_REC,
    "shared": kernel.MS_SHARED,
    "slave": kernel.MS_SLAVE,
    "unbindable": kernel.MS_UNBINDABLE,
}

_FOR_THE_DAEMON = ("X-containerd.", "x-containerd.", "x-gvfs-")


@dataclass(frozen=True, slots=True)
class Options:
    """What a list of words means: mount flags, one propagation change (0: none), data for the file system."""

    flags: int = 0
    propagation: int = 0
    data: tuple[str, ...] = ()
    loop: bool = False

    @property
    def bind(self) -> bool:
        return bool(self.flags & kernel.MS_BIND)


@dataclass(frozen=True, slots=True)
class Step:
    """One call of mount(2)."""

    source: str
    fstype: str
    flags: int
    data: str = ""


def parse(words: Iterable[str]) -> Options:
    """Sort words into flags, propagation and data; a later word wins over an earlier one. Never fails."""
    options = Options()
    for word in words:
        options = _with(options, word)
    return options


def _with(options: Options, word: str) -> Options:
    if word in _FLAGS:
        on, off = _FLAGS[word]
        return replace(options, flags=options.flags & ~off | on)
    if word in _PROPAGATION:
        return replace(options, propagation=_PROPAGATION[word])
    if word == "loop":
        return replace(options, loop=True)
    if not word or word.startswith(_FOR_THE_DAEMON):
        return options
    return replace(options, data=(*options.data, word))


def steps(mount: Mount) -> list[Step]:
    """The calls of mount(2) that one mount takes.

    A bind mount ignores every flag but MS_REC, and propagation can only be changed alone (mount(2)), so both take a
    call of their own.
    """
    options = parse(mount.options)
    flags = options.flags | (kernel.MS_BIND if mount.type in ("bind", "rbind") else 0)
    flags |= kernel.MS_REC if mount.type == "rbind" else 0
    bind = bool(flags & kernel.MS_BIND)
    plan = []
    if not flags & kernel.MS_REMOUNT or options.data:
        first = flags & (kernel.MS_BIND | kernel.MS_REC) if bind and not flags & kernel.MS_REMOUNT else flags
        plan.append(Step(mount.source, "" if bind else mount.type, first, ",".join(options.data)))
    extra = flags & ~(kernel.MS_BIND | kernel.MS_REC)
    if bind and extra:
        plan.append(Step("", "", flags & ~kernel.MS_REC | kernel.MS_REMOUNT))
    if options.propagation:
        plan.append(Step("", "", options.propagation))
    return plan


def read_only(mounts: Sequence[Mount]) -> list[Mount]:
    """The same trees for reading: overlays lose their upper directory, all others get `ro`."""
    return [_overlay_read_only(m) if m.type == "overlay" else _with_ro(m) for m in mounts]


def option(mount: Mount, name: str) -> str:
    """The value of `name=value` among the options; empty if it is not there."""
    return next((word.partition("=")[2] for word in mount.options if word.startswith(f"{name}=")), "")


def lower_directories(mount: Mount) -> list[str]:
    """The lower directories of an overlay, topmost first."""
    return split_lowers(option(mount, "lowerdir"))


def split_lowers(value: str) -> list[str]:
    r"""Split at `:` that is not escaped as `\:`, and unescape."""
    marked = value.replace("\\:", "\0")
    return [part.replace("\0", ":") for part in marked.split(":") if part]


def escape(path: str) -> str:
    """A path as the overlay options want it: backslash, colon and comma escaped."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _with_ro(mount: Mount) -> Mount:
    return replace(mount, options=(*(word for word in mount.options if word not in ("rw", "ro")), "ro"))


def _overlay_read_only(mount: Mount) -> Mount:
    upper = option(mount, "upperdir")
    if not upper:
        return _with_ro(mount)
    dropped = ("upperdir=", "workdir=", "volatile", "lowerdir=")
    kept = tuple(word for word in mount.options if not word.startswith(dropped))
    lower = f"lowerdir={upper}:{option(mount, 'lowerdir')}"
    return _with_ro(replace(mount, options=(*kept, lower)))
