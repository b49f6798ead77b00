"""A layer's bytes on their way to the tar reader: read, hashed, decompressed, hashed again, within limits.

One thread reads and decompresses while the caller writes files; digests are made by whichever of them would wait.
The decompressors, hashlib and write(2) work without the GIL.
"""

import os
import sys
from collections.abc import Iterator
from threading import Thread
from typing import IO, cast

import zstandard
from corten.errors import CortenError, InvalidArgument, ResourceExhausted

from .exchange import Limits
from .hashing import Channel, Hashing
from .inflating import DAMAGED, SAMPLE, reader
from .media_types import detected

assert sys.platform != "win32"

READ = 512 << 10
CHUNK = 512 << 10
"""Bytes of a piece of the uncompressed stream: less, and the threads change places more often; more, and a piece is not
in the cache any more when it is hashed and written."""


class Source:
    """The compressed bytes of a descriptor, counted and hashed as they are read.

    `more` is the pipe of a file that still grows (`corten.contracts.diff.Arriving`). No algorithm: nothing is hashed.
    """

    def __init__(self, fd: int, more: int = -1, algorithm: str = "") -> None:
        self._fd = fd
        self._more = more
        self.hashing = (Hashing(algorithm),) if algorithm else ()
        """What makes the digest of what is read."""
        self._start = b""
        self.count = 0

    def start(self, size: int = 16) -> bytes:
        """The first `size` bytes, or what there is, which are read again afterwards."""
        while len(self._start) < size and (data := self._read(size - len(self._start))):
            self._start += data
        return self._start

    def read(self, size: int = READ) -> bytes:
        """Up to `size` bytes, none at the end."""
        if self._start:
            start, self._start = self._start[:size], self._start[size:]
            return start
        return self._read(size)

    def readinto(self, room: memoryview) -> int:
        """As `read`, into `room`; how many bytes that are."""
        if not self._start and not self.hashing:
            return self._read_into(room)
        data = self.read(len(room))
        room[: len(data)] = data
        return len(data)

    @property
    def ended(self) -> bool:
        """Whether the file grows no more."""
        return self._more < 0

    def digest(self) -> str:
        """Of all bytes, once they were read; empty if they are not hashed."""
        return "".join(hashing.digest() for hashing in self.hashing)

    def drain(self) -> None:
        """Read to the end."""
        while self.read(CHUNK):
            pass

    def _read(self, size: int) -> bytes:
        data = os.read(self._fd, size)
        while not data and self._more >= 0:
            self._wait()
            data = os.read(self._fd, size)
        for hashing in self.hashing:
            hashing.add(data)
        self.count += len(data)
        return data

    def _read_into(self, room: memoryview) -> int:
        count = os.readv(self._fd, [room])
        while not count and self._more >= 0:
            self._wait()
            count = os.readv(self._fd, [room])
        self.count += count
        return count

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
    members = reader(source.start(SAMPLE), cast("IO[bytes]", source))
    try:
        while piece := members.read1(CHUNK):
            yield piece
    except EOFError as error:
        raise InvalidArgument("the gzip stream is truncated") from error
    except DAMAGED as error:
        raise InvalidArgument(f"the gzip stream is damaged: {error}") from error


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
        self._hashing = Hashing("sha256")
        self._pieces: Channel[bytes | BaseException] = Channel((self._hashing, *source.hashing))
        self._stopped = False
        self.size = 0
        self._thread = Thread(target=self._run, name="corten-decompress", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def digest(self) -> str:
        """Of the uncompressed stream, once it was read to its end."""
        return self._hashing.digest()

    def close(self) -> None:
        """Let the thread end, and wait for it."""
        self._stopped = True
        self._pieces.open()
        self._thread.join()

    def _run(self) -> None:
        try:
            for piece in decompressed(self._source):
                self._hashing.add(piece)
                self.size += len(piece)
                self._check()
                self._pieces.put(piece)
                if self._stopped:
                    return
            self._pieces.put(None)
        except BaseException as error:
            self._pieces.put(error if isinstance(error, CortenError | OSError) else InvalidArgument(repr(error)))

    def _check(self) -> None:
        limits = self._limits
        if limits.max_bytes and self.size > limits.max_bytes:
            raise ResourceExhausted(f"the layer unpacks to more than max_unpacked_bytes = {limits.max_bytes}")
        if limits.max_ratio and self.size > max(limits.free, limits.max_ratio * self._source.count):
            ratio = self.size // max(self._source.count, 1)
            raise InvalidArgument(f"the layer unpacks to {ratio} times its size; max_ratio = {limits.max_ratio}")
