"""Removing from the backends what no record speaks for: blobs, ingests and snapshots without users.

Usually only what lost its last record is looked at. The first time after a start, each backend is compared as a whole,
because a crash between a backend and the store leaves things that nobody noted. Each thing is claimed before it is
looked up and removed, so that nothing in progress is touched, and nobody begins to use what is on its way out.
"""

import logging
from collections.abc import Callable, Iterable, Mapping

from corten.contracts.content import ContentStore
from corten.contracts.snapshots import Cleaner, Snapshotter
from corten.errors import CortenError, FailedPrecondition, NotFound, Unimplemented

from corten_metadata import rows, schema
from corten_metadata.common import Common
from corten_metadata.content import remove_ingest
from corten_metadata.namespaces import every
from corten_metadata.transactions import Reading, Writing

from .nodes import INGEST, Node

log = logging.getLogger(__name__)

BLOBS = "blobs"
INGESTS = "ingests"


class Cleanup:
    """Runs after each collection, outside of any transaction."""

    def __init__(self, common: Common, content: ContentStore, snapshotters: Mapping[str, Snapshotter]) -> None:
        self._common = common
        self._content = content
        self._snapshotters = snapshotters

    def run(self) -> None:
        """A backend that fails keeps its leftovers for the next time, and does not stop the others."""
        self._guarded(BLOBS, self._blobs)
        self._guarded(INGESTS, self._ingests)
        for name, snapshotter in self._snapshotters.items():
            self._guarded(f"snapshots/{name}", lambda name=name, each=snapshotter: self._snapshots(name, each))  # type: ignore[misc]

    def _guarded(self, backend: str, work: Callable[[], None]) -> None:
        try:
            work()
        except CortenError as error:
            log.warning("gc: cleaning up %s failed and is tried again at the next collection: %s", backend, error)

    def _blobs(self) -> None:
        for digest in self._candidates(BLOBS, lambda: (info.digest for info in self._content.walk())):
            self._remove(BLOBS, digest, _blob_used, self._content.delete)

    def _ingests(self) -> None:
        first = self._common.leftovers.unchecked(INGESTS)
        for ref in self._candidates(INGESTS, lambda: (each.ref for each in self._content.statuses())):
            self._remove(INGESTS, ref, _ingest_used, self._content.abort)
        if first:
            self._drop_empty_ingests()

    def _snapshots(self, name: str, snapshotter: Snapshotter) -> None:
        backend = f"snapshots/{name}"
        left = sorted(
            self._candidates(backend, lambda: (info.name for info in snapshotter.walk())), key=_number, reverse=True
        )
        if not left:
            return
        count = len(left) + 1
        while left and len(left) < count:
            count = len(left)
            left = [
                key for key in left
                if not self._remove(backend, key, lambda view, key: _snapshot_used(view, name, key), snapshotter.remove)
            ]  # fmt: skip
        self._common.leftovers.add(backend, *left)
        if isinstance(snapshotter, Cleaner):
            try:
                snapshotter.cleanup()
            except Unimplemented:
                pass  # a proxy whose other side cannot do it

    def _candidates(self, backend: str, everything: Callable[[], Iterable[str]]) -> set[str]:
        """What may have to go; a whole comparison once, to find what a crash left."""
        leftovers = self._common.leftovers
        if not leftovers.unchecked(backend):
            return leftovers.take(backend)
        listed = set(everything())
        leftovers.checked(backend)
        return listed | leftovers.take(backend)

    def _remove(
        self, backend: str, thing: str, used: Callable[[Reading, str], bool], delete: Callable[[str], None]
    ) -> bool:
        """Remove a thing that nobody uses; false if it must be tried again because something depends on it."""
        with self._common.holds.claim((backend, thing)) as free:
            if not free:
                self._common.leftovers.add(backend, thing)
                return True
            with self._common.store.read() as view:
                if used(view, thing):
                    return True
            return self._delete(backend, thing, delete)

    def _delete(self, backend: str, thing: str, delete: Callable[[str], None]) -> bool:
        try:
            delete(thing)
        except NotFound:
            pass  # it is gone already
        except FailedPrecondition:
            return False
        except CortenError as error:
            log.warning("gc: %s in %s could not be removed and is tried again later: %s", thing, backend, error)
            self._common.leftovers.add(backend, thing)
        return True

    def _drop_empty_ingests(self) -> None:
        """Remove records of ingests that the backend never heard of: a crash came between."""
        with self._common.store.read() as view:
            listed = [(name, ref, record) for name in every(view) for ref, record in rows.ingests(name).all(view)]
        for namespace, ref, record in listed:
            if not record.expected and self._unknown(record.backend_ref):
                self._common.store.write(
                    lambda txn, namespace=namespace, ref=ref, record=record: self._drop(  # type: ignore[misc]
                        txn, Node(INGEST, namespace, ref), record.backend_ref
                    ),
                    removes=True, alone=True,
                )  # fmt: skip

    def _drop(self, txn: Writing, node: Node, backend_ref: str) -> None:
        record = rows.ingests(node.namespace).get(txn, node.key)
        if record is not None and record.backend_ref == backend_ref and node not in self._common.holds.pins:
            remove_ingest(txn, node.namespace, node.key)

    def _unknown(self, backend_ref: str) -> bool:
        try:
            self._content.status(backend_ref)
        except NotFound:
            return True
        return False


def _blob_used(view: Reading, digest: str) -> bool:
    return view.any(schema.blob_users(digest))


def _ingest_used(view: Reading, backend_ref: str) -> bool:
    """Whether the namespace that the ref names has the ingest, and under this very ref."""
    namespace, _, rest = backend_ref.partition("/")
    ref = rest.partition("/")[2]
    record = rows.ingests(namespace).get(view, ref) if ref else None
    return record is not None and record.backend_ref == backend_ref


def _snapshot_used(view: Reading, snapshotter: str, backend_key: str) -> bool:
    return view.any(schema.snapshot_users(snapshotter, backend_key))


def _number(backend_key: str) -> int:
    """The number in `NAMESPACE/NUMBER/KEY`; children have greater ones than their parents."""
    number = backend_key.partition("/")[2].partition("/")[0]
    return int(number) if number.isdecimal() else 0
