"""Contract of a content store: immutable blobs by digest, and the ingests that become them.

Terms. A *blob* is bytes under their digest (`sha256:…` or `sha512:…`). An *ingest* is a blob in the making, under a
*ref* that the writer chose; there is one writer per ref at a time. A writer that is closed without commit leaves its
ingest, which can be resumed at its offset by whoever opens the same ref, until someone aborts it.

Life cycle: `writer(ref)` → `write` … → `commit` → the blob is readable and the ingest gone.

    with store.writer("layer-1", total=3, expected=digest) as writer:
        writer.write(b"abc")
        writer.commit(3, digest, labels={})
    with store.reader(digest) as reader:
        assert reader.read_at(0, 3) == b"abc"

All methods block; the kernel calls them in the pool `content`. Times are nanoseconds since the epoch.
`corten.testing.content` is the conformance suite.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from corten.values import dataclass


@dataclass(frozen=True, slots=True)
class ContentInfo:
    """A committed blob. `labels` belong to the namespace that looks."""

    digest: str
    size: int = 0
    created_at: int = 0
    updated_at: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IngestStatus:
    """An ingest: `offset` bytes are there of `total` (0: unknown), to become `expected` (empty: unknown)."""

    ref: str
    offset: int = 0
    total: int = 0
    expected: str = ""
    started_at: int = 0
    updated_at: int = 0


class ContentReader(Protocol):
    """An open blob; any number may read at once, and a reader outlives the blob's deletion."""

    @property
    def size(self) -> int: ...
    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes at `offset`; fewer only at the end. Raises OutOfRange past the end."""
        ...

    def fileno(self) -> int:
        """A descriptor of a regular file with just the blob's bytes, or -1 where there is none."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Vouching(Protocol):
    """What a reader has in addition if its store can tell that the digest need not be made again."""

    def vouched(self) -> bool:
        """Whether the store made the digest of these very bytes some minutes ago at most."""
        ...


class ContentWriter(Protocol):
    """The one writer of a ref; closing it frees the ref."""

    def write(self, data: bytes) -> int:
        """Append; returns the number of bytes, all of them."""
        ...

    def truncate(self, size: int) -> None:
        """Drop what lies beyond `size`. Raises Unimplemented for any size but 0."""
        ...

    def digest(self) -> str:
        """The digest of the bytes so far: by the algorithm expected when it was opened, else sha256."""
        ...

    def status(self) -> IngestStatus: ...
    def commit(self, size: int = 0, expected: str = "", labels: Mapping[str, str] | None = None) -> str:
        """Make the blob durable and visible; returns its digest.

        `size` 0 and `expected` empty check nothing. Raises FailedPrecondition when size or digest differ from what was
        written, AlreadyExists when the blob is there already (the ingest is then removed).
        """
        ...

    def close(self) -> None:
        """Free the ref and keep the ingest; harmless when called twice or after commit."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Growing(Protocol):
    """What a writer has in addition if others may read what it has written before it is committed."""

    def fileno(self) -> int:
        """A descriptor of a regular file to which the bytes are appended, or -1 where there is none (now)."""
        ...


class ContentStore(Protocol):
    """Blobs and ingests; a plugin stores them for all, the metadata plugin gives each namespace its view."""

    def info(self, digest: str) -> ContentInfo:
        """Raises NotFound, InvalidArgument for a malformed digest."""
        ...

    def update(self, info: ContentInfo, fieldpaths: Sequence[str] = ()) -> ContentInfo:
        """Replace labels: all with no fieldpaths or `labels`, one with `labels.KEY`.

        Raises NotFound, and InvalidArgument for any other path. A backend without labels raises Unimplemented.
        """
        ...

    def walk(self, filters: Sequence[str] = ()) -> Iterator[ContentInfo]:
        """The blobs that match one of the filters (all when there are none), in the order of their digests."""
        ...

    def delete(self, digest: str) -> None:
        """Raises NotFound."""
        ...

    def reader(self, digest: str) -> ContentReader:
        """Raises NotFound."""
        ...

    def writer(self, ref: str, *, total: int = 0, expected: str = "", media_type: str = "") -> ContentWriter:
        """Open or resume the ingest of `ref`; `media_type` is for the event alone, where it is known.

        One with another `total` is begun anew. Raises Unavailable while another writer holds the ref, AlreadyExists
        when `expected` is there already, InvalidArgument for an empty ref or a malformed digest.
        """
        ...

    def status(self, ref: str) -> IngestStatus:
        """Raises NotFound."""
        ...

    def statuses(self, filters: Sequence[str] = ()) -> list[IngestStatus]:
        """The ingests under way that match."""
        ...

    def abort(self, ref: str) -> None:
        """Remove an ingest and its bytes. Raises NotFound; Unavailable while a writer holds it."""
        ...
