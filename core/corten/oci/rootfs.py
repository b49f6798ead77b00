"""Reading passwd and group from a container's root file system, whose content is not to be trusted.

Paths resolve inside the root, whatever symbolic links lie there; only regular files are read, and only up to a bound.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from corten.errors import InvalidArgument, mapped
from corten.linux import syscalls as kernel

from . import users
from .options import User

MAX_SIZE = 10 << 20
"""Bytes of passwd or group that are read; a larger file is refused."""


def resolve_user(root: Path, user: str) -> User:
    """`users.resolve` with the files below `root`. Raises its errors, and InvalidArgument for a hostile file."""
    return users.resolve(user, read(root, "etc/passwd"), read(root, "etc/group"))


def resolve_process_user(
    root: Path, user: str, supplemental: Sequence[int] = (), policy: users.GroupsPolicy = users.GroupsPolicy.MERGE
) -> User:
    """`users.resolve_process` with the files below `root`. Raises as `resolve_user`."""
    return users.resolve_process(user, read(root, "etc/passwd"), read(root, "etc/group"), supplemental, policy)


def read(root: Path, path: str) -> bytes:
    """The bytes of a regular file; empty if there is none. Raises InvalidArgument for another kind or a huge one."""
    with mapped(f"read /{path} of the image"):
        fd = _open(root, path)
        if fd is None:
            return b""
        try:
            return _content(fd, path)
        finally:
            os.close(fd)


def _open(root: Path, path: str) -> int | None:
    """An O_PATH descriptor: opening a device or a FIFO for real could block or act."""
    directory = os.open(root, kernel.O_PATH | kernel.O_DIRECTORY | kernel.O_CLOEXEC)
    try:
        return kernel.openat2(directory, path, kernel.O_PATH, kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        os.close(directory)


def _content(fd: int, path: str) -> bytes:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidArgument(f"/{path} of the image is not a regular file: it is not read")
    if found.st_size > MAX_SIZE:
        raise InvalidArgument(f"/{path} of the image has {found.st_size} bytes: more than {MAX_SIZE} are not read")
    with open(f"/proc/self/fd/{fd}", "rb") as file:
        return file.read(MAX_SIZE)
