"""Mounts made and taken away: a list of `Mount` becomes a file tree at a directory, and nothing is left behind.

    mount_all(snapshotter.mounts("container-1"), bundle / "rootfs")
    unmount_all(bundle / "rootfs")

What to call is decided in `options`; here it is called. Errors are those of `corten.errors` and name the mount.
"""

import errno
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from corten.contracts.mounts import Mount
from corten.errors import CortenError, InvalidArgument, NotFound, PermissionDenied, Unavailable, Unimplemented, mapped

from . import idmaps, loop, mountinfo, options
from . import syscalls as kernel

log = logging.getLogger(__name__)

MAX_DATA = 4095
"""Bytes of options that fit in the page that mount(2) copies."""
BUSY_RETRIES = 20
BUSY_PAUSE = 0.05
"""Seconds between attempts to unmount what is busy."""

_ERRORS: dict[type[BaseException], type[CortenError]] = {
    FileNotFoundError: NotFound,
    NotADirectoryError: InvalidArgument,
    PermissionError: PermissionDenied,
}


def mount_all(mounts: Sequence[Mount], target: str | Path) -> None:
    """Mount each in turn at `target`; when one fails, those before it are taken away again.

    Raises Unimplemented for a type that needs a helper, NotFound for a missing source or target,
    InvalidArgument for what the kernel refuses.
    """
    made: list[str] = []
    try:
        for mount in mounts:
            made.append(mount_one(mount, str(target)))  # noqa: PERF401  those made so far must be known
    except BaseException:
        with mapped(f"unmount {target}"):
            for point in reversed(made):
                _unmount(point)
        raise


def mount_one(mount: Mount, target: str) -> str:
    """Mount one at `target`, or at the path `mount.target` inside it, which cannot lead out of it; returns where."""
    if mount.type.startswith(("fuse.", "fuse3.")):
        raise Unimplemented(f"mount {mount.source} on {target}: type {mount.type} needs a mount helper")
    with mapped(f"mount {mount.type} {mount.source} on {target}", _ERRORS):
        with _inside(target, mount.target) as point:
            where = os.path.realpath(point)
        with idmaps.shifted(mount, where) as plain, _devices(plain) as ready:
            _execute_all(options.steps(ready), ready, target, where)
        return where


def unmount_all(target: str | Path) -> None:
    """Unmount everything at and below `target`, deepest first; what is not mounted is no error.

    What stays busy for a second is detached, and a warning names who holds it.
    """
    path = os.path.realpath(target)
    with mapped(f"unmount {path}"):
        while points := [mount.target for mount in mountinfo.mounted_below(path)]:
            for point in points:
                _unmount(point)


@contextmanager
def temporary_mount(mounts: Sequence[Mount], directory: str | Path | None = None) -> Iterator[Path]:
    """The mounts at a new directory (in `directory`, or that for temporary files) for as long as the block runs."""
    import tempfile  # here, because the shim never comes this way and would carry it

    target = Path(tempfile.mkdtemp(prefix="corten-mount-", dir=directory))
    try:
        mount_all(mounts, target)
        try:
            yield target
        finally:
            unmount_all(target)
    finally:
        target.rmdir()


@contextmanager
def _devices(mount: Mount) -> Iterator[Mount]:
    """The mount with loop devices in place of its files if it has the option `loop`; mounted, they live on."""
    parsed = options.parse(mount.options)
    if not parsed.loop:
        yield mount
        return
    read_only = bool(parsed.flags & kernel.MS_RDONLY) or mount.type == "erofs"
    with ExitStack() as devices:
        source = devices.enter_context(loop.attached(mount.source, read_only=read_only))
        words = [
            f"device={devices.enter_context(loop.attached(word[len('device=') :], read_only=read_only))}"
            if word.startswith("device=")
            else word
            for word in mount.options
        ]
        yield replace(mount, source=source, options=tuple(words))


@contextmanager
def _inside(target: str, path: str) -> Iterator[str]:
    if not path:
        yield target
        return
    root = os.open(target, kernel.O_PATH | kernel.O_DIRECTORY | kernel.O_CLOEXEC)
    try:
        fd = kernel.openat2(root, path, kernel.O_PATH, kernel.RESOLVE_IN_ROOT | kernel.RESOLVE_NO_MAGICLINKS)
    finally:
        os.close(root)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def _execute_all(steps: Sequence[options.Step], mount: Mount, target: str, where: str) -> None:
    for number, step in enumerate(steps):
        try:
            # Opened anew each time: what was open before the first step is what the mount now covers.
            with _inside(target, mount.target) as point:
                _execute(step, point)
        except OSError:
            if number and not steps[0].flags & kernel.MS_REMOUNT:  # half made: mounted, but not as it was asked for
                kernel.umount2(where, kernel.UMOUNT_NOFOLLOW | kernel.MNT_DETACH)
            raise


