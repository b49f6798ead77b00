"""Into the tree that a layer is written to: what the mounts mean, and this process's root from then on.

What is mounted is in a mount namespace of the process, which ends with it.
"""

import os
import sys
from collections.abc import Sequence

from corten.contracts.mounts import Mount
from corten.errors import FailedPrecondition, InvalidArgument, mapped
from corten.linux import mount, options, syscalls
from corten.values import dataclass

assert sys.platform != "win32"

_FOR_THE_LOWERS = ("userxattr", "index=", "metacopy=", "redirect_dir=")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a layer is written: into the directory `direct` if it has one, else into the mounts.

    `lowers` are there for an upper directory: the layers below it, topmost first, and its overlay's options. `unseen`:
    it is an upper directory whose lower layers are not there yet.
    """

    direct: str = ""
    lowers: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    unseen: bool = False

    @property
    def opaque(self) -> str:
        """The attribute that marks a directory as hiding what is below it."""
        return "user.overlay.opaque" if "userxattr" in self.words else "trusted.overlay.opaque"


@dataclass(frozen=True, slots=True)
class Tree:
    """An open destination: its root, the view of what lies below an upper directory, and how it marks removals."""

    root: int
    lower: int = -1
    opaque: str = ""
    devices: bool = True
    """Whether device nodes can be made."""
    unseen: bool = False
    """Whether layers will come below it that are not there yet."""


def destination(mounts: Sequence[Mount], in_user_namespace: bool) -> Destination:
    """Whether the mounts can be written without mounting them, which is faster: a bind mount, or an overlay's upper."""
    if len(mounts) != 1 or mounts[0].target:
        return Destination()
    (only,) = mounts
    if only.type in ("bind", "rbind") and not options.parse(only.options).flags & syscalls.MS_RDONLY:
        return Destination(only.source)
    upper = options.option(only, "upperdir")
    # In a user namespace overlayfs's marks cannot be made by hand.
    if only.type == "overlay" and upper and not in_user_namespace:
        kept = tuple(word for word in only.options if word.startswith(_FOR_THE_LOWERS))
        lowers = tuple(options.lower_directories(only))
        return Destination(upper, lowers, kept, unseen=not lowers)
    return Destination()


def enter(mounts: Sequence[Mount], target: str) -> Tree:
    """Open the destination and make it the root of this process; `target` is an empty directory to mount on."""
    if not mounts:
        raise InvalidArgument("apply: no mounts to unpack into")
    inside = _in_user_namespace()
    plan = destination(mounts, inside)
    if (plan.lowers or plan.unseen) and os.listdir(plan.direct):
        if plan.unseen:
            raise FailedPrecondition(f"{plan.direct}: it is not empty, and what will lie below it is not known")
        plan = Destination()  # not empty: which marks are whose could not be told apart
    with mapped(f"enter {plan.direct or target}"):
        tree = _open(plan, mounts, target)
        leave_host(tree.root)
        os.close(tree.root)
        return Tree(_directory("/"), tree.lower, tree.opaque, not inside, plan.unseen)


def leave_host(root: int | str) -> None:
    """Make a directory the root of this process, which reaches no files and no network of the host any more."""
    os.chdir(root)
    os.chroot(".")
    # From here on an import would run what lies in the tree.
    sys.meta_path.clear()
    _leave_network()


def private_mounts() -> None:
    """Give this process a mount namespace of its own, from which nothing propagates."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("", "/", flags=syscalls.MS_PRIVATE | syscalls.MS_REC)


def _open(plan: Destination, mounts: Sequence[Mount], target: str) -> Tree:
    if not plan.direct:
        private_mounts()
        mount.mount_all(mounts, target)
        return Tree(_directory(target))
    if not plan.lowers:
        return Tree(_directory(plan.direct), opaque=plan.opaque)
    if len(plan.lowers) == 1:
        return Tree(_directory(plan.direct), _directory(plan.lowers[0]), plan.opaque)
    private_mounts()
    words = ("ro", *plan.words, "lowerdir=" + ":".join(map(options.escape, plan.lowers)))
    mount.mount_all([Mount("overlay", "overlay", options=words)], target)
    return Tree(_directory(plan.direct), _directory(target), plan.opaque)


def _directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _leave_network() -> None:
    try:
        syscalls.unshare(syscalls.CLONE_NEWNET)
    except OSError:
        pass  # no right to (a user namespace without CAP_SYS_ADMIN): the chroot has no sockets to reach anyway


def _in_user_namespace() -> bool:
    with open("/proc/self/uid_map") as file:
        return file.read().split() != ["0", "0", "4294967295"]
