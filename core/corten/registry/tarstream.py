"""The members of a tar archive as they come, for archives of images: read only, never unpacked, nothing unbounded.

The standard library parses the headers; it reads them through `_Forward`, which refuses reads that no honest header
needs, so that a header that claims gigabytes ends in an error and not in memory.
"""

import bz2
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol, cast

import zstandard
from isal import igzip

from corten.errors import InvalidArgument, ResourceExhausted
from corten.values import dataclass

CHUNK = 1 << 20
MAX_HEADER = 1 << 20
"""Bytes that one header, with its extensions, may take."""
MAX_MEMBERS = 1 << 20
MAX_DICTIONARY = 128 << 20
"""Bytes of memory that undoing xz may take."""
_INPUT = 64 << 10
_BROKEN = (
    *(tarfile.TarError, EOFError, OSError, UnicodeError, ValueError),
    *(zlib.error, igzip.BadGzipFile, zstandard.ZstdError, lzma.LZMAError),
)


class Readable(Protocol):
    """A blocking binary stream."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file of `size` bytes, or a link to the member `target`."""

    name: str
    size: int
    target: str | None = None


class TarStream:
    """Call `next` for a member, then `read` until it is empty; blocking, one thread at a time.

    gzip, zstd, xz and bzip2 are undone. All methods raise InvalidArgument for what is malformed or truncated,
    ResourceExhausted for what is too large.
    """

    def __init__(self, file: Readable) -> None:
        self._left = 0
        self._count = 0
        try:
            self._stream = _Forward(decompressed(file))
            self._tar = tarfile.TarFile(fileobj=self._stream, mode="r")
        except _BROKEN as error:
            raise InvalidArgument(f"archive: it is not a tar archive: {error}") from error
        self._members = self._walk()

    def next(self) -> Member | None:
        """The next regular file or link; None at the end."""
        try:
            return next(self._members, None)
        except _BROKEN as error:
            raise InvalidArgument(f"archive: malformed or cut off after {self._count} members: {error}") from error

    def read(self) -> bytes:
        """The next part of the member that `next` returned; empty at its end."""
        wanted = min(self._left, CHUNK)
        if wanted == 0:
            return b""
        try:
            data = self._stream.read(wanted)
        except _BROKEN as error:
            raise InvalidArgument(f"archive: malformed within a member: {error}") from error
        if not data:
            raise InvalidArgument("archive: cut off within a member")
        self._left -= len(data)
        return data

    def _walk(self) -> Iterator[Member]:
        while (info := self._tar.next()) is not None:
            self._tar.members = []  # type: ignore[attr-defined]  # or it keeps all that it has seen
            self._count += 1
            if self._count > MAX_MEMBERS:
                raise ResourceExhausted(f"archive: it has more than {MAX_MEMBERS} members")
            if info.issparse():
                raise InvalidArgument(f"archive: member {info.name[:200]!r} is sparse, which images never are")
            self._left = info.size if info.isreg() else 0
            if info.isreg():
                yield Member(info.name, info.size)
            elif info.issym() or info.islnk():
                yield Member(info.name, 0, info.linkname if info.issym() else f"/{info.linkname}")


class _Forward(io.RawIOBase):
    """A stream that tarfile takes for a file: it can be sought forward, by reading."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= max(MAX_HEADER, CHUNK):
            raise ResourceExhausted(f"archive: a header of {size} bytes is more than the {MAX_HEADER} allowed")
        parts = []
        while size > 0 and (data := self._file.read(size)):
            parts.append(data)
            size -= len(data)
            self._at += len(data)
        return b"".join(parts)

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._at:
            raise tarfile.ReadError("the archive cannot be read backwards")
        while self._at < offset and self.read(min(offset - self._at, CHUNK)):
            pass
        return self._at


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were read already; closing it leaves the stream alone."""

    def __init__(self, head: bytes, file: Readable) -> None:
        self._head = head
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        size = len(buffer)
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._file.read(size)
        buffer[: len(data)] = data
        return len(data)


class _Inflating(io.RawIOBase):
    """A stream of xz or bzip2 undone, of any number of streams one after the other."""

    def __init__(self, file: Readable, make: Callable[[], Any]) -> None:
        self._file = file
        self._make = make
        self._state = make()
        self._ended = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._ended:
            if self._state.eof:
                rest = self._state.unused_data or self._file.read(_INPUT)
                if not rest.strip(b"\0"):
                    break
                self._state = self._make()
            else:
                rest = self._file.read(_INPUT) if self._state.needs_input else b""
                if self._state.needs_input and not rest:
                    raise EOFError("the compressed stream is cut off")
            if data := self._state.decompress(rest, size):
                return bytes(data)
        self._ended = True
        return b""


_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zX": "xz", b"BZh": "bzip2"}


def compression(head: bytes) -> str:
    """`gzip`, `zstd`, `xz`, `bzip2` or empty, by the first bytes."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def decompressed(file: Readable) -> Readable | IO[bytes]:
    """The bytes within gzip, zstd, xz or bzip2, of any number of members or frames; others as they are."""
    head = b""
    while len(head) < 4 and (more := file.read(4 - len(head))):
        head += more
    whole = _Rejoined(head, file)
    match compression(head):
        case "gzip":
            return igzip.GzipFile(fileobj=whole, mode="rb")  # type: ignore[no-untyped-call]
        case "zstd":
            return zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", whole), read_across_frames=True)
        case "xz":
            return _Inflating(whole, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_DICTIONARY))
        case "bzip2":
            return _Inflating(whole, bz2.BZ2Decompressor)
    return whole
