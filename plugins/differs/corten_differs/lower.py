"""What lies below the upper directory of an overlay that is being written: the merged layers, seen read-only."""

import errno
import os
import stat
import sys
from typing import Protocol

from corten.linux import syscalls

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .xattrs import copy_xattrs

OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Below(Protocol):
    """What the extraction asks of the layers below; paths are clean and relative, a directory and a name in it.

    `opaque` is the attribute that marks an upper directory as hiding what is below it, `hidden` are the paths of those.
    """

    opaque: str
    hidden: set[bytes]

    def stat(self, directory: bytes, name: bytes) -> os.stat_result | None:
        """What the entry was before this layer; None if it was not there, is hidden, or is not known."""

    def removable(self, directory: bytes, name: bytes) -> bool:
        """Whether a mark of removal has something to remove, as far as is known."""

    def readlink(self, directory: bytes, name: bytes) -> bytes:
        """The target of a link that `stat` found."""

    def names(self, directory: bytes) -> list[bytes]:
        """The entries of a directory; none if it was not there."""

    def copy_directory(self, directory: bytes, name: bytes, made: int, found: os.stat_result) -> None:
        """Give the new directory `made` owner, mode and attributes of the one below it."""

    def copy_file(self, directory: bytes, name: bytes, to: int) -> bool:
        """Copy a regular file up into the open directory `to`, so that it can be linked to; False if there is none."""

    def is_hidden(self, path: bytes) -> bool:
        """Whether a directory of this layer hides what was at `path`."""

    def implied(self, path: bytes) -> None:
        """A directory was made because something lies in it, not by an entry of its own."""


class Lower:
    """`Below` on the open root of the merged layers."""

    def __init__(self, root: int, opaque: str) -> None:
        self._root = root
        self.opaque = opaque
        self.hidden: set[bytes] = set()

    def stat(self, directory: bytes, name: bytes) -> os.stat_result | None:
        fd = self._open(directory)
        if fd is None:
            return None
        try:
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        finally:
            os.close(fd)

    def removable(self, directory: bytes, name: bytes) -> bool:
        return self.stat(directory, name) is not None

    def readlink(self, directory: bytes, name: bytes) -> bytes:
        with self._opened(directory) as parent:
            return os.readlink(name, dir_fd=parent)

    def names(self, directory: bytes) -> list[bytes]:
        fd = self._open(directory, os.O_RDONLY)
        if fd is None:
            return []
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)

    def copy_directory(self, directory: bytes, name: bytes, made: int, found: os.stat_result) -> None:
        os.fchown(made, found.st_uid, found.st_gid)
        os.fchmod(made, stat.S_IMODE(found.st_mode))
        with self._opened(directory) as parent:
            fd = os.open(name, OPEN, dir_fd=parent)
            try:
                copy_xattrs(fd, made)
            finally:
                os.close(fd)

    def copy_file(self, directory: bytes, name: bytes, to: int) -> bool:
        found = self.stat(directory, name)
        if found is None or not stat.S_ISREG(found.st_mode):
            return False
        with self._opened(directory) as parent:
            reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            _copy_file(reading, name, to, found)
        finally:
            os.close(reading)
        return True

    def is_hidden(self, path: bytes) -> bool:
        while path not in self.hidden:
            if not path:
                return False
            path = path.rpartition(b"/")[0]
        return True

    def implied(self, path: bytes) -> None: ...

    def _opened(self, directory: bytes) -> "_Closing":
        fd = self._open(directory)
        if fd is None:
            raise FileNotFoundError(errno.ENOENT, "gone from the lower layers", directory)
        return _Closing(fd)

    def _open(self, directory: bytes, flags: int = os.O_PATH) -> int | None:
        if self.hidden and self.is_hidden(directory):
            return None
        resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
        try:
            return syscalls.openat2(self._root, directory or b".", flags | os.O_DIRECTORY, resolve)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return None
            raise


class _Closing:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def is_whiteout(directory: int, name: bytes) -> bool:
    """Whether the entry is overlayfs's mark of a removed one: a character device 0, 0."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _copy_file(reading: int, name: bytes, to: int, found: os.stat_result) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    writing = os.open(name, flags, 0o600, dir_fd=to)
    try:
        while os.sendfile(writing, reading, None, 1 << 30):
            pass
        os.fchown(writing, found.st_uid, found.st_gid)
        copy_xattrs(reading, writing)
        os.fchmod(writing, stat.S_IMODE(found.st_mode))
        os.utime(writing, ns=(found.st_atime_ns, found.st_mtime_ns))
    finally:
        os.close(writing)
