"""A content store in memory that keeps the whole contract, labels included; for tests of what uses one."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Self

from corten import content_fields, digests
from corten import fieldpaths as field_masks
from corten import filters as filter_rules
from corten import labels as label_rules
from corten.contracts.content import ContentInfo, ContentReader, ContentWriter, IngestStatus
from corten.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    mapped,
)


@dataclass(slots=True)
class _Ingest:
    status: IngestStatus
    data: bytearray = field(default_factory=bytearray)
    held: bool = False


class MemoryContent:
    """A `ContentStore`; any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._blobs: dict[str, tuple[ContentInfo, bytes]] = {}
        self._ingests: dict[str, _Ingest] = {}
        self.room: int | None = None
        """Bytes that an ingest may have, as if the disk were full then; None: any number."""

    def __repr__(self) -> str:
        return f"MemoryContent(blobs={len(self._blobs)}, ingests={sorted(self._ingests)})"

    def add(self, data: bytes, labels: Mapping[str, str] | None = None, algorithm: str = "sha256") -> str:
        """Put a blob there, for the set-up of a test; returns its digest."""
        digest = digests.of(data, algorithm)
        now = time.time_ns()
        self._blobs[digest] = (ContentInfo(digest, len(data), now, now, dict(labels or {})), data)
        return digest

    def data(self, digest: str) -> bytes:
        """The bytes of a blob, for the assertions of a test."""
        return self._blob(digest)[1]

    def info(self, digest: str) -> ContentInfo:
        return self._blob(digest)[0]

    def update(self, info: ContentInfo, fieldpaths: Sequence[str] = ()) -> ContentInfo:
        with self._lock:
            old, data = self._blob(info.digest)
            labels = field_masks.merged_labels(old.labels, info.labels, fieldpaths, f"content {info.digest}")
            new = replace(old, labels=labels, updated_at=time.time_ns())
            self._blobs[info.digest] = (new, data)
            return new

    def walk(self, filters: Sequence[str] = ()) -> Iterator[ContentInfo]:
        matches = filter_rules.compile(filters)
        with self._lock:
            infos = [self._blobs[digest][0] for digest in sorted(self._blobs)]
        return (info for info in infos if matches(partial(content_fields.of_info, info)))

    def delete(self, digest: str) -> None:
        with self._lock:
            self._blob(digest)
            del self._blobs[digest]

    def reader(self, digest: str) -> ContentReader:
        return _Reader(self._blob(digest)[1])

    def writer(self, ref: str, *, total: int = 0, expected: str = "", media_type: str = "") -> ContentWriter:
        with self._lock:
            self._check_new(ref, expected)
            ingest = self._ingests.get(ref)
            if ingest and ingest.held:
                raise Unavailable(f"ingest {ref!r}: another writer holds it")
            if ingest is None or (total and ingest.status.total not in (0, total)):
                now = time.time_ns()
                ingest = self._ingests[ref] = _Ingest(IngestStatus(ref, 0, total, expected, now, now))
            ingest.held = True
            return _Writer(self, ingest)

    def status(self, ref: str) -> IngestStatus:
        with self._lock:
            ingest = self._ingest(ref)
            return replace(ingest.status, offset=len(ingest.data))

    def statuses(self, filters: Sequence[str] = ()) -> list[IngestStatus]:
        matches = filter_rules.compile(filters)
        with self._lock:
            all = [self.status(ref) for ref in sorted(self._ingests)]
        return [status for status in all if matches(partial(content_fields.of_status, status))]

    def abort(self, ref: str) -> None:
        with self._lock:
            if self._ingest(ref).held:
                raise Unavailable(f"ingest {ref!r}: a writer holds it")
            del self._ingests[ref]

    def _blob(self, digest: str) -> tuple[ContentInfo, bytes]:
        digests.parse(digest)
        try:
            return self._blobs[digest]
        except KeyError:
            raise NotFound(f"content {digest}: not found") from None

    def _ingest(self, ref: str) -> _Ingest:
        try:
            return self._ingests[ref]
        except KeyError:
            raise NotFound(f"ingest {ref!r}: not found") from None

    def _check_new(self, ref: str, expected: str) -> None:
        if not ref:
            raise InvalidArgument("ingest: the ref must not be empty")
        with mapped("ingest: the ref is not valid UTF-8", {UnicodeEncodeError: InvalidArgument}):
            ref.encode()
        if expected:
            digests.parse(expected)
            if expected in self._blobs:
                raise AlreadyExists(f"content {expected}: already exists")

    def _commit(self, ingest: _Ingest, digest: str, labels: Mapping[str, str]) -> None:
        label_rules.validate(labels)
        with self._lock:
            del self._ingests[ingest.status.ref]
            if digest in self._blobs:
                raise AlreadyExists(f"content {digest}: already exists")
            self.add(bytes(ingest.data), label_rules.kept(labels), digest.partition(":")[0])


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def read_at(self, offset: int, length: int) -> bytes:
        if not 0 <= offset <= len(self._data):
            raise OutOfRange(f"content: offset {offset} lies outside of its {len(self._data)} bytes")
        return self._data[offset : offset + length]

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        """There is nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Writer:
    def __init__(self, store: MemoryContent, ingest: _Ingest) -> None:
        self._store = store
        self._ingest = ingest
        self._open = True

    def write(self, data: bytes) -> int:
        self._check_open()
        ingest, room = self._ingest, self._store.room
        if room is not None and len(ingest.data) + len(data) > room:
            raise ResourceExhausted(f"ingest {ingest.status.ref!r}: no more than {room} bytes")
        ingest.data += data
        self._ingest.status = replace(self._ingest.status, updated_at=time.time_ns())
        return len(data)

    def truncate(self, size: int) -> None:
        self._check_open()
        if size != 0:
            raise Unimplemented(f"ingest {self._ingest.status.ref!r}: can be truncated to 0 only, not to {size}")
        self._ingest.data.clear()

    def digest(self) -> str:
        expected = self._ingest.status.expected
        return digests.of(self._ingest.data, expected.partition(":")[0] or "sha256")

    def status(self) -> IngestStatus:
        return replace(self._ingest.status, offset=len(self._ingest.data))

    def commit(self, size: int = 0, expected: str = "", labels: Mapping[str, str] | None = None) -> str:
        self._check_open()
        algorithm = digests.parse(expected)[0] if expected else self.digest().partition(":")[0]
        actual = digests.of(self._ingest.data, algorithm)
        self.close()
        if size and size != len(self._ingest.data):
            raise FailedPrecondition(f"commit: {len(self._ingest.data)} bytes were written, not {size}")
        if expected and expected != actual:
            raise FailedPrecondition(f"commit: the digest of what was written is {actual}, not {expected}")
        self._store._commit(self._ingest, actual, labels or {})
        return actual

    def close(self) -> None:
        if self._open:
            self._open = False
            self._ingest.held = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if not self._open:
            raise FailedPrecondition(f"ingest {self._ingest.status.ref!r}: the writer is closed")
