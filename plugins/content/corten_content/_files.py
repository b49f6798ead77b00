"""Files of the store: opened safely, read and written at offsets, and with names that survive a power loss.

The one place of this family that knows the platform. Windows reads and writes at an offset only by moving the file's
position, and keeps its directories consistent by itself.
"""

import os
import sys
from pathlib import Path

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

# Not every platform has each flag; a link in the place of a blob is never followed where that can be said.
_ALWAYS: int = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)

if sys.platform == "win32":
    import threading

    _moving = threading.Lock()

    def read_at(fd: int, length: int, offset: int) -> bytes:
        """Up to `length` bytes at `offset`; any number of threads may call."""
        with _moving:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.read(fd, length)

    def write_at(fd: int, data: memoryview, offset: int) -> int:
        """The number of bytes written, which may be less."""
        with _moving:
            os.lseek(fd, offset, os.SEEK_SET)
            return os.write(fd, data)

    def sync_directory(path: Path) -> None:
        """Nothing to do: NTFS logs changes of directories."""

else:

    def read_at(fd: int, length: int, offset: int) -> bytes:
        """Up to `length` bytes at `offset`; any number of threads may call."""
        return os.pread(fd, length, offset)

    def write_at(fd: int, data: memoryview, offset: int) -> int:
        """The number of bytes written, which may be less."""
        return os.pwrite(fd, data, offset)

    def sync_directory(path: Path) -> None:
        """Write the directory's entries to disk (fsync(2): a file's own fsync does not do that)."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _ALWAYS)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def open_blob(path: Path) -> int:
    """A descriptor for reading."""
    return os.open(path, os.O_RDONLY | _ALWAYS)


def open_data(path: Path) -> int:
    """A descriptor for reading and writing a file that is there."""
    return os.open(path, os.O_RDWR | _ALWAYS)


def make_directories(path: Path) -> None:
    """Make `path` and what is missing above it, each entry written to disk in its parent."""
    if path.is_dir():
        return
    make_directories(path.parent)
    path.mkdir(DIRECTORY_MODE, exist_ok=True)
    sync_directory(path.parent)


def write_small(path: Path, data: bytes) -> None:
    """Replace a file as a whole: a crash leaves the old one or the new one, and perhaps `path` with `.tmp`."""
    temporary = path.with_name(f"{path.name}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _ALWAYS, FILE_MODE)
    with open(fd, "wb") as file:
        file.write(data)
    temporary.replace(path)
