"""The transformer `mkdir`: options `X-containerd.mkdir.path=PATH[:MODE[:UID:GID]]` make directories, and go."""

import os
import re
from dataclasses import replace

from corten.contracts.mounts import Mount
from corten.errors import FailedPrecondition, InvalidArgument, mapped
from corten.values import dataclass

from .places import Places

PREFIX = "X-containerd.mkdir."
_VALUE = re.compile(r"path=(?P<path>[^:]+)(?::(?P<mode>[0-7]{1,4}))?(?::(?P<uid>\d{1,10}):(?P<gid>\d{1,10}))?")


@dataclass(frozen=True, slots=True)
class Directory:
    """`uid` and `gid` are -1 for this process's own."""

    path: str
    mode: int = 0o700
    uid: int = -1
    gid: int = -1


def made(mount: Mount, places: Places) -> Mount:
    """The mount without these options, their directories made; one that is there must have the mode asked for.

    Raises InvalidArgument for an option or a path out of bounds, FailedPrecondition for what stands in the way.
    """
    wanted = [parse(word) for word in mount.options if word.startswith(PREFIX)]
    for directory in wanted:
        with mapped(f"make the directory {directory.path} for a mount"):
            _make(directory, places)
    return replace(mount, options=tuple(word for word in mount.options if not word.startswith(PREFIX)))


def parse(option: str) -> Directory:
    """Raises InvalidArgument."""
    match = _VALUE.fullmatch(option.removeprefix(PREFIX))
    if match is None or (match["uid"] and not match["mode"]):
        raise InvalidArgument(f"mount option {option!r}: write {PREFIX}path=PATH[:MODE[:UID:GID]]")
    mode = int(match["mode"] or "700", 8)
    if mode > 0o777:
        raise InvalidArgument(f"mount option {option!r}: the mode {mode:o} has more than permissions")
    return Directory(match["path"], mode, int(match["uid"] or -1), int(match["gid"] or -1))


def _make(directory: Directory, places: Places) -> None:
    parent, name = places.parent(directory.path, "directory")
    try:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            return _check(directory, name, parent)
        os.chmod(name, directory.mode, dir_fd=parent)  # mkdir(2) takes the umask away
        if directory.uid >= 0:
            _chown(name, directory, parent)
    finally:
        os.close(parent)
    return None


def _chown(name: str, directory: Directory, parent: int) -> None:
    change = getattr(os, "chown")  # noqa: B009  not there for type checkers on Windows
    change(name, directory.uid, directory.gid, dir_fd=parent, follow_symlinks=False)


def _check(directory: Directory, name: str, parent: int) -> None:
    import stat

    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode) or stat.S_IMODE(found.st_mode) != directory.mode:
        raise FailedPrecondition(
            f"directory {directory.path}: what is there is no directory of mode {directory.mode:o}"
        )
