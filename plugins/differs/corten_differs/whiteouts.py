"""What a layer's marks of removal do: delete on a plain tree, become overlayfs's own marks in an upper directory.

`.wh.NAME` removes NAME of the layers below, `.wh..wh..opq` everything in its directory; neither touches what the same
layer brings, whatever the order (https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts).
Both ways take linear time for any number of marks.
"""

import os
import stat
import sys
from collections.abc import Iterator
from typing import Protocol

# ruff: noqa: E402  (what is imported below exists on Linux only)
assert sys.platform != "win32"

from .directories import Directories, Directory
from .lower import Below, is_whiteout


class Whiteouts(Protocol):
    """What the extraction asks of the kind of tree it writes."""

    def remove(self, directory: Directory, name: bytes) -> None:
        """`.wh.NAME`."""

    def clear(self, directory: Directory) -> None:
        """`.wh..wh..opq`."""

    def created(self, directory: Directory, name: bytes) -> None:
        """An entry of this layer is there now."""

    def replaced(self, directory: Directory, name: bytes) -> None:
        """A new directory has taken the place of something else."""

    def finish(self) -> None:
        """The layer is at its end."""


class Ignoring:
    """A tree that was empty: there is nothing below to remove."""

    def remove(self, directory: Directory, name: bytes) -> None: ...
    def clear(self, directory: Directory) -> None: ...
    def created(self, directory: Directory, name: bytes) -> None: ...
    def replaced(self, directory: Directory, name: bytes) -> None: ...
    def finish(self) -> None: ...


class Deleting:
    """A tree that holds the layers below; what this layer brought is remembered and spared."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories
        self._kept: set[bytes] = set()
        self._cleared: set[bytes] = set()

    def created(self, directory: Directory, name: bytes) -> None:
        self._kept.add(directory.join(name))
        if not directory.kept:
            directory.kept = True
            self._keep_all(directory.path)

    def replaced(self, directory: Directory, name: bytes) -> None: ...
    def finish(self) -> None: ...

    def remove(self, directory: Directory, name: bytes) -> None:
        path = directory.join(name)
        if path not in self._kept:
            self._directories.remove(directory, name)
        elif self._is_directory(directory, name):
            self._clear(path)

    def clear(self, directory: Directory) -> None:
        self._clear(directory.path)

    def _keep_all(self, path: bytes) -> None:
        while path and path not in self._kept:
            self._kept.add(path)
            path = path.rpartition(b"/")[0]

    def _is_directory(self, directory: Directory, name: bytes) -> bool:
        try:
            return stat.S_ISDIR(os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def _clear(self, path: bytes) -> None:
        """A directory is walked once: what is left in it afterwards is of this layer, whatever comes."""
        if self._is_cleared(path):
            return
        pending = [path]
        while pending:
            current = pending.pop()
            self._cleared.add(current)
            directory = self._directories.opened(current)
            try:
                pending += self._clear_one(directory)
            finally:
                os.close(directory.fd)

    def _clear_one(self, directory: Directory) -> Iterator[bytes]:
        """Remove what is older than this layer; the directories that are left and were not walked yet."""
        for name in map(os.fsencode, os.listdir(directory.fd)):
            inner = directory.join(name)
            if inner not in self._kept:
                self._directories.remove(directory, name)
            elif inner not in self._cleared and self._is_directory(directory, name):
                yield inner

    def _is_cleared(self, path: bytes) -> bool:
        while path not in self._cleared:
            if not path:
                return False
            path = path.rpartition(b"/")[0]
        return True


class Converting:
    """The upper directory of an overlay, empty at the start: marks become what overlayfs makes of a removal.

    https://docs.kernel.org/filesystems/overlayfs.html#whiteouts-and-opaque-directories

    A whiteout over nothing would be listed by the kernel as a name that cannot be opened, so none is made there.
    """

    def __init__(self, directories: Directories, lower: Below) -> None:
        self._directories = directories
        self._lower = lower
        self._made: dict[bytes, list[bytes]] = {}

    def marks(self) -> list[bytes]:
        """The paths of the whiteouts that were made, once the layer is at its end."""
        return [path + b"/" + name if path else name for path, names in self._made.items() for name in names]

    def created(self, directory: Directory, name: bytes) -> None: ...

    def replaced(self, directory: Directory, name: bytes) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
        try:
            self._mark(fd, directory.join(name))
        finally:
            os.close(fd)

    def remove(self, directory: Directory, name: bytes) -> None:
        if not self._lower.removable(directory.path, name):
            return
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory.fd)
            self._made.setdefault(directory.path, []).append(name)
        except FileExistsError:
            found = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                self.replaced(directory, name)

    def clear(self, directory: Directory) -> None:
        if directory.path:
            return self._mark(directory.fd, directory.path)
        # The kernel merges the roots of all layers in any case, so here each name is removed by itself.
        for name in self._lower.names(b""):
            self.remove(directory, name)
        self._made.pop(b"", None)
        return self._directories.hide(b"")

    def finish(self) -> None:
        """Take away the whiteouts in directories that became opaque after they were made."""
        for path, names in list(self._made.items()):
            if not self._lower.is_hidden(path):
                continue
            del self._made[path]
            directory = self._directories.opened(path)
            try:
                for name in names:
                    if is_whiteout(directory.fd, name):
                        os.unlink(name, dir_fd=directory.fd)
            finally:
                os.close(directory.fd)

    def _mark(self, fd: int, path: bytes) -> None:
        os.setxattr(fd, self._lower.opaque, b"y")
        self._directories.hide(path)
