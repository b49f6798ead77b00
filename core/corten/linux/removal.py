"""Removal of file trees of any depth, without following a link and without a descriptor or stack frame per level."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

_DIRECTORY: int = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def remove_tree(name: str | bytes, dir_fd: int | None = None) -> None:
    """Remove whatever `name` is; what is gone already is no error. Raises OSError (EBUSY for a mount point)."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        _remove_directory(os.fsencode(name), dir_fd)


def _remove_directory(name: bytes, dir_fd: int | None) -> None:
    """Depth first with one open directory: down by name, up by `..`, which must be the directory we came from."""
    try:
        here = os.open(name, os.O_RDONLY | _DIRECTORY, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    levels = [_Level(b"", _empty(here))]
    try:
        while True:
            if levels[-1].directories:
                child = levels[-1].directories.pop()
                levels[-1].identity = _identity(here)
                here = _step(here, child)
                levels.append(_Level(child, _empty(here)))
            elif len(levels) > 1:
                child = levels.pop().name
                here = _step(here, b"..")
                if _identity(here) != levels[-1].identity:
                    raise OSError(f"{os.fsdecode(name)}: a directory in it was moved while it was being removed")
                _rmdir(child, here)
            else:
                break
    finally:
        os.close(here)
    _rmdir(name, dir_fd)


@dataclass(slots=True)
class _Level:
    """A directory that is being emptied: its name, the directories left in it, and which directory it is."""

    name: bytes
    directories: list[bytes]
    identity: tuple[int, int] = (0, 0)


def _empty(fd: int) -> list[bytes]:
    """Unlink all but directories; returns those."""
    directories = []
    for name, is_directory in _entries(fd):
        if is_directory:
            directories.append(name)
            continue
        try:
            os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            pass
    return directories


def _entries(fd: int) -> Iterator[tuple[bytes, bool]]:
    with os.scandir(fd) as found:
        for entry in found:
            yield os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)


def _step(here: int, name: bytes) -> int:
    there = os.open(name, os.O_RDONLY | _DIRECTORY, dir_fd=here)
    os.close(here)
    return there


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    assert stat.S_ISDIR(found.st_mode)
    return found.st_dev, found.st_ino


def _rmdir(name: bytes, dir_fd: int | None) -> None:
    try:
        os.rmdir(name, dir_fd=dir_fd)
    except FileNotFoundError:
        pass
