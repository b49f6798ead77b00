"""A content store in a process of its own, as a plugin here: containerd's Content service behind Corten's contract.

    store = ProxyContent("/run/far.sock", "far")
    await store.start()                      # on the event loop; what follows is called in pools
    with store.writer("ref") as writer:
        writer.write(b"abc")
        digest = writer.commit()

Everything is in one namespace of that process, `NAMESPACE`, which has to be left to one Corten alone: what no namespace
here refers to is collected there. Labels stay with the metadata plugin, as for the local store; blobs get that of a
root, so that a process that collects by itself keeps them.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from corten import digests
from corten.contracts.content import ContentInfo, ContentReader, ContentWriter, IngestStatus
from corten.errors import (
    FailedPrecondition,
    InvalidArgument,
    OutOfRange,
    Unavailable,
    Unimplemented,
    mapped,
)

from .content import BlobWriter, Content
from .proxy import Connection

NAMESPACE = "corten"
ROOT = "containerd.io/gc.root"
SMALL = 1 << 20
"""Bytes up to which a blob is fetched whole when it is opened."""


class ProxyContent:
    """Contract `ContentStore`, without labels; but a reader outlives the deletion of small blobs only (`SMALL`)."""

    def __init__(self, address: str, name: str) -> None:
        self._connection = Connection(address, f"content store {name}")

    def __repr__(self) -> str:
        return f"ProxyContent({self._connection!r})"

    async def start(self) -> None:
        await self._connection.start()

    def close(self) -> None:
        self._connection.close()

    def info(self, digest: str) -> ContentInfo:
        digests.parse(digest)
        return replace(self._connection.run(self._far().info(digest)), labels={})

    def update(self, info: ContentInfo, fieldpaths: Sequence[str] = ()) -> ContentInfo:
        self.info(info.digest)
        raise Unimplemented(f"content {info.digest}: labels belong to the metadata plugin, not to {self._connection!r}")

    def walk(self, filters: Sequence[str] = ()) -> Iterator[ContentInfo]:
        pages = self._far().pages(filters)
        try:
            while (page := self._connection.run(anext(pages, None))) is not None:
                yield from (replace(info, labels={}) for info in page)
        finally:
            self._connection.run(pages.aclose())

    def delete(self, digest: str) -> None:
        digests.parse(digest)
        self._connection.run(self._far().delete(digest))

    def reader(self, digest: str) -> ContentReader:
        return _Reader(self._connection, digest, self.info(digest).size)

    def writer(self, ref: str, *, total: int = 0, expected: str = "", media_type: str = "") -> ContentWriter:
        _check(ref)
        if expected:
            digests.parse(expected)
        far = self._connection.run(self._far().open_writer(ref, total=total, expected=expected))
        return _Writer(self._connection, far, expected)

    def status(self, ref: str) -> IngestStatus:
        return self._connection.run(self._far().status(ref))

    def statuses(self, filters: Sequence[str] = ()) -> list[IngestStatus]:
        return self._connection.run(self._far().statuses(filters))

    def abort(self, ref: str) -> None:
        self._connection.run(self._far().abort(ref))

    def _far(self) -> Content:
        return _content(self._connection)


def _content(connection: Connection) -> Content:
    return Content(connection.calls(NAMESPACE))


def _check(ref: str) -> None:
    if not ref:
        raise InvalidArgument("ingest: the ref must not be empty")
    with mapped("ingest: the ref is not valid UTF-8", {UnicodeEncodeError: InvalidArgument}):
        ref.encode()


class _Reader:
    """By ranges, each a call; there is no file."""

    def __init__(self, connection: Connection, digest: str, size: int) -> None:
        self._connection = connection
        self._digest = digest
        self._size = size
        self._whole = self._fetched(0, size) if 0 < size <= SMALL else None

    @property
    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        if not 0 <= offset <= self._size:
            raise OutOfRange(f"content {self._digest}: offset {offset} lies outside of its {self._size} bytes")
        wanted = min(length, self._size - offset)
        if wanted <= 0:
            return b""
        return self._fetched(offset, wanted) if self._whole is None else self._whole[offset : offset + wanted]

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        self._whole = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fetched(self, offset: int, length: int) -> bytes:
        return self._connection.run(self._read(offset, length))

    async def _read(self, offset: int, length: int) -> bytes:
        data = bytearray()
        async for piece in _content(self._connection).read(self._digest, offset, length):
            data += piece
        if len(data) != length:
            raise Unavailable(f"content {self._digest}: {self._connection!r} gave {len(data)} of {length} bytes")
        return bytes(data)


class _Writer:
    """One stream; where it stands is known here, so that asking waits for nobody."""

    def __init__(self, connection: Connection, far: BlobWriter, expected: str) -> None:
        self._connection = connection
        self._far = far
        stat = far.answer
        self._expected = expected
        self._total = int(stat.total)
        self._started = stat.started_at.ToNanoseconds()
        self._updated = stat.updated_at.ToNanoseconds() or self._started
        self._open = True

    def __repr__(self) -> str:
        return f"_Writer({self._far!r}, {'open' if self._open else 'closed'})"

    def write(self, data: bytes) -> int:
        self._run("write", self._far.write, data)
        return len(data)

    def truncate(self, size: int) -> None:
        if size:
            raise Unimplemented(f"{self._far!r}: it can be truncated to 0 only, not to {size}")
        self._run("truncate", self._far.truncate)

    def digest(self) -> str:
        return str(self._far.answer.digest)

    def status(self) -> IngestStatus:
        far = self._far
        return IngestStatus(far.ref, far.offset, self._total, self._expected, self._started, self._updated)

    def commit(self, size: int = 0, expected: str = "", labels: Mapping[str, str] | None = None) -> str:
        if expected:
            digests.parse(expected)
        try:
            return str(self._run("commit", self._far.commit, size, expected, {ROOT: "corten"}))
        finally:
            self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._connection.run(self._far.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, action: str, call: Any, *args: Any) -> Any:
        if not self._open:
            raise FailedPrecondition(f"{self._far!r}: cannot {action}: the writer is closed (open it again)")
        self._updated = time.time_ns()
        return self._connection.run(call(*args))
