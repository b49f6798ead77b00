"""A tar archive read from a stream of chunks in one pass: entries one after the other, each with its data."""

from collections.abc import Iterator

from corten.errors import InvalidArgument, Unimplemented

from .sparse import checked, gnu_segments, listed_segments, pax_segments
from .tar_header import (
    BLOCK,
    GNU_LINK,
    GNU_NAME,
    GNU_SPARSE,
    PAX,
    PAX_GLOBAL,
    REGULAR,
    SPARSE_MAP,
    ZERO,
    Entry,
    decimal,
    parse_pax,
)

MAX_HEADER = 1 << 20
"""Bytes of a pax or GNU name header; more is refused, so that headers cannot fill the memory."""


class TarStream:
    """Entries by `next_entry`; the data of an entry is read with `pieces` before the next one, or skipped."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = b""
        self._position = 0
        self._left = 0
        """Bytes of the current entry that were not read."""
        self._padding = 0
        self.current = b""
        """The name of the entry that was read last, for messages."""

    def next_entry(self) -> Entry | None:
        """The next entry, or None at the end of the archive.

        Raises InvalidArgument for what is no tar, Unimplemented for sparse files of an unknown version.
        """
        if self._left or self._padding:
            self.skip()
        pax: dict[bytes, bytes] | None = None
        name: bytes | None = None
        link: bytes | None = None
        while (block := self._block()) is not None:
            entry = Entry(block)
            if entry.kind == PAX:
                pax = (pax or {}) | parse_pax(self._header(entry))
            elif entry.kind == GNU_NAME:
                name = self._header(entry).split(b"\0", 1)[0]
            elif entry.kind == GNU_LINK:
                link = self._header(entry).split(b"\0", 1)[0]
            elif entry.kind == PAX_GLOBAL:
                self._header(entry)
            else:
                return self._begin(entry, block, pax, name, link)
        if pax is not None or name is not None or link is not None:
            raise InvalidArgument("the archive ends after an extended header")
        return None

    def pieces(self) -> Iterator[memoryview]:
        """The data of the current entry; each piece is valid until the next is asked for."""
        while self._left:
            if self._position >= len(self._buffer):
                self._refill()
            piece = memoryview(self._buffer)[self._position : self._position + self._left]
            self._position += len(piece)
            self._left -= len(piece)
            yield piece
        self._skip_padding()

    def small(self) -> bytes | None:
        """All the data of the current entry at once if it lies in the buffer, which is most often so; else None."""
        end = self._position + self._left
        if end > len(self._buffer):
            return None
        data = self._buffer[self._position : end]
        self._position = end
        self._left = 0
        self._skip_padding()
        return data

    def skip(self) -> None:
        """Pass over the data of the current entry."""
        for _ in self.pieces():
            pass

    def drain(self) -> None:
        """Read what follows the archive, so that digests cover every byte."""
        self._buffer = b""
        for _ in self._chunks:
            pass

    def _begin(
        self, entry: Entry, block: bytes, pax: dict[bytes, bytes] | None, name: bytes | None, link: bytes | None
    ) -> Entry:
        entry.finish(pax, name, link)
        self.current = entry.name
        self._left = entry.size
        self._padding = -entry.size % BLOCK
        if entry.kind == GNU_SPARSE:
            entry.kind = REGULAR
            entry.segments, entry.real_size = gnu_segments(block, lambda: self._take(BLOCK))
        elif pax and b"GNU.sparse.major" in pax:
            self._begin_sparse(entry, pax)
        elif pax and SPARSE_MAP in pax:
            entry.name = self.current = pax.get(b"GNU.sparse.name", entry.name)
            entry.real_size = decimal(pax.get(b"GNU.sparse.size", b"0"))
            entry.segments = checked(listed_segments(pax[SPARSE_MAP]), entry.real_size)
        elif pax and any(key.startswith(b"GNU.sparse.") for key in pax):
            raise Unimplemented("a sparse file of an unknown version of GNU tar's pax format")
        return entry

    def _begin_sparse(self, entry: Entry, pax: dict[bytes, bytes]) -> None:
        if (pax[b"GNU.sparse.major"], pax.get(b"GNU.sparse.minor")) != (b"1", b"0"):
            raise Unimplemented("a sparse file of an unknown version of GNU tar's pax format")
        entry.name = self.current = pax.get(b"GNU.sparse.name", entry.name)
        entry.real_size = decimal(pax.get(b"GNU.sparse.realsize", b"0"))
        segments, used = pax_segments(lambda: self._take(BLOCK), entry.size)
        entry.segments = checked(segments, entry.real_size)
        self._left -= used

    def _block(self) -> bytes | None:
        """The next header block, or None at the end: two zero blocks, or the end of the stream."""
        start = self._position
        block = self._buffer[start : start + BLOCK]
        if len(block) == BLOCK:
            self._position = start + BLOCK
        else:
            block = self._take(BLOCK, end_allowed=True)
        if block and block != ZERO:
            return block
        if block and (after := self._take(BLOCK, end_allowed=True)) and after != ZERO:
            raise InvalidArgument("a zero block in the middle of the archive")
        return None

    def _header(self, entry: Entry) -> bytes:
        if not 0 <= entry.size <= MAX_HEADER:
            raise InvalidArgument(f"a tar header of {entry.size} bytes; at most {MAX_HEADER} are allowed")
        data = self._take(entry.size)
        self._take(-entry.size % BLOCK)
        return data

    def _take(self, size: int, *, end_allowed: bool = False) -> bytes:
        parts = []
        missing = size
        while missing:
            if self._position >= len(self._buffer):
                if (chunk := next(self._chunks, None)) is None:
                    if end_allowed and missing == size:
                        return b""
                    raise InvalidArgument("the archive is truncated")
                self._buffer, self._position = chunk, 0
            part = self._buffer[self._position : self._position + missing]
            self._position += len(part)
            missing -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _refill(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise InvalidArgument("the archive is truncated")
        self._buffer, self._position = chunk, 0

    def _skip_padding(self) -> None:
        """Pass over what fills up the last block; archives end without it where the writer was never closed (umoci)."""
        padding, self._padding = self._padding, 0
        while padding > len(self._buffer) - self._position:
            padding -= len(self._buffer) - self._position
            self._buffer, self._position = next(self._chunks, b""), 0
            if not self._buffer:
                return
        self._position += padding
