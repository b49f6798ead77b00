"""The directories of a tree that is being unpacked: opened once, found through links without leaving the root.

Every step is one name under an open descriptor with O_NOFOLLOW; links are followed by hand, inside the root. So a
hostile link cannot lead out, even one that is put there by another process meanwhile.
"""

import errno
import os
import stat
import sys

from corten.errors import InvalidArgument
from corten.linux import syscalls
from corten.linux.removal import remove_tree

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .lower import OPEN, Below, is_whiteout

MAX_OPEN = 256
MAX_LINKS = 40
"""Links followed for one path, as in the kernel."""
MAX_PATH = 4095


class Directory:
    """An open directory; `path` is its real path below the root, empty for the root.

    New files take the group of a directory that is set-group-ID: `group` is that, or -1.
    """

    __slots__ = ("fd", "group", "kept", "path")

    def __init__(self, fd: int, path: bytes) -> None:
        found = os.fstat(fd)
        self.fd = fd
        self.path = path
        self.group = found.st_gid if found.st_mode & stat.S_ISGID else -1
        self.kept = False

    def join(self, name: bytes) -> bytes:
        """The path of an entry."""
        return self.path + b"/" + name if self.path else name


class Directories:
    """Directories by the path that entries call them by."""

    def __init__(self, root: int, lower: Below | None = None) -> None:
        self.root = Directory(root, b"")
        self.lower = lower
        self.times: dict[bytes, tuple[int, int]] = {}
        """Path to access and modification time, for `set_times`."""
        self._cache: dict[bytes, Directory] = {b"": self.root}
        self._stale = False

    def at(self, path: bytes) -> Directory:
        """The directory at a clean relative path; missing ones are made. Raises InvalidArgument, OSError."""
        found = self._cache.get(path)
        if found is None:
            head, _, name = path.rpartition(b"/")
            found = self._cache[path] = self._enter(self.at(head), name, 0)
        return found

    def opened(self, path: bytes) -> Directory:
        """A directory at its real path, which the caller closes."""
        return Directory(self._open(path), path)

    def tidy(self) -> None:
        """Between two entries: close what is not valid any more, or too much."""
        if self._stale or len(self._cache) > MAX_OPEN:
            for found in set(self._cache.values()) - {self.root}:
                os.close(found.fd)
            self._cache = {b"": self.root}
            self._stale = False

    def remove(self, parent: Directory, name: bytes) -> None:
        """Remove whatever `name` is."""
        if not self._is_plain(parent, name):
            self._stale = True
        remove_tree(name, parent.fd)

    def hide(self, path: bytes) -> None:
        """From now on nothing of the lower layers is seen below `path`."""
        if self.lower is not None:
            self.lower.hidden.add(path)

    def set_times(self) -> None:
        """Give directories their times, once nothing is made in them any more."""
        for path, times in self.times.items():
            try:
                fd = self._open(path)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue  # replaced by a later entry
                raise
            try:
                os.utime(fd, ns=times)
            finally:
                os.close(fd)

    def _open(self, path: bytes) -> int:
        resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
        return syscalls.openat2(self.root.fd, path or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, resolve)

    def _is_plain(self, parent: Directory, name: bytes) -> bool:
        try:
            mode = os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return True
        return not stat.S_ISDIR(mode) and not stat.S_ISLNK(mode)

    def _enter(self, parent: Directory, name: bytes, links: int) -> Directory:
        try:
            return Directory(os.open(name, OPEN, dir_fd=parent.fd), parent.join(name))
        except FileNotFoundError:
            return self._missing(parent, name, links)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
        return self._not_a_directory(parent, name, links)

    def _not_a_directory(self, parent: Directory, name: bytes, links: int) -> Directory:
        try:
            target = os.readlink(name, dir_fd=parent.fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        else:
            return self._follow(parent, target, links + 1)
        if self.lower is not None and is_whiteout(parent.fd, name):
            os.unlink(name, dir_fd=parent.fd)
            self.hide(parent.join(name))
            return self._make(parent, name, opaque=True)
        raise InvalidArgument(f"{os.fsdecode(parent.join(name))} is not a directory")

    def _follow(self, start: Directory, target: bytes, links: int) -> Directory:
        if links > MAX_LINKS:
            raise InvalidArgument(f"too many symbolic links below {os.fsdecode(start.path)!r}")
        current = self.root if target.startswith(b"/") else start
        for name in target.split(b"/"):
            if name == b"..":
                if not current.path:
                    raise InvalidArgument(f"the symbolic link to {os.fsdecode(target)!r} leads out of the root")
                current = self.at(current.path.rpartition(b"/")[0])
            elif name not in (b"", b"."):
                path = current.join(name)
                if path not in self._cache:
                    self._cache[path] = self._enter(current, name, links)
                current = self._cache[path]
        return current

    def _missing(self, parent: Directory, name: bytes, links: int) -> Directory:
        below = self.lower.stat(parent.path, name) if self.lower is not None else None
        if below is None or self.lower is None:
            return self._make(parent, name)
        if stat.S_ISLNK(below.st_mode):
            return self._follow(parent, self.lower.readlink(parent.path, name), links + 1)
        if not stat.S_ISDIR(below.st_mode):
            raise InvalidArgument(f"{os.fsdecode(parent.join(name))} is not a directory")
        made = self._make(parent, name)
        self.lower.copy_directory(parent.path, name, made.fd, below)
        self.times.setdefault(made.path, (below.st_atime_ns, below.st_mtime_ns))
        return Directory(made.fd, made.path)

    def _make(self, parent: Directory, name: bytes, *, opaque: bool = False) -> Directory:
        os.mkdir(name, 0o755, dir_fd=parent.fd)
        made = Directory(os.open(name, OPEN, dir_fd=parent.fd), parent.join(name))
        if self.lower is not None:
            if opaque:
                os.setxattr(made.fd, self.lower.opaque, b"y")
            else:
                self.lower.implied(made.path)
        return made
