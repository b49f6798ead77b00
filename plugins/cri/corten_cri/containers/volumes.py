"""The volumes that an image names: a folder of the host for each, filled with what the image has at that place.

Paths come from the image and are not to be trusted (CVE-2022-23648): they are opened inside its root file system, and
what is copied is read through descriptors, never through names that a link could turn.
"""

from __future__ import annotations

import os
import posixpath
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from corten.contracts.mounts import Mount
from corten.errors import InvalidArgument, mapped
from corten.linux import syscalls as kernel
from corten.linux.mount import temporary_mount
from corten.linux.options import read_only
from corten.oci import mounts as kinds
from corten.oci.options import SpecMount

assert sys.platform != "win32"

MAX_VOLUMES = 64
"""Volumes that an image may name."""
_INSIDE = kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS
_CHUNK = 1 << 20


def named(execution: Mapping[str, object], taken: Iterable[str]) -> list[str]:
    """The places, absolute and without `..`, but for those that are taken. Raises InvalidArgument."""
    found = execution.get("Volumes") or {}
    if not isinstance(found, Mapping) or len(found) > MAX_VOLUMES:
        raise InvalidArgument(f"image config: Volumes is not a map of at most {MAX_VOLUMES} paths")
    places = {posixpath.normpath(posixpath.join("/", str(place).lstrip("/"))) for place in found}
    return sorted(place for place in places - set(taken) if place != "/")


def make(folder: Path, places: Sequence[str], rootfs: Sequence[Mount], scratch: Path) -> list[SpecMount]:
    """A folder in `folder` for each place, with its content. Blocks; the root file system is mounted for a moment."""
    made = []
    with temporary_mount(read_only(rootfs), scratch) as root:
        for index, place in enumerate(places):
            target = folder / str(index)
            os.makedirs(target, 0o755)
            with mapped(f"volume {place} of the image"):
                _fill(root, place, target)
            made.append(kinds.bind(place, str(target)))
    return made


def _fill(root: Path, place: str, target: Path) -> None:
    top = os.open(root, kernel.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    into = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        source = kernel.openat2(top, place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, _INSIDE)
    except (FileNotFoundError, NotADirectoryError):
        return
    finally:
        os.close(top)
    try:
        _copy_folder(source, into)
    finally:
        os.close(source)
        os.close(into)


def _copy_folder(source: int, target: int) -> None:
    """What lies in one folder into another, both open; then owner, mode and times of the folder itself."""
    for name in os.listdir(source):
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            _with_both(source, target, name)
        elif stat.S_ISREG(found.st_mode):
            _copy_file(source, target, name)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    own = os.fstat(source)
    os.fchown(target, own.st_uid, own.st_gid)
    os.fchmod(target, stat.S_IMODE(own.st_mode))


def _with_both(source: int, target: int, name: str) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    below = os.open(name, flags, dir_fd=source)
    try:
        into = os.open(name, flags, dir_fd=target)
        try:
            _copy_folder(below, into)
        finally:
            os.close(into)
    finally:
        os.close(below)


def _copy_file(source: int, target: int, name: str) -> None:
    given = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        found = os.fstat(given)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(name, flags, 0o600, dir_fd=target)
        try:
            while os.sendfile(made, given, None, _CHUNK):
                pass
            os.fchown(made, found.st_uid, found.st_gid)
            os.fchmod(made, stat.S_IMODE(found.st_mode))
        finally:
            os.close(made)
    finally:
        os.close(given)
