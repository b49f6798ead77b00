"""A namespace's view of the content store: blobs that all namespaces share on disk, and each sees only its own.

With the policy `shared`, a writer that states the digest of a blob which the backend has already needs to write
nothing: the blob becomes the namespace's own at commit. With `isolated` the bytes must be given, except where a
namespace that holds the blob is labelled `containerd.io/namespace.shareable=true`.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from corten import content_fields, digests
from corten import fieldpaths as masks
from corten import filters as filter_rules
from corten.api.events.content_pb2 import ContentDelete
from corten.contracts.content import ContentInfo, ContentReader, ContentStore, ContentWriter, IngestStatus
from corten.contracts.scope import Scope
from corten.errors import AlreadyExists, InvalidArgument, NotFound

from . import records, resources, rows, schema
from .common import Common
from .content_writer import NamespacedWriter, Opening
from .gc.nodes import INGEST, Node
from .records import IngestRecord
from .transactions import Reading, Writing

SHAREABLE = "containerd.io/namespace.shareable"
INGEST_LIFE = 24 * 3600 * 10**9
"""Nanoseconds that an ingest without a lease is kept, as in containerd."""


class NamespacedContent:
    """Fulfils `ContentStore` for one scope."""

    def __init__(self, common: Common, scope: Scope, backend: ContentStore, *, shared: bool) -> None:
        self._common = common
        self._scope = scope
        self._backend = backend
        self._shared = shared
        self._blobs = rows.blobs(scope.namespace)
        self._ingests = rows.ingests(scope.namespace)

    def info(self, digest: str) -> ContentInfo:
        digests.parse(digest)
        with self._common.store.read() as view:
            return self._blobs.require(view, digest)

    def update(self, info: ContentInfo, fieldpaths: Sequence[str] = ()) -> ContentInfo:
        digests.parse(info.digest)

        def work(txn: Writing) -> ContentInfo:
            old = self._blobs.require(txn, info.digest)
            labels = masks.merged_labels(old.labels, info.labels, fieldpaths, f"content {info.digest}")
            updated = replace(old, labels=labels, updated_at=time.time_ns())
            self._blobs.put(txn, info.digest, updated)
            return updated

        return self._common.store.write(work)

    def walk(self, filters: Sequence[str] = ()) -> Iterator[ContentInfo]:
        matches = filter_rules.compile(filters)
        for each in self._blobs.walk(self._common.store):
            if matches(partial(content_fields.of_info, each)):
                yield each

    def delete(self, digest: str) -> None:
        digests.parse(digest)

        def work(txn: Writing) -> None:
            self._blobs.require(txn, digest)
            resources.leave(txn, self._scope, resources.CONTENT, digest)
            remove_blob(txn, self._scope.namespace, digest)

        self._common.store.write(work, removes=True)
        self._common.leftovers.add("blobs", digest)
        self._common.publish(self._scope.namespace, "/content/delete", ContentDelete(digest=digest))

    def reader(self, digest: str) -> ContentReader:
        self.info(digest)
        return self._backend.reader(digest)

    def writer(self, ref: str, *, total: int = 0, expected: str = "", media_type: str = "") -> NamespacedWriter:
        if not ref:
            raise InvalidArgument("content: the ref of an ingest must not be empty")
        if expected:
            digests.parse(expected)
        pin = Node(INGEST, self._scope.namespace, ref)
        self._common.holds.pin(pin)
        try:
            with self._common.holds.alone(pin), self._common.holds.hold(("blobs", expected)):
                return self._open(ref, total, expected, media_type)
        except BaseException:
            self._common.holds.unpin(pin)
            raise

    def status(self, ref: str) -> IngestStatus:
        with self._common.store.read() as view:
            ingest = self._ingests.require(view, ref)
        return replace(self._backend.status(ingest.backend_ref), ref=ref)

    def statuses(self, filters: Sequence[str] = ()) -> list[IngestStatus]:
        matches = filter_rules.compile(filters)
        with self._common.store.read() as view:
            refs = {ingest.backend_ref: ref for ref, ingest in self._ingests.all(view)}
        if not refs:
            return []
        known = (replace(each, ref=refs[each.ref]) for each in self._backend.statuses() if each.ref in refs)
        return sorted((each for each in known if matches(partial(content_fields.of_status, each))), key=_by_ref)

    def abort(self, ref: str) -> None:
        with self._common.store.read() as view:
            ingest = self._ingests.require(view, ref)
        try:
            self._backend.abort(ingest.backend_ref)
        except NotFound:
            pass  # nothing was written, or the blob is shared

        def work(txn: Writing) -> None:
            remove_ingest(txn, self._scope.namespace, ref)
            resources.leave(txn, self._scope, resources.INGESTS, ref)

        self._common.store.write(work, removes=True)

    def _open(self, ref: str, total: int, expected: str, media_type: str) -> NamespacedWriter:
        size = self._size_to_share(expected, total)
        number = self._common.store.number()
        lost = bool(expected) and self._lost(expected)
        try:
            ingest = self._common.store.write(
                lambda txn: self._begin(txn, ref, expected, size is not None, number, lost=lost)
            )
        except AlreadyExists:
            if self._join_blob(expected):
                raise
            return self._open(ref, total, expected, media_type)
        self._common.alarm.note(ingest.expires_at or None)
        opening = Opening(
            self._common, self._scope, self._backend, ref, ingest.backend_ref, size or total, expected, media_type
        )
        if size is not None:
            return NamespacedWriter(opening, None)
        try:
            return NamespacedWriter(opening, self._backend_writer(ingest.backend_ref, total, expected if lost else ""))
        except BaseException:
            if ingest.number == number:
                self._common.store.write(lambda txn: remove_ingest(txn, self._scope.namespace, ref), vital=True)
            raise

    def _backend_writer(self, ref: str, total: int, expected: str) -> ContentWriter:
        """The backend is told what is expected only if it has no such blob: it would refuse, for another's sake."""
        try:
            return self._backend.writer(ref, total=total, expected=expected)
        except AlreadyExists:
            return self._backend.writer(ref, total=total)

    def _size_to_share(self, digest: str, total: int) -> int | None:
        """The size of a blob that is there and may be shared; None if the bytes have to be written."""
        if not digest or not (self._shared or self._shareable(digest)):
            return None
        try:
            size = self._backend.info(digest).size
        except NotFound:
            return None
        return size if total in (0, size) else None

    def _lost(self, digest: str) -> bool:
        """Whether the bytes are gone (by accident), so that they must be written again whatever the records say."""
        try:
            self._backend.info(digest)
        except NotFound:
            return True
        return False

    def _shareable(self, digest: str) -> bool:
        with self._common.store.read() as view:
            return any(_is_shareable(view, namespace) for namespace in blob_namespaces(view, digest))

    def _begin(self, txn: Writing, ref: str, expected: str, shares: bool, number: int, *, lost: bool) -> IngestRecord:
        """Record the ingest before the backend knows of it, so that it never has one that nobody knows."""
        namespace = self._scope.namespace
        if expected and not lost and self._blobs.get(txn, expected) is not None:
            raise AlreadyExists(f"content {expected}: it exists already")
        rows.touch(txn, namespace)
        resources.join(txn, self._scope, resources.INGESTS, ref)
        old = self._ingests.get(txn, ref) or IngestRecord(number, f"{namespace}/{number}/{ref}")
        expires_at = old.expires_at if self._scope.lease else time.time_ns() + INGEST_LIFE
        ingest = replace(old, expires_at=expires_at, expected=expected if shares else "")
        if old.expected and old.expected != ingest.expected:
            txn.delete(schema.ingest_user(old.expected, namespace, old.number))
        if ingest.expected:
            txn.put(schema.ingest_user(ingest.expected, namespace, ingest.number), b"")
        self._ingests.put(txn, ref, ingest)
        return ingest

    def _join_blob(self, digest: str) -> bool:
        """Who asks for a blob that is there gets it into the lease all the same; false if it was collected just now."""

        def work(txn: Writing) -> bool:
            if self._blobs.get(txn, digest) is None:
                return False
            resources.join(txn, self._scope, resources.CONTENT, digest)
            return True

        return not self._scope.lease or self._common.store.write(work)


def remove_blob(txn: Writing, namespace: str, digest: str) -> None:
    """Take a blob out of a namespace."""
    rows.blobs(namespace).delete(txn, digest)
    txn.delete(schema.blob_user(digest, namespace))


def remove_ingest(txn: Writing, namespace: str, ref: str) -> IngestRecord | None:
    """Take an ingest out of a namespace; returns what it was."""
    ingest = rows.ingests(namespace).get(txn, ref)
    if ingest is not None:
        rows.ingests(namespace).delete(txn, ref)
        if ingest.expected:
            txn.delete(schema.ingest_user(ingest.expected, namespace, ingest.number))
    return ingest


def blob_namespaces(view: Reading, digest: str) -> Iterator[str]:
    """The namespaces that have a blob."""
    head = schema.blob_users(digest)
    for key, _ in view.entries(head, head):
        namespace, _, rest = key[len(head) :].partition(b"\x00")
        if rest == schema.BLOB:
            yield str(namespace, "ascii")


def _is_shareable(view: Reading, namespace: str) -> bool:
    value = view.get(schema.namespace_key(namespace)) or b""
    return records.decode_labels("", value).get(SHAREABLE) == "true"


def _by_ref(status: IngestStatus) -> bytes:
    return status.ref.encode()
