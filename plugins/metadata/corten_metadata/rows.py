"""The objects of one kind in one namespace, by name: what every store of this package is made of."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Generic, TypeVar

from corten.contracts.content import ContentInfo
from corten.contracts.objects import Container, Image, Sandbox
from corten.errors import NotFound
from corten.values import dataclass

from . import names, records, schema
from .records import IngestRecord, LeaseRecord, SnapshotRecord
from .store import Store
from .transactions import Reading, Writing

R = TypeVar("R")

PAGE = 128
"""Objects read at once in a walk; no read transaction lives between pages."""
_SHOWN = 160
_of_few_namespaces = lru_cache(64)
"""Rows hold nothing but how keys begin, and every call needs some."""


@dataclass(frozen=True, slots=True)
class Rows(Generic[R]):
    """`what` names the kind in messages, `head` is what the keys begin with."""

    what: str
    head: bytes
    encode: Callable[[R], bytes]
    decode: Callable[[str, bytes], R]

    def key(self, name: str) -> bytes:
        """Raises InvalidArgument for a name that is empty or too long."""
        return self.head + names.tail(names.encoded(name, self.what))

    def get(self, view: Reading, name: str) -> R | None:
        """The object, or None."""
        raw = names.encoded(name, self.what)
        tail = names.tail(raw)
        value = view.get(self.head + tail)
        return None if value is None else self.decode(name, names.unwrap(tail, value)[1])

    def require(self, view: Reading, name: str) -> R:
        """Raises NotFound."""
        found = self.get(view, name)
        if found is None:
            raise NotFound(f"{self.what} {shown(name)}: it does not exist")
        return found

    def put(self, txn: Writing, name: str, value: R) -> None:
        """Make or replace."""
        raw = names.encoded(name, self.what)
        txn.put(self.head + names.tail(raw), names.wrap(raw, self.encode(value)))

    def delete(self, txn: Writing, name: str) -> bool:
        """Whether it was there."""
        return txn.delete(self.key(name))

    def walk(self, store: Store) -> Iterator[R]:
        """All, in bytewise order of names, read in pages: what changes meanwhile may be seen or not."""
        return (value for _, value in self.named(store))

    def named(self, store: Store) -> Iterator[tuple[str, R]]:
        """`walk`, with the names."""
        after: bytes | None = None
        while True:
            with store.read() as view:
                page = names.page(view, self.head, after, PAGE)
            for raw, value in page:
                name = str(raw, "utf-8")
                yield name, self.decode(name, value)
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def all(self, view: Reading) -> Iterator[tuple[str, R]]:
        """All, in the order of keys, inside one transaction."""
        for name, value in names.every(view, self.head):
            text = str(name, "utf-8")
            yield text, self.decode(text, value)


def shown(name: str) -> str:
    """A name of any length as it appears in messages."""
    return repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}… ({len(name)} characters)"


@_of_few_namespaces
def blobs(namespace: str) -> Rows[ContentInfo]:
    return Rows("content", schema.head(namespace, schema.BLOB), records.encode_blob, records.decode_blob)


@_of_few_namespaces
def containers(namespace: str) -> Rows[Container]:
    head = schema.head(namespace, schema.CONTAINER)
    return Rows("container", head, records.encode_container, records.decode_container)


@_of_few_namespaces
def images(namespace: str) -> Rows[Image]:
    return Rows("image", schema.head(namespace, schema.IMAGE), records.encode_image, records.decode_image)


@_of_few_namespaces
def ingests(namespace: str) -> Rows[IngestRecord]:
    return Rows("ingest", schema.head(namespace, schema.INGEST), records.encode_ingest, records.decode_ingest)


@_of_few_namespaces
def leases(namespace: str) -> Rows[LeaseRecord]:
    return Rows("lease", schema.head(namespace, schema.LEASE), records.encode_lease, records.decode_lease)


@_of_few_namespaces
def sandboxes(namespace: str) -> Rows[Sandbox]:
    return Rows("sandbox", schema.head(namespace, schema.SANDBOX), records.encode_sandbox, records.decode_sandbox)


@_of_few_namespaces
def snapshots(namespace: str, snapshotter: str) -> Rows[SnapshotRecord]:
    head = schema.snapshots(namespace, snapshotter)
    return Rows(f"{snapshotter} snapshot", head, records.encode_snapshot, records.decode_snapshot)


def touch(txn: Writing, namespace: str) -> None:
    """Make the namespace if this is its first object, as containerd does."""
    key = schema.namespace_key(namespace)
    if txn.get(key) is None:
        txn.put(key, records.encode_labels({}))
