"""The worker that puts right what layers assumed of those below, once all are there.

Every step is one name under an open descriptor, found without following a link, so that what the layers hold cannot
lead anywhere else.
"""

import json
import os
import stat
import sys
from collections.abc import Sequence

from corten.contracts.mounts import Mount
from corten.errors import FailedPrecondition, mapped
from corten.linux import mount, options

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .assumptions import Assumptions, decoded
from .directories import Directories
from .entering import Destination, destination, private_mounts
from .lower import Lower, is_whiteout
from .whiteouts import Converting


def settle(payload: bytes, fds: Sequence[int]) -> bytes:
    """Go through the stack that `payload` (JSON) describes, lowest layer first."""
    request = json.loads(payload)
    os.umask(0)
    private_mounts()
    lowers: list[str] = []
    for mounts, assumed in request["stack"]:
        plan = destination([Mount(m["type"], m["source"], m["target"], tuple(m["options"])) for m in mounts], False)
        if not plan.direct:
            raise FailedPrecondition("a layer that is no directory cannot be settled")
        lowers = lowers or list(plan.lowers)
        if assumed and lowers:
            with mapped(f"settle {plan.direct}"):
                _settle(plan, lowers, decoded(assumed), request["target"])
        lowers.insert(0, plan.direct)
    return b""


def _settle(plan: Destination, lowers: Sequence[str], assumed: Assumptions, target: str) -> None:
    below = lowers[0]
    if len(lowers) > 1:
        words = ("ro", *plan.words, "lowerdir=" + ":".join(map(options.escape, lowers)))
        mount.mount_all([Mount("overlay", "overlay", options=words)], target)
        below = target
    root, upper = _directory(below), _directory(plan.direct)
    try:
        lower = Lower(root, plan.opaque)
        _root(root, upper, assumed)
        _directories(Directories(upper), lower, assumed)
        _whiteouts(Directories(upper, lower), lower, assumed)
    finally:
        os.close(root)
        os.close(upper)
        if below == target:
            mount.unmount_all(target)


def _root(below: int, upper: int, assumed: Assumptions) -> None:
    if assumed.root:
        found = os.fstat(below)
        os.fchown(upper, found.st_uid, found.st_gid)
        os.fchmod(upper, stat.S_IMODE(found.st_mode))


def _directories(directories: Directories, lower: Lower, assumed: Assumptions) -> None:
    """A directory without an entry of its own is as it was below, and a new one as its parent would have made it."""
    group: dict[bytes, int] = {}
    for path in assumed.directories:
        head, _, name = path.rpartition(b"/")
        found = lower.stat(head, name)
        try:
            made = directories.opened(path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # a later entry has replaced it
        try:
            if found is None:
                if group.get(head, -1) >= 0:
                    os.fchown(made.fd, -1, group[head])
                    os.fchmod(made.fd, 0o2755)
                    group[path] = group[head]
                continue
            group[path] = found.st_gid if found.st_mode & stat.S_ISGID else -1
            if not stat.S_ISDIR(found.st_mode):
                raise FailedPrecondition(f"{os.fsdecode(path)} is no directory in the layers below")
            lower.copy_directory(head, name, made.fd, found)
            os.utime(made.fd, ns=(found.st_atime_ns, found.st_mtime_ns))
        finally:
            os.close(made.fd)


def _whiteouts(directories: Directories, lower: Lower, assumed: Assumptions) -> None:
    """Take away those over nothing, which would be listed as names that cannot be opened."""
    for path in assumed.whiteouts:
        head, _, name = path.rpartition(b"/")
        if lower.stat(head, name) is not None:
            continue
        try:
            directory = directories.opened(head)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            if is_whiteout(directory.fd, name):
                os.unlink(name, dir_fd=directory.fd)
        finally:
            os.close(directory.fd)
    if assumed.cleared:
        Converting(directories, lower).clear(directories.root)


def _directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
