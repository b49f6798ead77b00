"""Namespaces: made by name, or by the first object in them."""

from collections.abc import Iterator, Sequence

from corten import fieldpaths as masks
from corten import labels as label_rules
from corten.api.events.namespace_pb2 import NamespaceCreate, NamespaceDelete, NamespaceUpdate
from corten.contracts.objects import Namespace
from corten.errors import AlreadyExists, FailedPrecondition, NotFound

from . import names, records, schema
from .common import Common
from .transactions import Reading, Writing

_CONTENTS = ((schema.IMAGE, "images"), (schema.BLOB, "blobs"), (schema.CONTAINER, "containers"))
_SANDBOXES = (schema.SANDBOX, "sandboxes")


class Namespaces:
    """Fulfils `NamespaceStore`."""

    def __init__(self, common: Common) -> None:
        self._common = common

    def create(self, namespace: Namespace) -> Namespace:
        label_rules.validate(namespace.labels)
        key = schema.namespace_key(namespace.name)
        kept = label_rules.kept(namespace.labels)

        def work(txn: Writing) -> None:
            if txn.get(key) is not None:
                raise AlreadyExists(f"namespace {namespace.name!r}: it exists already")
            txn.put(key, records.encode_labels(kept))

        self._common.store.write(work)
        self._common.publish(namespace.name, "/namespaces/create", NamespaceCreate(name=namespace.name, labels=kept))
        return Namespace(namespace.name, kept)

    def get(self, name: str) -> Namespace:
        key = schema.namespace_key(name)
        with self._common.store.read() as view:
            return Namespace(name, _labels(view, key))

    def update(self, namespace: Namespace, fieldpaths: Sequence[str] = ()) -> Namespace:
        key = schema.namespace_key(namespace.name)
        what = f"namespace {namespace.name!r}"

        def work(txn: Writing) -> dict[str, str]:
            merged = masks.merged_labels(_labels(txn, key), namespace.labels, fieldpaths, what)
            txn.put(key, records.encode_labels(merged))
            return merged

        labels = self._common.store.write(work)
        self._common.publish(namespace.name, "/namespaces/update", NamespaceUpdate(name=namespace.name, labels=labels))
        return Namespace(namespace.name, labels)

    def delete(self, name: str) -> None:
        key = schema.namespace_key(name)

        def work(txn: Writing) -> list[str]:
            if txn.get(key) is None:
                raise NotFound(f"namespace {name!r}: it does not exist")
            if left := list(_left(txn, name)):
                raise FailedPrecondition(f"namespace {name!r}: it still has {', '.join(left)}; remove them first")
            txn.delete(key)
            return _clear(txn, name)

        self._common.leftovers.add("ingests", *self._common.store.write(work, removes=True))
        self._common.publish(name, "/namespaces/delete", NamespaceDelete(name=name))

    def list(self) -> Sequence[Namespace]:
        with self._common.store.read() as view:
            return [Namespace(name, _labels(view, schema.namespace_key(name))) for name in every(view)]


def every(view: Reading) -> Iterator[str]:
    """The names of all namespaces."""
    for key, _ in view.entries(schema.NAMESPACES, schema.NAMESPACES):
        yield str(key[1:-1], "ascii")


def _labels(view: Reading, key: bytes) -> dict[str, str]:
    value = view.get(key)
    return {} if value is None else records.decode_labels("", value)


def _left(view: Reading, namespace: str) -> Iterator[str]:
    """What keeps a namespace from being deleted, as containerd words it. Leases and ingests do not."""
    for kind, word in (*_CONTENTS, _SANDBOXES):
        if view.any(schema.head(namespace, kind)):
            yield word
    head = schema.head(namespace, schema.SNAPSHOT)
    start = head
    while first := next(view.entries(start, head), None):
        snapshotter = first[0][len(head) :].partition(b"\x00")[0]
        yield f"snapshots on {str(snapshotter, 'utf-8')!r} snapshotter"
        start = head + snapshotter + b"\x01"


def _clear(txn: Writing, namespace: str) -> list[str]:
    """Remove the leases and ingests of an empty namespace; returns the backend's refs of the ingests."""
    refs: list[str] = []
    for name, value in names.every(txn, schema.head(namespace, schema.INGEST)):
        ingest = records.decode_ingest(str(name, "utf-8"), value)
        refs.append(ingest.backend_ref)
        if ingest.expected:
            txn.delete(schema.ingest_user(ingest.expected, namespace, ingest.number))
    txn.clear(schema.objects(namespace))
    return refs
