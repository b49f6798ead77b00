"""Loop devices: a file becomes a block device (loop(4)), for as long as somebody has it open or mounted.

    with attached("/data/disk.img", read_only=True) as device:
        mount it; the kernel frees the device when it is unmounted

This module must stay light: the shim imports it before it forks.
"""

import errno
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from corten.errors import Unavailable

from . import syscalls as kernel

CONTROL = "/dev/loop-control"
MAX_ATTEMPTS = 100
"""Times that a free device is asked for anew, because another took it first."""
READ_ONLY = 1
AUTOCLEAR = 4
DIRECT_IO = 16

_SET_STATUS64, _GET_STATUS64, _CONFIGURE, _CTL_GET_FREE = 0x4C04, 0x4C05, 0x4C0A, 0x4C82
# linux/loop.h: five 64 bit numbers, four of 32 bit (the last the flags), names of 64, 64 and 32 bytes, two of 64 bit
_INFO = struct.Struct("=5Q4I64s64s32s2Q")
_FLAGS_AT = 52
_CONFIG = struct.Struct(f"=2I{_INFO.size}s64s")


@contextmanager
def attached(file: str, *, read_only: bool = False, direct: bool = False) -> Iterator[str]:
    """The path of a device for `file`, freed by the kernel once it is neither open nor mounted.

    Raises OSError, Unavailable when no device can be had.
    """
    fd, device = attach(file, read_only=read_only, direct=direct)
    try:
        yield device
    finally:
        os.close(fd)


def attach(file: str, *, read_only: bool = False, direct: bool = False) -> tuple[int, str]:
    """An open descriptor of a new device for `file`, and its path; closing it frees the device (`keep` prevents that).

    Raises OSError, Unavailable when no device can be had.
    """
    mode = (os.O_RDONLY if read_only else os.O_RDWR) | kernel.O_CLOEXEC
    backing = os.open(file, mode)
    try:
        for attempt in range(MAX_ATTEMPTS):
            device = f"/dev/loop{_free()}"
            fd = os.open(device, mode)
            try:
                _configure(fd, backing, file, read_only=read_only, direct=direct)
                return fd, device
            except OSError as error:
                os.close(fd)
                if error.errno != errno.EBUSY:
                    raise
            time.sleep((os.getpid() + attempt) % 10 / 1000)
    finally:
        os.close(backing)
    raise Unavailable(f"loop device for {file}: others took each free one in {MAX_ATTEMPTS} attempts")


def keep(fd: int) -> None:
    """The device stays when it is closed, until `release`."""
    _set_flag(fd, AUTOCLEAR, on=False)


def release(device: str) -> None:
    """The device goes when its last user does; one that has no file any more is no error. Raises OSError."""
    fd = os.open(device, os.O_RDONLY | kernel.O_CLOEXEC)
    try:
        _set_flag(fd, AUTOCLEAR, on=True)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
    finally:
        os.close(fd)


def backing_file(device: str) -> str:
    """What file a device shows; empty for none."""
    try:
        with open(f"/sys/block/{os.path.basename(device)}/loop/backing_file") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def _free() -> int:
    fd = os.open(CONTROL, os.O_RDWR | kernel.O_CLOEXEC)
    try:
        return kernel.ioctl(fd, _CTL_GET_FREE)
    finally:
        os.close(fd)


def _configure(fd: int, backing: int, file: str, *, read_only: bool, direct: bool) -> None:
    flags = AUTOCLEAR | (READ_ONLY if read_only else 0) | (DIRECT_IO if direct else 0)
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, os.fsencode(file)[:63], b"", b"", 0, 0)
    kernel.ioctl(fd, _CONFIGURE, bytearray(_CONFIG.pack(backing, 0, info, b"")))


def _set_flag(fd: int, flag: int, *, on: bool) -> None:
    info = bytearray(_INFO.size)
    kernel.ioctl(fd, _GET_STATUS64, info)
    (flags,) = struct.unpack_from("=I", info, _FLAGS_AT)
    struct.pack_into("=I", info, _FLAGS_AT, flags | flag if on else flags & ~flag)
    kernel.ioctl(fd, _SET_STATUS64, info)