def _execute(step: options.Step, target: str) -> None:
    if len(os.fsencode(step.data)) > MAX_DATA and step.fstype == "overlay":
        _mount_long_overlay(step, target)
    elif step.flags & kernel.MS_REMOUNT:
        _remount(step, target)
    else:
        kernel.mount(step.source, target, step.fstype, step.flags, step.data)


def _remount(step: options.Step, target: str) -> None:
    try:
        kernel.mount(step.source, target, step.fstype, step.flags, step.data)
    except PermissionError:
        # In a user namespace the flags that the mount had outside are locked (mount_namespaces(7)): keep them.
        kernel.mount(step.source, target, step.fstype, step.flags | kernel.mount_flags(target), step.data)


def _mount_long_overlay(step: options.Step, target: str) -> None:
    """Options over a page are shortened by naming the layers relative to their common directory.

    The working directory belongs to the process, so a thread that has unshared its own does it.
    """
    words = re.split(r"(?<!\\),", step.data)
    lowers = options.split_lowers(next((w[len("lowerdir=") :] for w in words if w.startswith("lowerdir=")), ""))
    base = os.path.commonpath(lowers) if lowers else "/"
    short = [os.path.relpath(lower, base) for lower in lowers]
    rest = [word for word in words if not word.startswith("lowerdir=")]
    data = ",".join([*rest, "lowerdir=" + ":".join(map(options.escape, short))])
    point = os.path.abspath(target)
    if len(os.fsencode(data)) <= MAX_DATA:
        _in_directory(base, lambda: kernel.mount(step.source, point, "overlay", step.flags, data))
    else:
        _in_directory(base, lambda: _fsmount_overlay(step, short, rest, point))


def _fsmount_overlay(step: options.Step, lowers: Sequence[str], rest: Sequence[str], target: str) -> None:
    context = kernel.fsopen("overlay")
    try:
        kernel.fsconfig(context, kernel.FSCONFIG_SET_STRING, "source", step.source or "overlay")
        for word in rest:
            _fsconfig_word(context, word)
        for lower in lowers:
            kernel.fsconfig(context, kernel.FSCONFIG_SET_STRING, "lowerdir+", lower)
        if step.flags & kernel.MS_RDONLY:
            kernel.fsconfig(context, kernel.FSCONFIG_SET_FLAG, "ro")
        kernel.fsconfig(context, kernel.FSCONFIG_CMD_CREATE)
        mounted = kernel.fsmount(context, step.flags & 0xF)  # the low four MS_ and MOUNT_ATTR_ bits are the same
    finally:
        os.close(context)
    try:
        kernel.move_mount(mounted, "", kernel.AT_FDCWD, target, kernel.MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(mounted)


def _fsconfig_word(context: int, word: str) -> None:
    key, has_value, value = word.partition("=")
    if has_value:
        kernel.fsconfig(context, kernel.FSCONFIG_SET_STRING, key, value)
    else:
        kernel.fsconfig(context, kernel.FSCONFIG_SET_FLAG, key)


def _in_directory(directory: str, call: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            kernel.unshare(kernel.CLONE_FS)
            os.chdir(directory)
            call()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="corten-mount")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _unmount(point: str) -> None:
    for _ in range(BUSY_RETRIES):
        try:
            return kernel.umount2(point, kernel.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno == errno.EINVAL:  # not a mount point any more
                return None
            if error.errno != errno.EBUSY:
                raise
        time.sleep(BUSY_PAUSE)
    log.warning("%s is busy (%s); it is detached and goes when its last user does", point, holder(point))
    return kernel.umount2(point, kernel.UMOUNT_NOFOLLOW | kernel.MNT_DETACH)


def holder(point: str) -> str:
    """Who keeps `point` busy, for a message: the first process with its root, directory or a file there."""
    prefix = point.rstrip("/") + "/"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for link in _links(pid):
            if link == point or link.startswith(prefix):
                return f"held by pid {pid}: {link}"
    return "by a process in another mount namespace"


def _links(pid: str) -> Iterator[str]:
    try:
        names = [f"/proc/{pid}/cwd", f"/proc/{pid}/root", *(f.path for f in os.scandir(f"/proc/{pid}/fd"))]
    except OSError:
        return
    for name in names:
        try:
            yield os.readlink(name)
        except OSError:
            continue


def ensure_unmounted(target: str | Path) -> None:
    """Raise Unavailable, naming the holder, if anything is still mounted at or below `target`."""
    path = os.path.realpath(target)
    for mount in mountinfo.mounted_below(path):
        raise Unavailable(f"{mount.target} is still mounted ({holder(mount.target)})")
