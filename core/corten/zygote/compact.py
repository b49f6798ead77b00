"""Making what is allocated from now on lie together, on pages of its own.

A forked child copies every page on which it so much as counts a reference. After a hundred imports the free blocks of
the interpreter's memory are spread over all its pages, and what fills them is spread with them; so before the modules
whose code runs in children are imported, every free block is taken up, and their objects come from fresh pages.
"""

import ctypes
import gc
import sys

assert sys.platform != "win32"

_POOL, _POOL_HEADER, _SMALL_MAX = 16 * 1024, 48, 512  # Objects/obmalloc.c of CPython 3.11
_LARGE = (*(1 << shift for shift in range(16, 9, -1)), *range(1032, 8, -16))
"""Sizes asked of malloc, the largest first so that the big holes are not cut up for small ones."""

_ROUNDS_MAX = 30
_BYTES_HEADER = sys.getsizeof(b"")
_kept: list[object] = []


def fill_holes() -> None:
    """Take up all the free memory that lies between objects; it is never given back."""
    gc.collect()  # which also empties the free lists of tuples, lists, dicts…
    for size in range(16, _SMALL_MAX + 1, 16):
        _fill_pools(size)
    _fill_heap()


def _fill_pools(size: int) -> None:
    """Allocate blocks of a size until they come from fresh pools: all others are full then."""
    capacity = (_POOL - _POOL_HEADER) // size
    for _ in range(_ROUNDS_MAX):
        blocks = [_block(size, number) for number in range(3 * capacity)]
        fresh = {id(block) // _POOL for block in blocks if id(block) % _POOL == _POOL_HEADER}
        in_holes = [block for block in blocks if id(block) // _POOL not in fresh]
        _kept.append(in_holes)
        if len(blocks) - len(in_holes) > capacity:
            return


def _block(size: int, number: int) -> object:
    if size == 16:
        return object()
    return number + 0.5 if size == 32 else bytes(size - _BYTES_HEADER)


class _MallocInfo(ctypes.Structure):
    """struct mallinfo2 (mallinfo(3))."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def _fill_heap() -> None:
    """Allocate of each size until malloc has to cut from the top of the heap."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return  # another C library, or glibc before 2.33
    libc.mallinfo2.restype = _MallocInfo
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.sbrk.argtypes = [ctypes.c_size_t], [ctypes.c_ssize_t]
    libc.free.argtypes = [ctypes.c_void_p]
    for size in _LARGE:
        top = (libc.sbrk(0) or 0) - libc.mallinfo2().keepcost
        block = libc.malloc(size)
        while block is not None and block < top:
            block = libc.malloc(size)
        libc.free(block)
