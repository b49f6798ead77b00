"""Linux system calls that Python's `os` does not have: one small function each, under the kernel's own name.

Every function raises `OSError` with the errno, the call's name and its path, through `oserror`. Flags are the kernel's
constants. Descriptors are opened with O_CLOEXEC. Sources: the section 2 manual pages of each call.
This module must stay light: the shim imports it before it forks.
"""

import ctypes
import os
import sys
from typing import Any

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100
CLONE_FS = 0x200
CLONE_NEWIPC = 0x08000000
CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWUTS = 0x04000000
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
FSMOUNT_CLOEXEC = 1
FSOPEN_CLOEXEC = 1
MNT_DETACH = 2
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_IDMAP = 0x100000
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MS_BIND = 0x1000
MS_DIRSYNC = 0x80
MS_MANDLOCK = 0x40
MS_MOVE = 0x2000
MS_NOATIME = 0x400
MS_NODEV = 0x4
MS_NODIRATIME = 0x800
MS_NOEXEC = 0x8
MS_NOSUID = 0x2
MS_PRIVATE = 0x40000
MS_RDONLY = 0x1
MS_REC = 0x4000
MS_RELATIME = 0x200000
MS_REMOUNT = 0x20
MS_SHARED = 0x100000
MS_SLAVE = 0x80000
MS_STRICTATIME = 0x1000000
MS_SYNCHRONOUS = 0x10
MS_UNBINDABLE = 0x20000
# Looked up by name so that type checkers accept this module for every platform.
O_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
O_DIRECTORY: int = getattr(os, "O_DIRECTORY", 0)
O_PATH: int = getattr(os, "O_PATH", 0)
OPEN_TREE_CLONE = 1
RESOLVE_BENEATH = 0x8
RESOLVE_IN_ROOT = 0x10
RESOLVE_NO_MAGICLINKS = 0x2
RESOLVE_NO_SYMLINKS = 0x4
RESOLVE_NO_XDEV = 0x1
UMOUNT_NOFOLLOW = 8

# Numbers above 423 are the same on every architecture; older C libraries have no wrapper for them.
_NR_OPEN_TREE = 428
_NR_MOVE_MOUNT = 429
_NR_FSOPEN = 430
_NR_FSCONFIG = 431
_NR_FSMOUNT = 432
_NR_OPENAT2 = 437
_NR_MOUNT_SETATTR = 442
_NR_FCHMODAT2 = 452

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)

StrPath = str | bytes | os.PathLike[str]


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def oserror(call: str, path: StrPath = "") -> OSError:
    """The error of the system call that just failed, in words that name the call."""
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}", os.fsdecode(path) or None)


def mount(source: StrPath, target: StrPath, fstype: str = "", flags: int = 0, data: str | bytes = "") -> None:
    """mount(2); `data` longer than a page is refused by the kernel with EINVAL."""
    encoded = (os.fsencode(source), os.fsencode(target), fstype.encode(), flags, os.fsencode(data))
    if _libc.mount(*encoded) < 0:
        raise oserror("mount", target)


def umount2(target: StrPath, flags: int = 0) -> None:
    """umount2(2)."""
    if _libc.umount2(os.fsencode(target), flags) < 0:
        raise oserror("umount2", target)


def unshare(flags: int) -> None:
    """unshare(2); with CLONE_FS the calling thread gets a working directory and umask of its own."""
    if _libc.unshare(ctypes.c_int(flags)) < 0:
        raise oserror("unshare")


def setns(fd: int, nstype: int = 0) -> None:
    """setns(2)."""
    if _libc.setns(ctypes.c_int(fd), ctypes.c_int(nstype)) < 0:
        raise oserror("setns")


def syncfs(fd: int) -> None:
    """syncfs(2): write the whole file system of `fd` to disk; reports write errors since it was opened."""
    if _libc.syncfs(ctypes.c_int(fd)) < 0:
        raise oserror("syncfs")


def ioctl(fd: int, request: int, argument: bytearray | None = None) -> int:
    """ioctl(2); what the kernel writes is in `argument` afterwards."""
    buffer = None if argument is None else (ctypes.c_char * len(argument)).from_buffer(argument)
    result = int(_libc.ioctl(ctypes.c_int(fd), ctypes.c_ulong(request), buffer))
    if result < 0:
        raise oserror(f"ioctl {request:#x}")
    return result


