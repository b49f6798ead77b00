"""Which library inflates a gzip stream: two read and refuse the same, and each is the faster one for other contents.

For programs and text igzip needs 0.85 of the time of zlib-ng; for what does not compress any more (pictures, archives)
twice its time. Both work without the GIL.
"""

from collections.abc import Callable
from typing import Protocol, cast

from isal import isal_zlib
from zlib_ng import zlib_ng

GZIP = 16 + zlib_ng.MAX_WBITS
"""A gzip member, its CRC checked."""
SAMPLE = 128 << 10
"""Compressed bytes that are looked at: less than a hundredth of a layer for which the choice matters."""
RATIO = 2
"""A stream that begins with so many bytes for each compressed one is text, programs and the like."""
DAMAGED = cast("tuple[type[Exception], ...]", (zlib_ng.error, isal_zlib.error))


class Inflater(Protocol):
    """Of one member, as the decompressors of `zlib` are."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def chosen(start: bytes) -> Callable[[], Inflater]:
    """What makes a decompressor for each member of the stream that begins so."""
    module = isal_zlib if _compressible(start[:SAMPLE]) else zlib_ng
    return lambda: cast("Inflater", module.decompressobj(wbits=GZIP))


def _compressible(start: bytes) -> bool:
    wanted = RATIO * len(start)
    try:
        return len(zlib_ng.decompressobj(wbits=GZIP).decompress(start, wanted)) == wanted
    except DAMAGED:
        return False  # who reads the stream will say so
