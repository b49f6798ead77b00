"""The writer of a namespace: it writes to the backend, or to nothing while the blob is shared."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from corten import labels as label_rules
from corten.api.events.content_pb2 import ContentCreate
from corten.contracts.content import ContentInfo, ContentStore, ContentWriter, Growing, IngestStatus
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, FailedPrecondition, NotFound, Unimplemented
from corten.values import dataclass

from . import resources, rows, schema
from .common import Common
from .gc.nodes import INGEST, Node
from .transactions import Writing

COPY = 1 << 20
"""Bytes copied at once when a shared blob turns out to be the beginning of another."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a writer was opened with; `total` is the size of the blob where that is shared."""

    common: Common
    scope: Scope
    backend: ContentStore
    ref: str
    backend_ref: str
    total: int
    expected: str
    media_type: str


class NamespacedWriter:
    """Fulfils `ContentWriter`; without `inner` the blob that is expected is there already."""

    def __init__(self, opening: Opening, inner: ContentWriter | None) -> None:
        self._opening = opening
        self._inner = inner
        self._started = time.time_ns()
        self._closed = False

    def __repr__(self) -> str:
        return f"NamespacedWriter({self._opening.ref!r}, shared={self._inner is None}, closed={self._closed})"

    def write(self, data: bytes) -> int:
        if not data:
            return 0
        return self._unshared(self._opening.total).write(data)

    def truncate(self, size: int) -> None:
        if size:
            raise Unimplemented(f"ingest {rows.shown(self._opening.ref)}: it can only be truncated to 0, not {size}")
        self._unshared(0).truncate(0)

    def fileno(self) -> int:
        """Of `Growing`: the backend's file; -1 while the blob is shared."""
        inner: object = self._inner
        return inner.fileno() if isinstance(inner, Growing) else -1

    def digest(self) -> str:
        return self._opening.expected if self._inner is None else self._inner.digest()

    def status(self) -> IngestStatus:
        opening = self._opening
        if self._inner is None:
            return IngestStatus(
                opening.ref, opening.total, opening.total, opening.expected, self._started, self._started
            )
        status = self._inner.status()
        return IngestStatus(
            opening.ref, status.offset, status.total, opening.expected, status.started_at, status.updated_at
        )

    def commit(self, size: int = 0, expected: str = "", labels: Mapping[str, str] | None = None) -> str:
        """As the contract says. The blob is durable in the backend before it is recorded here."""
        label_rules.validate(labels or {})
        held = ("blobs", expected or self.digest())
        with self._opening.common.holds.hold(held):
            info = self._finish(size, expected, label_rules.kept(labels or {}))
            fresh = self._opening.common.store.write(lambda txn: self._record(txn, info))
        self.close()
        if not fresh:
            raise AlreadyExists(f"content {info.digest}: it exists already")
        event = ContentCreate(digest=info.digest, size=info.size, mediaType=self._opening.media_type)
        self._opening.common.publish(self._opening.scope.namespace, "/content/create", event)
        return info.digest

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._opening.common.holds.unpin(Node(INGEST, self._opening.scope.namespace, self._opening.ref))
        if self._inner is not None:
            self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _finish(self, size: int, expected: str, labels: Mapping[str, str]) -> ContentInfo:
        """Have the bytes in the backend, checked; `labels` are the namespace's and stay here."""
        digest, length = self._check_shared(size, expected) if self._inner is None else self._commit(size, expected)
        now = time.time_ns()
        return ContentInfo(digest, length, now, now, labels)

    def _check_shared(self, size: int, expected: str) -> tuple[str, int]:
        opening = self._opening
        if size not in (0, opening.total):
            raise FailedPrecondition(
                f"ingest {rows.shown(opening.ref)}: the blob has {opening.total} bytes, not {size}"
            )
        if expected not in ("", opening.expected):
            raise FailedPrecondition(
                f"ingest {rows.shown(opening.ref)}: the blob is {opening.expected}, not {expected}"
            )
        return opening.expected, opening.total

    def _commit(self, size: int, expected: str) -> tuple[str, int]:
        inner = self._inner
        assert inner is not None
        length, digest = inner.status().offset, expected or inner.digest()
        if size not in (0, length):
            raise FailedPrecondition(f"ingest {rows.shown(self._opening.ref)}: it has {length} bytes, not {size}")
        try:
            digest = inner.commit(size, expected)
        except AlreadyExists:
            pass  # for another namespace; here it may be new
        return digest, length

    def _record(self, txn: Writing, info: ContentInfo) -> bool:
        """Make the blob the namespace's; false if it was already, which ends the ingest all the same."""
        opening = self._opening
        namespace = opening.scope.namespace
        ingest = rows.ingests(namespace).get(txn, opening.ref)
        if ingest is not None and ingest.backend_ref == opening.backend_ref:
            rows.ingests(namespace).delete(txn, opening.ref)
            if ingest.expected:
                txn.delete(schema.ingest_user(ingest.expected, namespace, ingest.number))
        resources.leave(txn, opening.scope, resources.INGESTS, opening.ref)
        resources.join(txn, opening.scope, resources.CONTENT, info.digest)
        if rows.blobs(namespace).get(txn, info.digest) is not None:
            return False
        rows.touch(txn, namespace)
        rows.blobs(namespace).put(txn, info.digest, info)
        txn.put(schema.blob_user(info.digest, namespace), b"")
        return True

    def _unshared(self, keep: int) -> ContentWriter:
        """The backend's writer; one that was not needed until now begins with `keep` bytes of the shared blob."""
        if self._inner is None:
            opening = self._opening
            inner = opening.backend.writer(opening.backend_ref, total=keep)
            try:
                self._copy(inner, keep)
            except BaseException:
                inner.close()
                raise
            self._inner = inner
        return self._inner

    def _copy(self, inner: ContentWriter, size: int) -> None:
        if not size:
            return
        with self._opening.backend.reader(self._opening.expected) as reader:
            for offset in range(0, size, COPY):
                data = reader.read_at(offset, min(COPY, size - offset))
                if not data:
                    raise NotFound(f"content {self._opening.expected}: it ends at {offset} of {size} bytes")
                inner.write(data)
