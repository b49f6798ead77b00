"""What malloc(3) does with memory that is freed, for processes that pass large buffers from thread to thread.

By its defaults glibc gives a large buffer back to the kernel when it is freed, so that each page of the next one is a
fault, and zeroed: for a blob of 1 GiB that is a sixth of a daemon's time in the kernel. Nothing happens where libc has
no mallopt(3).
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_libc = ctypes.CDLL(None) if sys.platform != "win32" else None
_mallopt = getattr(_libc, "mallopt", None)
_malloc_trim = getattr(_libc, "malloc_trim", None)

LARGE = 16 << 20
"""Bytes of a blob for which that is worth while."""
BUFFER = 4 << 20
"""Bytes of the largest buffers that are passed on."""
BUSY = 64 << 20
QUIET = 256 << 10
"""Bytes of freed memory that are kept while large buffers are passed on, and else."""

_lock = Lock()
_users = 0


def keep_freed(buffers: int, total: int) -> None:
    """Have buffers of up to so many bytes made from memory that was freed, of which up to `total` bytes are kept."""
    if _mallopt is not None:
        _mallopt(_M_MMAP_THRESHOLD, buffers)
        _mallopt(_M_TRIM_THRESHOLD, total)


@contextmanager
def busy(size: int) -> Iterator[None]:
    """Around the passing on of a blob of `size` bytes: if it is a large one, keep what is freed.

    What was kept goes back to the kernel when the last one has passed.
    """
    if size < LARGE:
        yield
        return
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            keep_freed(BUFFER, BUSY)


def _leave() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0:
            keep_freed(BUFFER, QUIET)
            if _malloc_trim is not None:
                _malloc_trim(0)
