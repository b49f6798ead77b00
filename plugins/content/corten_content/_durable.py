"""Directories and small files whose names survive a power loss."""

import os
from pathlib import Path

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


def make_directories(path: Path) -> None:
    """Make `path` and what is missing above it, each entry written to disk in its parent."""
    if path.is_dir():
        return
    make_directories(path.parent)
    path.mkdir(DIRECTORY_MODE, exist_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Write the directory's entries to disk (fsync(2): a file's own fsync does not do that)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_small(path: Path, data: bytes) -> None:
    """Replace a file as a whole: a crash leaves the old one or the new one, and perhaps `path` with `.tmp`."""
    temporary = path.with_name(f"{path.name}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    with open(fd, "wb") as file:
        file.write(data)
    temporary.replace(path)
