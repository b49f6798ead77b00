"""A layer's bytes on their way to the tar reader: read, hashed, decompressed, hashed again, within limits.

A thread of its own does all this (zlib, zstd and hashlib work without the GIL) while the caller writes files.
"""

import os
import sys
from collections.abc import Iterator
from queue import Queue
from threading import Thread
from typing import IO, cast

import zstandard
from corten import digests
from corten.errors import CortenError, InvalidArgument, ResourceExhausted
from isal import igzip_lib

from .exchange import Limits
from .media_types import detected

assert sys.platform != "win32"

READ = 256 << 10
CHUNK = 256 << 10
"""Bytes of a piece of the uncompressed stream: what is decompressed, hashed and written next is still in the cache."""
AHEAD = 16
"""Pieces that may wait for the caller."""
SMALL_READ = 32 << 10
"""Bytes read at once from a gzip of many members, whose rest is copied at the end of each."""


_Damaged = cast("type[Exception]", igzip_lib.error)


class Source:
    """The compressed bytes of a descriptor, counted and hashed as they are read.

    `more` is the pipe of a file that still grows (`corten.contracts.diff.Arriving`). No algorithm: nothing is hashed.
    """

    def __init__(self, fd: int, more: int = -1, algorithm: str = "") -> None:
        self._fd = fd
        self._more = more
        self._hash = digests.hasher(algorithm) if algorithm else None
        self._algorithm = algorithm
        self._start = b""
        self.count = 0

    def start(self) -> bytes:
        """The first bytes, which `read` gives again."""
        while len(self._start) < 16 and (data := self._read(16 - len(self._start))):
            self._start += data
        return self._start

    def read(self, size: int = READ) -> bytes:
        """Up to `size` bytes, none at the end."""
        if self._start:
            start, self._start = self._start, b""
            return start
        return self._read(size)

    @property
    def ended(self) -> bool:
        """Whether the file grows no more."""
        return self._more < 0

    def digest(self) -> str:
        """Of all bytes read so far; empty if they are not hashed."""
        return f"{self._algorithm}:{self._hash.hexdigest()}" if self._hash is not None else ""

    def drain(self) -> None:
        """Read to the end."""
        while self.read(CHUNK):
            pass

    def _read(self, size: int) -> bytes:
        data = os.read(self._fd, size)
        while not data and self._more >= 0:
            self._wait()
            data = os.read(self._fd, size)
        if self._hash is not None:
            self._hash.update(data)
        self.count += len(data)
        return data

    def _wait(self) -> None:
        if not os.read(self._more, 4096):
            self._more = -1  # it grows no more


def decompressed(source: Source) -> Iterator[bytes]:
    """The uncompressed stream in pieces. Raises InvalidArgument for damaged data."""
    match detected(source.start()):
        case "gzip":
            return _gunzip(source)
        case "zstd":
            return _unzstd(source)
    return _plain(source)


def _plain(source: Source) -> Iterator[bytes]:
    while data := source.read(CHUNK):
        yield data


def _gunzip(source: Source) -> Iterator[bytes]:
    """Every member of a gzip file (RFC 1952); zeros after the last one are padding."""
    data = source.read()
    size = READ
    while data:
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        yield from _member(source, member, data, size)
        data = member.unused_data or source.read(size)
        size = SMALL_READ
        if data and not data.strip(b"\0"):
            data = _after_padding(source)


def _member(source: Source, member: "igzip_lib.IgzipDecompressor", data: bytes, size: int) -> Iterator[bytes]:
    try:
        while True:
            if piece := member.decompress(data, CHUNK):
                yield piece
            if member.eof:
                return
            data = b""
            if member.needs_input and not (data := source.read(size)):
                raise InvalidArgument("the gzip stream is truncated")
    except _Damaged as error:
        raise InvalidArgument(f"the gzip stream is damaged: {error}") from error


def _after_padding(source: Source) -> bytes:
    while data := source.read():
        if data.strip(b"\0"):
            return data.lstrip(b"\0")
    return b""


def _unzstd(source: Source) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor().stream_reader(
        cast("IO[bytes]", source), read_size=READ, read_across_frames=True
    )
    try:
        while piece := reader.read(CHUNK):
            yield piece
    except zstandard.ZstdError as error:
        raise InvalidArgument(f"the zstd stream is damaged: {error}") from error


class Pipeline:
    """The uncompressed stream made by a thread; iterate it to its end, then ask for digests and size."""

    def __init__(self, source: Source, limits: Limits) -> None:
        self._source, self._limits = source, limits
        self._queue: Queue[bytes | BaseException | None] = Queue(AHEAD)
        self._hash = digests.hasher("sha256")
        self._stopped = False
        self.size = 0
        self._thread = Thread(target=self._run, name="corten-decompress", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[bytes]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def digest(self) -> str:
        """Of the uncompressed stream, once it was read to its end."""
        return f"sha256:{self._hash.hexdigest()}"

    def close(self) -> None:
        """Let the thread end, and wait for it."""
        self._stopped = True
        while self._thread.is_alive():
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.01)

    def _run(self) -> None:
        try:
            for piece in decompressed(self._source):
                self._hash.update(piece)
                self.size += len(piece)
                self._check()
                self._queue.put(piece)
                if self._stopped:
                    return
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error if isinstance(error, CortenError | OSError) else InvalidArgument(repr(error)))

    def _check(self) -> None:
        limits = self._limits
        if limits.max_bytes and self.size > limits.max_bytes:
            raise ResourceExhausted(f"the layer unpacks to more than max_unpacked_bytes = {limits.max_bytes}")
        if limits.max_ratio and self.size > max(limits.free, limits.max_ratio * self._source.count):
            ratio = self.size // max(self._source.count, 1)
            raise InvalidArgument(f"the layer unpacks to {ratio} times its size; max_ratio = {limits.max_ratio}")
