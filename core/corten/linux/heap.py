"""What malloc(3) does with memory that is freed, for processes that pass large buffers from thread to thread."""

import ctypes
import sys

assert sys.platform != "win32"

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)


def keep_freed(buffers: int, total: int) -> None:
    """Have buffers of up to so many bytes made from memory that was freed, of which up to `total` bytes are kept.

    By its defaults glibc maps large buffers anew each time, and each of their pages is a fault, and zeroed. Does
    nothing where libc has no mallopt(3).
    """
    if _mallopt is not None:
        _mallopt(_M_MMAP_THRESHOLD, buffers)
        _mallopt(_M_TRIM_THRESHOLD, total)
