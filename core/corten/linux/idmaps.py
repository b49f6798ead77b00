"""Mounts whose owners are shifted: the options `uidmap` and `gidmap`, as containerd's snapshotters give them.

A map is `CONTAINER:HOST:SIZE[,…]`: what lies on disk as CONTAINER is seen as HOST. An overlay gets copies of its lower
directories that are shifted; its upper directory holds host ids. Anything else is shifted as a whole.
https://docs.kernel.org/filesystems/idmappings.html
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from corten.contracts.mounts import Mount
from corten.errors import InvalidArgument, Unavailable, mapped
from corten.values import dataclass

from . import options
from . import syscalls as kernel

MAX_ID = (1 << 32) - 1
MAX_RANGES = 340
"""Ranges that the kernel takes in one map (user_namespaces(7))."""


@dataclass(frozen=True, slots=True)
class Range:
    """`size` ids from `container` on are those from `host` on."""

    container: int
    host: int
    size: int


def parse(text: str) -> tuple[Range, ...]:
    """The ranges of a map. Raises InvalidArgument."""
    parts = text.split(",")
    if len(parts) > MAX_RANGES:
        raise InvalidArgument(f"id map with {len(parts)} ranges; the kernel takes {MAX_RANGES}")
    return tuple(_range(part) for part in parts)


def host_root(text: str) -> int:
    """The id on the host of the container's root; 0 for an empty map. Raises InvalidArgument if it has none."""
    for each in parse(text) if text else ():
        if each.container == 0:
            return each.host
    if text:
        raise InvalidArgument(f"id map {text[:80]!r}: it does not map the container's root")
    return 0


@contextmanager
def shifted(mount: Mount, target: str) -> Iterator[Mount]:
    """The mount to make instead of one with `uidmap` and `gidmap`, at `target`; it is shifted when the block ends."""
    uids, gids = options.option(mount, "uidmap"), options.option(mount, "gidmap")
    if not uids and not gids:
        yield mount
        return
    plain = replace(mount, options=tuple(w for w in mount.options if not w.startswith(("uidmap=", "gidmap="))))
    if not uids or not gids or sys.platform == "win32":  # containerd shifts both or none
        yield plain
        return
    with mapped(f"shift the owners of {mount.type} {mount.source}"):
        namespace = user_namespace(uids, gids)
    try:
        if mount.type == "overlay":
            with _lowers(plain, namespace) as made:
                yield made
        else:
            yield plain
            with mapped(f"shift the owners of {target}"):
                _attach(_copy(target, namespace), target)
    finally:
        os.close(namespace)


def supported(directory: str) -> str:
    """Why mounts of the file system of `directory` cannot be shifted; empty if they can. Forks: not for daemons."""
    try:
        namespace = user_namespace("0:100000:65536", "0:100000:65536")
        try:
            os.close(_copy(directory, namespace))
        finally:
            os.close(namespace)
    except (OSError, Unavailable) as error:
        return f"the file system of {directory} has no id-mapped mounts: {error}"
    return ""


def user_namespace(uids: str, gids: str) -> int:
    """A descriptor of a user namespace with these maps. Forks: not for processes with threads. Raises OSError."""
    if sys.platform == "win32":
        raise Unavailable("there are no user namespaces on Windows")
    maps = {"uid_map": parse(uids), "gid_map": parse(gids)}
    begun, wait = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _stay(begun[1], wait)
    try:
        os.close(begun[1])
        os.close(wait[0])
        if os.read(begun[0], 1) != b".":
            raise Unavailable("no user namespace can be made here")
        for name, ranges in maps.items():
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write("".join(f"{each.container} {each.host} {each.size}\n" for each in ranges))
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    finally:
        os.close(wait[1])
        os.close(begun[0])
        os.waitpid(pid, 0)


def _stay(begun: int, wait: tuple[int, int]) -> None:
    """In the child: hold a new user namespace until the parent has it."""
    try:
        os.close(wait[1])
        kernel.unshare(kernel.CLONE_NEWUSER)
        os.write(begun, b".")
        os.read(wait[0], 1)
    finally:
        os._exit(0)


@contextmanager
def _lowers(mount: Mount, namespace: int) -> Iterator[Mount]:
    """The overlay on shifted copies of its lower directories, which are gone again when the block ends."""
    lowers = options.lower_directories(mount)
    common = os.path.commonpath([os.path.dirname(os.path.dirname(lower)) for lower in lowers])
    point = os.path.join(os.path.dirname(common), f"idmapped-{os.getpid()}-{os.urandom(6).hex()}")
    with mapped(f"shift the owners of {common}"):
        os.mkdir(point, 0o700)
    try:
        with mapped(f"shift the owners of {common}"):
            _attach(_copy(common, namespace), point)
        try:
            paths = [os.path.join(point, os.path.relpath(lower, common)) for lower in lowers]
            words = [word for word in mount.options if not word.startswith("lowerdir=")]
            yield replace(mount, options=(*words, "lowerdir=" + ":".join(map(options.escape, paths))))
        finally:
            kernel.umount2(point, kernel.MNT_DETACH)
    finally:
        Path(point).rmdir()


def _copy(path: str, namespace: int) -> int:
    """A detached copy of the tree of a mount at `path`, shifted."""
    fd = kernel.open_tree(-1, path, kernel.OPEN_TREE_CLONE)
    try:
        kernel.mount_setattr(
            fd,
            "",
            kernel.AT_EMPTY_PATH,
            set=kernel.MOUNT_ATTR_IDMAP,
            propagation=kernel.MS_PRIVATE,
            userns_fd=namespace,
        )
    except BaseException:
        os.close(fd)
        raise
    return fd


def _attach(fd: int, path: str) -> None:
    try:
        kernel.move_mount(fd, "", -1, path, kernel.MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(fd)


def _range(text: str) -> Range:
    numbers: Sequence[str] = text.split(":")
    if len(numbers) != 3 or not all(each.isascii() and each.isdigit() and len(each) <= 10 for each in numbers):
        raise InvalidArgument(f"id map {text[:80]!r}: write CONTAINER:HOST:SIZE, three numbers")
    found = Range(*map(int, numbers))
    if not found.size or max(found.container, found.host) + found.size > MAX_ID:
        raise InvalidArgument(f"id map {text[:80]!r}: it is empty, or leads beyond the last id")
    return found
