"""Bodies that a server sends under `Content-Encoding` (RFC 9110, section 8.4), undone piece by piece in bounded memory.

None is asked for: of encoded content there are no ranges that one could count on. Stores behind registries send it
unasked where an object was put there with that header. Digests and sizes are of what comes out, as with containerd.
"""

import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import IO, Protocol, cast

import aiohttp
import zstandard

from corten.errors import DataLoss, FailedPrecondition

PIECE = 1 << 20
"""Bytes that are undone at once, however well they were compressed."""
MAX_WINDOW = 8 << 20
"""Bytes of the window that a zstd stream may ask for (RFC 9659)."""
_BROKEN = (zlib.error, zstandard.ZstdError)


class _Decoder(Protocol):
    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What comes of the next bytes, at most `PIECE` of it at once."""


def encoding(response: aiohttp.ClientResponse) -> str:
    """The one that the answer has; empty for none."""
    names = [name.strip().lower() for name in ",".join(response.headers.getall("Content-Encoding", [])).split(",")]
    return ", ".join(name for name in names if name not in ("", "identity"))


async def decoded(parts: AsyncIterator[bytes], name: str, what: str) -> AsyncIterator[bytes]:
    """The content of an encoded body, of which `parts` come.

    Raises FailedPrecondition for an encoding that is not known, or for several on top of each other, DataLoss for
    bytes that are none of it. A body that ends too early is for the caller to see: he knows the size.
    """
    if name not in _DECODERS:
        known = ", ".join(sorted(_DECODERS))
        raise FailedPrecondition(
            f"{what}: the registry sends it with the Content-Encoding {name[:100]!r}, which was not asked for "
            f"(known are {known})"
        )
    decoder = _DECODERS[name]()
    try:
        async for data in parts:
            for piece in decoder.pieces(data):
                yield piece
    except _BROKEN as error:
        raise DataLoss(f"{what}: the registry says it is encoded as {name}, and it is not: {error}") from error


class _Deflate:
    """The streams of zlib, one after the other; `window` is what tells their kinds apart (zlib's windowBits)."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._stream = zlib.decompressobj(window)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            piece = self._stream.decompress(data, PIECE)
            if piece:
                yield piece
            data = self._stream.unconsumed_tail
            if self._stream.eof:
                if not (data := self._stream.unused_data):
                    return
                self._stream = zlib.decompressobj(self._window)
            elif not data and len(piece) < PIECE:
                return


class _EitherDeflate:
    """What goes by `deflate`: zlib's format, as RFC 9110 has it, or none around it, as servers (and Go) have it."""

    def __init__(self) -> None:
        self._inner: _Deflate | None = None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        if self._inner is None:
            self._inner = _Deflate(zlib.MAX_WBITS if data[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS)
        yield from self._inner.pieces(data)


class _Zstd:
    """Frames, one after the other. The library reads from here, and is told when there is nothing for now."""

    def __init__(self) -> None:
        self._data = b""
        self._stream = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(
            cast("IO[bytes]", self), read_across_frames=True
        )

    def read(self, size: int) -> bytes:
        if not self._data:
            raise BlockingIOError
        data, self._data = self._data[:size], self._data[size:]
        return data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        self._data = data
        while True:
            try:
                yield self._stream.read1(PIECE)
            except BlockingIOError:
                return


_DECODERS: Mapping[str, Callable[[], _Decoder]] = {
    "deflate": _EitherDeflate,
    "gzip": lambda: _Deflate(16 + zlib.MAX_WBITS),
    "x-gzip": lambda: _Deflate(16 + zlib.MAX_WBITS),
    "zstd": _Zstd,
}
