"""Pins: a namespace is held by a bind mount of its file in /proc, so that it needs no process to live."""

import errno
import os
import sys
from pathlib import Path

from corten.contracts.mounts import Mount
from corten.errors import mapped
from corten.linux import syscalls as kernel
from corten.linux.mount import mount_one

from .model import Pins

assert sys.platform != "win32"


def hold(source: str, path: str) -> None:
    """Pin the namespace `source` (a path in /proc) at `path`, a new file. Raises CortenError."""
    with mapped(f"pin namespace {source} at {path}"):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        kernel.mount(source, path, "none", kernel.MS_BIND)


def mount_shm(path: str, size: int) -> None:
    """Mount a pod's /dev/shm of `size` bytes on the directory `path`. Raises CortenError."""
    with mapped(f"make {path}"):
        os.makedirs(path, mode=0o700, exist_ok=True)
    mount_one(Mount("tmpfs", "shm", "", ("nosuid", "noexec", "nodev", "mode=1777", f"size={size}")), path)


def mount_sys(path: str) -> None:
    """Mount a sysfs of the network namespace that the caller is in on the directory `path`. Raises CortenError."""
    with mapped(f"make {path}"):
        os.makedirs(path, mode=0o700, exist_ok=True)
    mount_one(Mount("sysfs", "sysfs", "", ("nosuid", "noexec", "nodev")), path)


def missing(pins: Pins) -> list[str]:
    """The paths that hold nothing (any more): the namespace of that kind is gone, or was never made.

    Quick enough for the event loop: one stat(2) each, of files in memory.
    """
    return [
        *(path for kind, path in pins.namespaces().items() if not _holds(path, kind)),
        *([pins.shm] if pins.shm and not _is_mounted(pins.shm) else []),
    ]


def release(pins: Pins) -> None:
    """Let go of all, also of half of them; what is gone already is no error. Raises CortenError."""
    for path in filter(None, (pins.sys, pins.shm, pins.uts, pins.ipc, pins.net, pins.user)):
        with mapped(f"unpin {path}"):
            _unmount(path)
            _remove(path)


def _holds(path: str, kind: str) -> bool:
    """A namespace file lies on the kernel's nsfs; the host's own namespace there would be a mistake."""
    host = os.stat(f"/proc/self/ns/{kind}")
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    return found.st_dev == host.st_dev and found.st_ino != host.st_ino


def _is_mounted(directory: str) -> bool:
    try:
        return os.stat(directory).st_dev != os.stat(os.path.dirname(directory)).st_dev
    except FileNotFoundError:
        return False


def _unmount(path: str) -> None:
    """However often it is mounted there; detached, since a process may still have it open."""
    while True:
        try:
            kernel.umount2(path, kernel.MNT_DETACH | kernel.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # not a mount point (any more), or nothing there
                return
            raise


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        Path(path).rmdir()
