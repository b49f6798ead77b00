"""Which library inflates a gzip stream: two read and refuse the same, and each is the faster one for other contents.

For programs and text igzip needs 0.85 of the time of zlib-ng; for what does not compress any more (pictures, archives)
twice its time. Both work without the GIL.
"""

import gzip
from typing import IO, cast

from isal import igzip, isal_zlib
from zlib_ng import gzip_ng, zlib_ng

SAMPLE = 128 << 10
"""Compressed bytes that are looked at: less than a hundredth of a layer for which the choice matters."""
RATIO = 2
"""A stream that begins with so many bytes for each compressed one is text, programs and the like."""
_DAMAGED = cast("tuple[type[Exception], ...]", (zlib_ng.error, isal_zlib.error))
DAMAGED: tuple[type[Exception], ...] = (*_DAMAGED, gzip.BadGzipFile, OverflowError)
"""What reading raises for a stream that is wrong, or has a header of half a MiB; EOFError for one that ends early."""


def reader(start: bytes, file: IO[bytes]) -> gzip.GzipFile:
    """What reads all members of the gzip stream that `file`, which has `readinto`, gives from its beginning, `start`.

    Its `read1` inflates into what it returns: a decompressor object makes room bit by bit and copies what it has.
    """
    of = igzip.IGzipFile if _compressible(start[:SAMPLE]) else gzip_ng.GzipNGFile
    return cast("gzip.GzipFile", of("", "rb", fileobj=file))


def _compressible(start: bytes) -> bool:
    wanted = RATIO * len(start)
    try:
        return len(zlib_ng.decompressobj(wbits=16 + zlib_ng.MAX_WBITS).decompress(start, wanted)) == wanted
    except _DAMAGED:
        return False  # who reads the stream will say so