def mount_flags(path: StrPath) -> int:
    """The MS_* flags of the mount that `path` is on, as far as statvfs(3) tells them."""
    if sys.platform == "win32":
        return 0
    return os.statvfs(path).f_flag & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


def openat2(dirfd: int, path: StrPath, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2): open with limits on how the path may resolve (RESOLVE_*); O_CLOEXEC is added."""
    how = _OpenHow(flags | O_CLOEXEC, mode, resolve)
    fd = _syscall(_NR_OPENAT2, dirfd, ctypes.c_char_p(os.fsencode(path)), ctypes.byref(how), ctypes.sizeof(how))
    if fd < 0:
        raise oserror("openat2", path)
    return fd


def fchmodat2(dirfd: int, path: StrPath, mode: int, flags: int = AT_SYMLINK_NOFOLLOW) -> None:
    """fchmodat2(2), Linux 6.6: change the mode of just what `path` names, never of what a link leads to."""
    if _syscall(_NR_FCHMODAT2, dirfd, ctypes.c_char_p(os.fsencode(path)), mode, flags) < 0:
        raise oserror("fchmodat2", path)


def fsopen(fstype: str) -> int:
    """fsopen(2): a new file system context."""
    fd = _syscall(_NR_FSOPEN, ctypes.c_char_p(fstype.encode()), FSOPEN_CLOEXEC)
    if fd < 0:
        raise oserror("fsopen", fstype)
    return fd


def fsconfig(fd: int, command: int, key: str | None = None, value: StrPath | None = None) -> None:
    """fsconfig(2); a string value may have 255 bytes."""
    name = None if key is None else key.encode()
    text = None if value is None else os.fsencode(value)
    if _syscall(_NR_FSCONFIG, fd, command, ctypes.c_char_p(name), ctypes.c_char_p(text), 0) < 0:
        raise oserror(f"fsconfig {key or ''}".rstrip(), value or "")


def fsmount(fd: int, attributes: int = 0) -> int:
    """fsmount(2): a detached mount with MOUNT_ATTR_* attributes."""
    mounted = _syscall(_NR_FSMOUNT, fd, FSMOUNT_CLOEXEC, attributes)
    if mounted < 0:
        raise oserror("fsmount")
    return mounted


def open_tree(dirfd: int, path: StrPath, flags: int = OPEN_TREE_CLONE) -> int:
    """open_tree(2); with OPEN_TREE_CLONE a detached copy of the mount, with AT_RECURSIVE of those below it too."""
    fd = _syscall(_NR_OPEN_TREE, dirfd, ctypes.c_char_p(os.fsencode(path)), flags | O_CLOEXEC)
    if fd < 0:
        raise oserror("open_tree", path)
    return fd


def move_mount(from_fd: int, from_path: StrPath, to_fd: int, to_path: StrPath, flags: int = 0) -> None:
    """move_mount(2); MOVE_MOUNT_F_EMPTY_PATH attaches the detached mount `from_fd` itself."""
    source, target = ctypes.c_char_p(os.fsencode(from_path)), ctypes.c_char_p(os.fsencode(to_path))
    if _syscall(_NR_MOVE_MOUNT, from_fd, source, to_fd, target, flags) < 0:
        raise oserror("move_mount", to_path)


def mount_setattr(
    dirfd: int, path: StrPath, flags: int, *, set: int = 0, clear: int = 0, propagation: int = 0, userns_fd: int = 0
) -> None:
    """mount_setattr(2); with AT_RECURSIVE for every mount below as well."""
    attributes = _MountAttr(set, clear, propagation, userns_fd)
    encoded = ctypes.c_char_p(os.fsencode(path))
    size = ctypes.sizeof(attributes)
    if _syscall(_NR_MOUNT_SETATTR, dirfd, encoded, flags, ctypes.byref(attributes), size) < 0:
        raise oserror("mount_setattr", path)


def _syscall(number: int, *args: Any) -> int:
    # Plain integers would be passed as C int, and the kernel reads whole registers.
    wide = (ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args)
    return int(_libc.syscall(ctypes.c_long(number), *wide))
