"""A layer compressed otherwise: read from the store, written to it, in one pass and bounded memory; blocking.

The same layer gives the same bytes on every machine with the same libraries. The new blob keeps its diff id as a label.
"""

import asyncio
import io
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event
from typing import cast

import zstandard
from corten import digests
from corten.contracts.content import ContentReader, ContentStore
from corten.contracts.descriptor import Descriptor
from corten.errors import AlreadyExists, Cancelled, InvalidArgument, NotFound, ResourceExhausted
from corten.oci_image import conversion, gc_labels
from corten.pools import Pools
from corten.registry.tarstream import compression, decompressed
from isal import igzip, igzip_lib, isal_zlib

CHUNK = 1 << 20
GZIP_LEVEL = 2
"""Of igzip's 0 to 3: the best that keeps its speed."""
ZSTD_LEVEL = 3
MAX_RATIO, FREE = 500, 4 << 30
"""Against bombs: how many times its size a layer may have decompressed, and bytes up to which any ratio is taken."""
_GZIP_WINDOW = 31
"""A window of 32 KiB, and gzip's header and trailer (zlib.h, deflateInit2)."""
_Damaged = cast("type[Exception]", igzip_lib.error)
_BROKEN = (EOFError, OSError, zlib.error, igzip.BadGzipFile, _Damaged, zstandard.ZstdError)
Compress = tuple[Callable[[bytes], bytes], Callable[[], bytes]]


async def recompress(pools: Pools, store: ContentStore, layer: Descriptor, to: str) -> Descriptor:
    """`recompressed` in a thread; who is cancelled waits until it has stopped, so that nothing is left of it."""
    stop = Event()
    work = asyncio.ensure_future(pools.run("convert", recompressed, store, layer, to, stop))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        work.add_done_callback(_heard)
        await asyncio.wait([work])
        raise


def _heard(work: "asyncio.Future[Descriptor]") -> None:
    """That it was given up is no news: asyncio would log an error that nobody asked for."""
    if not work.cancelled():
        work.exception()


def recompressed(store: ContentStore, layer: Descriptor, to: str, stop: Event) -> Descriptor:
    """The layer as `gzip`, `zstd` or, with `none`, plain; itself if it is that already.

    Raises NotFound, InvalidArgument for a layer that cannot be decompressed, Cancelled once `stop` is set.
    """
    with store.reader(layer.digest) as reader:
        if (compression(reader.read_at(0, min(4, reader.size))) or "none") == to:
            return layer
        ref = f"convert-{to}-{secrets.token_hex(8)}"  # nothing is resumed
        try:
            return _written(store, ref, reader, layer, to, stop)
        except BaseException:
            with suppress(NotFound):
                store.abort(ref)
            raise


def _written(
    store: ContentStore, ref: str, reader: ContentReader, layer: Descriptor, to: str, stop: Event
) -> Descriptor:
    press, finish = _compressor(to)
    plain, count, size = digests.hasher("sha256"), 0, 0
    with store.writer(ref) as writer:
        for data in _plain(reader, layer):
            if stop.is_set():
                raise Cancelled(f"layer {layer.digest}: its conversion was given up")
            plain.update(data)
            count += len(data)
            if count > FREE and count > MAX_RATIO * layer.size:
                raise ResourceExhausted(
                    f"layer {layer.digest}: decompressed it has over {MAX_RATIO} times its {layer.size} bytes"
                )
            if out := press(data):
                size += writer.write(out)
        if out := finish():
            size += writer.write(out)
        digest = writer.digest()
        labels = {gc_labels.UNCOMPRESSED: f"sha256:{plain.hexdigest()}"}
        with suppress(AlreadyExists):
            writer.commit(size, digest, labels)
    return Descriptor(conversion.compressed(layer.media_type, to), digest, size, layer.annotations)


def _plain(reader: ContentReader, layer: Descriptor) -> Iterator[bytes]:
    try:
        stream = decompressed(_Blob(reader))
        while data := stream.read(CHUNK):
            yield data
    except _BROKEN as error:
        raise InvalidArgument(f"layer {layer.digest}: it cannot be decompressed: {error}") from error


def _compressor(to: str) -> Compress:
    match to:
        case "gzip":
            gzip = isal_zlib.compressobj(GZIP_LEVEL, isal_zlib.DEFLATED, _GZIP_WINDOW)
            return gzip.compress, gzip.flush
        case "zstd":
            zstd = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True).compressobj()
            return zstd.compress, zstd.flush
        case "none":
            return bytes, bytes
    raise InvalidArgument(f"layers: there is no compression {to[:80]!r} (gzip, zstd or none)")


class _Blob(io.RawIOBase):
    """A blob as a file that is read front to back."""

    def __init__(self, reader: ContentReader) -> None:
        self._reader = reader
        self._at = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        left = self._reader.size - self._at
        wanted = left if size < 0 else min(size, left)
        data = self._reader.read_at(self._at, wanted) if wanted else b""
        self._at += len(data)
        return data
