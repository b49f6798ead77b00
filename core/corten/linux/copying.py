"""Copying a file or a tree into or out of a root file system whose content is not to be trusted.

The path that a person names resolves inside the root, whatever symbolic links lie on it (openat2(2)); below it links
are copied as links, and nothing is opened through one. Devices, FIFOs and sockets are passed over and named.
"""

import os
import shutil
import stat
import sys
from collections.abc import Callable
from contextlib import ExitStack

from corten.errors import AlreadyExists, InvalidArgument, NotFound

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from . import syscalls as kernel

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_INSIDE = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS
Passed = Callable[[str], None]
"""Told of what was passed over."""


class Copy:
    """One copy; `owner` is who the copies belong to, None for who owned the originals (which only root may give)."""

    def __init__(self, owner: tuple[int, int] | None, passed: Passed) -> None:
        self._owner, self._passed = owner, passed

    def tree(self, source: int, name: str, target: int, new: str) -> None:
        """The entry `name` of directory `source` as `new` in directory `target`; a file that is there is replaced."""
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            self._directory(source, name, target, new, found)
        elif stat.S_ISLNK(found.st_mode):
            _make_room(target, new)
            os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
            self._own(target, new, found)
        elif stat.S_ISREG(found.st_mode):
            self._file(source, name, target, new)
        else:
            self._passed(name)

    def _directory(self, source: int, name: str, target: int, new: str, found: os.stat_result) -> None:
        try:
            os.mkdir(new, 0o700, dir_fd=target)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(new, dir_fd=target, follow_symlinks=False).st_mode):
                raise AlreadyExists(f"copy {name!r}: {new!r} is there and is no directory") from None
        with ExitStack() as stack:
            inner, outer = os.open(name, _DIRECTORY, dir_fd=source), os.open(new, _DIRECTORY, dir_fd=target)
            stack.callback(os.close, inner)
            stack.callback(os.close, outer)
            for entry in sorted(os.listdir(inner)):
                self.tree(inner, entry, outer, entry)
            self._own(target, new, found)
            os.fchmod(outer, stat.S_IMODE(found.st_mode))
            os.utime(outer, ns=(found.st_atime_ns, found.st_mtime_ns))

    def _file(self, source: int, name: str, target: int, new: str) -> None:
        with open(os.open(name, _READ, dir_fd=source), "rb") as original:
            found = os.fstat(original.fileno())
            if not stat.S_ISREG(found.st_mode):  # it was exchanged since it was looked at
                return self._passed(name)
            _make_room(target, new)
            with open(os.open(new, _WRITE, 0o600, dir_fd=target), "wb") as made:
                shutil.copyfileobj(original, made, 1 << 20)
                self._own(target, new, found)
                os.fchmod(made.fileno(), stat.S_IMODE(found.st_mode))
                made.flush()
                os.utime(made.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
        return None

    def _own(self, target: int, new: str, found: os.stat_result) -> None:
        uid, gid = self._owner or (found.st_uid, found.st_gid)
        os.chown(new, uid, gid, dir_fd=target, follow_symlinks=False)


def inside(root: int, path: str) -> tuple[int, str]:
    """A descriptor of the directory that holds `path`, resolved inside `root`, and the name of the entry in it.

    `/`, `.` and `..` at the end name a directory itself, by the name `.`. Raises FileNotFoundError, NotADirectoryError.
    """
    parent, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        return kernel.openat2(root, path.strip("/") or ".", _DIRECTORY & ~os.O_NOFOLLOW, _INSIDE), "."
    return kernel.openat2(root, parent.strip("/") or ".", _DIRECTORY & ~os.O_NOFOLLOW, _INSIDE), name


def destination(root: int, path: str, name: str) -> tuple[int, str]:
    """Where a copy of `name` goes: into `path` if that is a directory inside `root`, else under the name at its end.

    Raises InvalidArgument for a path that ends with a slash and is no directory, NotFound where nothing holds it.
    """
    try:
        return kernel.openat2(root, path.strip("/") or ".", _DIRECTORY & ~os.O_NOFOLLOW, _INSIDE), name
    except (FileNotFoundError, NotADirectoryError):
        if path.endswith("/"):
            raise InvalidArgument(f"copy to {path!r}: there is no such directory") from None
    try:
        return inside(root, path)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"copy to {path!r}: there is no directory {os.path.dirname(path)!r}") from None


def _make_room(directory: int, name: str) -> None:
    """A file in the way goes; a directory does not."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        raise AlreadyExists(f"copy to {name!r}: there is a directory of that name")
    os.unlink(name, dir_fd=directory)
